use std::collections::BTreeSet;

use super::*;

fn read(json: &str) -> Callback {
    Callback::from_json(json.as_bytes()).expect("a callback")
}

#[test]
fn every_fixture_is_read() {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/callbacks")).expect("fixtures") {
        let path = entry.expect("entry").path();
        let callback = Callback::from_json(&std::fs::read(&path).expect("readable"));
        let callback = callback.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(callback.common.call.is_some(), "{}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(name.starts_with(callback.kind().as_str()), "{name} was read as {}", callback.kind());
        kinds.push(callback.kind());
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, [Kind::Ice, Kind::Ace, Kind::Pie, Kind::Dice, Kind::Notify]);
}

#[test]
fn amounts_are_exact() {
    let callback = read(
        r#"{"event":"dice","debit":{"currencyId":"EUR","amount":0.123456},"userRate":{"currencyId":null,"amount":0}}"#,
    );
    let Details::Dice(dice) = callback.details else { panic!("not a DICE") };
    let debit = dice.debit.expect("debit");
    assert_eq!(debit.amount.expect("amount").to_string(), "0.123456");
    assert_eq!(dice.user_rate.expect("rate").currency_id, None);
}

#[test]
fn odd_shapes_lose_a_field_and_not_the_callback() {
    let callback = read(
        r#"{"event":"ICE","callid":null,"callId":"b","conferenceId":"c","version":"1","cli":4670,"to":"nowhere",
            "callHeaders":[1,{"key":"k","value":2}],"userRate":[],"timestamp":"2024-01-08T09:48:12","extra":{}}"#,
    );
    assert_eq!(callback.common.call.as_ref().map(CallId::as_str), Some("b"));
    assert_eq!(callback.common.version, Some(1));
    assert_eq!(callback.common.timestamp.map(|at| at.to_string()).as_deref(), Some("2024-01-08T09:48:12Z"));
    let Details::Ice(ice) = callback.details else { panic!("not an ICE") };
    assert_eq!(ice.cli.as_deref(), Some("4670"));
    assert_eq!(ice.to, None);
    assert_eq!(ice.user_rate, None);
    assert_eq!(ice.call_headers, [KeyValue { key: "k".into(), value: Some("2".into()) }]);
}

#[test]
fn an_unknown_event_is_kept() {
    let callback = read(r#"{"event":"hologram","callid":"a"}"#);
    assert_eq!(callback.details, Details::Unknown { event: "hologram".into() });
}

#[test]
fn what_is_no_callback_says_why() {
    for body in ["", "{", "null", "\"ice\"", "\u{0}"] {
        assert!(matches!(Callback::from_json(body.as_bytes()), Err(NotACallback::Json(_))), "{body:?}");
    }
    assert!(matches!(Callback::from_json(b" []"), Err(NotACallback::NotAnObject)));
    assert!(matches!(Callback::from_json(b"{}"), Err(NotACallback::NoEvent)));
}

#[test]
fn one_decision_per_callback_of_a_call() {
    let app = AppName::new("acme").expect("name");
    let key = |json| read(json).decision_key(&app).expect("key");
    let ice = key(r#"{"event":"ice","callid":"a","timestamp":"1"}"#);
    assert_eq!(ice, key(r#"{"event":"ice","callid":"a","timestamp":"2"}"#), "a call comes in once");
    let first = key(r#"{"event":"pie","callid":"a","timestamp":"1","menuResult":{"value":"x"}}"#);
    let second = key(r#"{"event":"pie","callid":"a","timestamp":"1","menuResult":{"value":"y"}}"#);
    assert_ne!(first, second);
    assert_ne!(
        key(r#"{"event":"ace","callid":"a","timestamp":"1"}"#),
        key(r#"{"event":"ace","callid":"a","timestamp":"2"}"#)
    );
}

#[test]
fn the_schemas_name_every_field_that_is_read() {
    let mut fields = Fields::default();
    assert!(Wire::deserialize(&mut fields).is_err());
    let named: BTreeSet<String> = Kind::ALL
        .into_iter()
        .filter_map(schema)
        .flat_map(|schema| schema.get("properties").and_then(|it| it.as_object()).cloned().expect("properties"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(named, fields.0.iter().map(|name| (*name).to_owned()).collect());
}

/// Learns what a struct wants to read.
#[derive(Default)]
struct Fields(&'static [&'static str]);

impl<'de> serde::Deserializer<'de> for &mut Fields {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("nothing is read"))
    }

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
