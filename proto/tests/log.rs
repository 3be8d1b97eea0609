//! What is once in the log stays readable: the envelope, the subjects, and one fixture per event shape and version.
#![expect(clippy::expect_used, reason = "a test that cannot begin has failed")]

use bytes::Bytes;
use proptest::prelude::*;
use proto::event::signed;
use proto::{
    AppName, Asked, CallId, Decided, DeckName, DeckPutInForce, DeliveryNoted, DestinationChanged, DestinationName,
    Dialled, Emitted, Event, EventId, Kind, ListChanged, ListName, Partition, Placed, PolicyOrigin, PolicyPutInForce,
    ProfileChanged, ProfileId, Progressed, Settled, Side, Subject, WalletId,
};
use serde_json::Value;

#[test]
fn every_event_shape_decodes() {
    let decided: Decided = serde_json::from_str(include_str!("../fixtures/events/decided.v1.json")).expect("decided");
    assert_eq!(decided.answer.get(), r#"{"action":{"name":"connectPstn","number":"+46701234567","maxDuration":95}}"#);
    assert_eq!(decided.reason, None);
    let settled: Settled = serde_json::from_str(include_str!("../fixtures/events/settled.v1.json")).expect("settled");
    assert_eq!(settled.legs[0].cost.to_string(), "1.9000");
    let emitted: Emitted = serde_json::from_str(include_str!("../fixtures/events/emitted.v1.json")).expect("emitted");
    assert_eq!(emitted.data["caller"], "+46701234567");
    let asked: Asked = serde_json::from_str(include_str!("../fixtures/events/asked.v1.json")).expect("asked");
    let ending = asked.ending().expect("an end");
    assert_eq!((ending.answered(), ending.duration_secs), (true, Some(14)));
    assert_eq!(ending.timestamp.map(|at| at.to_string()).as_deref(), Some("2024-01-08T09:48:12Z"));
    let list: ListChanged =
        serde_json::from_str(include_str!("../fixtures/events/list_changed.v1.json")).expect("list");
    assert_eq!((list.cleared, list.added.len(), list.removed.len()), (false, 2, 1));
    let policy: PolicyPutInForce =
        serde_json::from_str(include_str!("../fixtures/events/policy_put_in_force.v1.json")).expect("policy");
    assert_eq!((policy.origin, policy.shadow), (PolicyOrigin::Push, false));
    let deck: DeckPutInForce =
        serde_json::from_str(include_str!("../fixtures/events/deck_put_in_force.v1.json")).expect("deck");
    assert_eq!(
        (deck.version.as_str(), deck.effective_from.to_string()),
        ("46d0dbd83d0c69ca", "2026-12-01T00:00:00Z".into())
    );
    let destination = include_str!("../fixtures/events/destination_changed.v1.json");
    let changed: Vec<DestinationChanged> = serde_json::from_str(destination).expect("destination");
    assert_eq!(serde_json::to_value(changed).ok(), serde_json::from_str(destination).ok(), "nothing is lost");
    let profile = include_str!("../fixtures/events/profile_changed.v1.json");
    let changed: Vec<ProfileChanged> = serde_json::from_str(profile).expect("profile");
    assert_eq!(serde_json::to_value(changed).ok(), serde_json::from_str(profile).ok(), "nothing is lost");
    let placed = include_str!("../fixtures/events/placed.v1.json");
    let orders: Vec<Placed> = serde_json::from_str(placed).expect("placed");
    assert_eq!(serde_json::to_value(orders).ok(), serde_json::from_str(placed).ok(), "nothing is lost");
    let progressed = include_str!("../fixtures/events/progressed.v1.json");
    let steps: Vec<Progressed> = serde_json::from_str(progressed).expect("progressed");
    let written: Value = serde_json::to_value(steps).expect("JSON");
    assert_eq!(Some(written), serde_json::from_str(progressed).ok(), "nothing is lost");
    let dialled: Dialled = serde_json::from_str(include_str!("../fixtures/events/dialled.v1.json")).expect("dialled");
    assert_eq!((dialled.of.side, dialled.of.attempt), (Side::To, 1));
    let delivery = include_str!("../fixtures/events/delivery_noted.v1.json");
    let noted: Vec<DeliveryNoted> = serde_json::from_str(delivery).expect("delivery");
    assert_eq!(serde_json::to_value(noted).ok(), serde_json::from_str(delivery).ok(), "nothing is lost");
}

#[test]
fn partitions_are_those_of_the_broker() {
    // FNV-1a, 32 bit, as nats-server computes {{partition(64, …)}}.
    for (text, index) in [("", 0x811c_9dc5_u32 % 64), ("a", 0xe40c_292c % 64), ("foobar", 0xbf9c_f968 % 64)] {
        assert_eq!(u32::from(Partition::of_text(text).index()), index, "{text:?}");
    }
}

#[test]
fn ids_are_derived_from_what_they_name() {
    let (upper, lower) = ("5F5C-AB".parse().expect("key"), "5f5c-ab".parse().expect("key"));
    assert_eq!(EventId::of_callback(&upper, b"{}"), EventId::of_callback(&lower, b"{}"), "keys compare without case");
    assert_ne!(EventId::of_callback(&upper, b"{}"), EventId::of_callback(&upper, b"{ }"));
    assert_ne!(EventId::of(&["ab", "c"]), EventId::of(&["a", "bc"]));
}

fn any_subject() -> impl Strategy<Value = Subject> {
    let call = (0..Kind::ALL.len(), "[a-zA-Z0-9_-]{1,64}", "\\PC{1,60}").prop_map(|(kind, app, call)| Subject::Call {
        kind: Kind::ALL[kind],
        app: AppName::new(app).expect("app"),
        partition: Partition::of(&CallId::new(call).expect("call")),
    });
    let wallet = "[^\\p{C}\\s{}]{1,30}".prop_map(|wallet| Subject::Wallet(WalletId::new(wallet).expect("wallet")));
    let list = "[a-zA-Z][a-zA-Z0-9_]{0,63}".prop_map(|list| Subject::List(ListName::new(list).expect("list")));
    let policy = "[a-zA-Z0-9_-]{1,64}".prop_map(|app| Subject::Policy(AppName::new(app).expect("app")));
    let deck = "[a-zA-Z0-9_-]{1,64}".prop_map(|deck| Subject::Deck(DeckName::new(deck).expect("deck")));
    let name = "[a-zA-Z0-9_-]{1,64}".prop_map(|name| DestinationName::new(name).expect("destination"));
    let destination = name.clone().prop_map(Subject::Destination);
    let profile = ("[A-Z]{2,8}", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
        .prop_map(|(region, uuid)| Subject::Profile(ProfileId::new(format!("{region}_{uuid}")).expect("profile")));
    let delivery = (name, "\\PC{0,20}")
        .prop_map(|(destination, call)| Subject::Delivery { destination, partition: Partition::of_text(&call) });
    prop_oneof![call, wallet, list, policy, deck, destination, profile, delivery]
}

proptest! {
    #[test]
    fn subjects_survive_and_have_no_wild_tokens(subject in any_subject()) {
        let text = subject.to_string();
        prop_assert!(!text.contains(['*', '>', ' ']));
        prop_assert_eq!(text.split('.').filter(|token| token.is_empty()).count(), 0);
        prop_assert_eq!(Subject::parse(&text), Some(subject));
    }

    #[test]
    fn the_envelope_survives_the_broker(
        subject in any_subject(),
        about in "\\PC{0,40}",
        source in "\\PC{1,20}",
        path in "\\PC{0,60}",
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let event = Event {
            id: EventId::of(&[&about]),
            subject: subject.clone(),
            about,
            source,
            time: "2024-06-06T17:20:14.5Z".parse().expect("time"),
            extra: vec![(signed::PATH.to_owned(), path)],
            data: Bytes::from(data),
        };
        let headers = event.headers();
        for (name, value) in &headers {
            prop_assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{name}: {value:?}");
        }
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let back = Event::from_headers(&subject.to_string(), pairs, event.data.clone());
        prop_assert_eq!(back, Ok(event));
    }

    #[test]
    fn no_text_makes_a_subject_panic(text in "\\PC{0,80}") {
        let _ = Subject::parse(&text);
    }
}
