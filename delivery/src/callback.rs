//! The parameter `callback` of a call: whom to tell of what.
//!
//! ```json
//! { "call_end": { "callback_profile": ["SG_…"], "url": ["https://example.com/over?caller={{caller}}"] } }
//! ```

use std::collections::BTreeMap;
use std::fmt;

use outbound::{BadUrl, Outbound};
use policy::suggestion;
use proto::{Listener, Moment, ProfileId};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::profile::{Profile, Status};
use crate::template::{BadTemplate, Spelling, UrlTemplate};

/// Ids and addresses together, of one event.
pub const LISTENERS_MAX: usize = 10;
/// Of the parameter.
const BYTES_MAX: usize = 64 * 1024;
const PROFILES: &str = "callback_profile";
const URLS: &str = "url";

/// Which calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Outbound,
    ClickToCall,
}

impl Family {
    fn moments(self) -> &'static [Moment] {
        match self {
            Self::Outbound => &Moment::OUTBOUND,
            Self::ClickToCall => &Moment::CLICK_TO_CALL,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Outbound => Self::ClickToCall,
            Self::ClickToCall => Self::Outbound,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "an outbound call",
            Self::ClickToCall => "a click to call",
        }
    }
}

/// Somebody to be told, as the call names him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Profile(ProfileId),
    /// A template; a GET.
    Url(String),
}

/// It says nobody who can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    #[error("callback: it has {bytes} bytes; at most {BYTES_MAX} are read")]
    TooLong { bytes: usize },
    #[error("callback: {0}")]
    Json(String),
    #[error("callback: {first:?} and {second:?} are the same event; write it once")]
    EventTwice { first: String, second: String },
    #[error("callback: there is no event {event:?} of {}; {hint}", family.as_str())]
    Event { event: String, family: Family, hint: String },
    #[error("callback: {event:?} is an event of {}, and this is {}", family.other().as_str(), family.as_str())]
    Family { event: String, family: Family },
    #[error("callback: {event}: {first:?} and {second:?} are the same; write it once")]
    KeyTwice { event: &'static str, first: String, second: String },
    #[error("callback: {event}: there is no {key:?}; {hint}")]
    Key { event: &'static str, key: String, hint: String },
    #[error("callback: {event}: it names {count} profiles and addresses; at most {LISTENERS_MAX} are told of an event")]
    TooMany { event: &'static str, count: usize },
    #[error("callback: {event}: {id:?} is no id of a profile, which is a region and a UUID: SG_8b1d…")]
    Id { event: &'static str, id: String },
    #[error("callback: {event}: url {index}: {cause}")]
    Url { event: &'static str, index: usize, cause: BadTemplate },
    #[error("callback: {event}: url: {cause}; networks that are not public are allowed with [outbound] allow")]
    Refused { event: &'static str, cause: BadUrl },
    #[error("callback: {event}: there is no profile {id}")]
    Unknown { event: &'static str, id: ProfileId },
    #[error("callback: {event}: the profile {id} is disabled; enable it first")]
    Disabled { event: &'static str, id: ProfileId },
}

/// Reads the parameter of a call of this family. Whoever it names is in the order he was named, once.
///
/// # Errors
/// Says what is wrong; of what is no JSON of this shape, where.
pub fn parse(text: &str, family: Family) -> Result<BTreeMap<Moment, Vec<Named>>, BadCallback> {
    if text.len() > BYTES_MAX {
        return Err(BadCallback::TooLong { bytes: text.len() });
    }
    let bad = |error: serde_json::Error| BadCallback::Json(error.to_string());
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Pairs(Pairs(Texts)).deserialize(&mut json).map_err(bad)?;
    json.end().map_err(bad)?;
    let mut told: BTreeMap<Moment, (String, Vec<Named>)> = BTreeMap::new();
    for (event, keys) in read {
        let moment = moment(&event, family)?;
        let named = listeners(moment.as_str(), keys)?;
        if let Some((first, _)) = told.insert(moment, (event.clone(), named)) {
            return Err(BadCallback::EventTwice { first, second: event });
        }
    }
    Ok(told.into_iter().map(|(moment, (_, named))| (moment, named)).collect())
}

/// Whom an order named that was resolved, whatever is in force since.
pub fn names(told: &BTreeMap<Moment, Vec<Listener>>) -> BTreeMap<Moment, Vec<Named>> {
    let named = |listener: &Listener| match listener {
        Listener::Profile { id, .. } => Named::Profile(id.clone()),
        Listener::Url(url) => Named::Url(url.clone()),
    };
    told.iter().map(|(moment, told)| (*moment, told.iter().map(named).collect())).collect()
}

/// Who is told, with the revision of each profile that is in force now. Moments nobody is told of are left out.
///
/// # Errors
/// When a profile is not there or disabled, or an address may not be called. One that was disabled because it did not
/// answer may be named: what it is to be told waits until it answers.
pub fn resolve(
    named: BTreeMap<Moment, Vec<Named>>,
    profiles: &BTreeMap<ProfileId, Profile>,
    outbound: &Outbound,
) -> Result<BTreeMap<Moment, Vec<Listener>>, BadCallback> {
    let mut told = BTreeMap::new();
    for (moment, named) in named {
        let event = moment.as_str();
        let listener = |named| match named {
            Named::Profile(id) => match profiles.get(&id).filter(|profile| profile.removed_at.is_none()) {
                None => Err(BadCallback::Unknown { event, id }),
                Some(profile) if profile.status == Status::Disabled => Err(BadCallback::Disabled { event, id }),
                Some(profile) => Ok(Listener::Profile { id, revision: profile.revision }),
            },
            Named::Url(url) => {
                let template = UrlTemplate::compile(&url, Spelling::Doubled);
                let template = template.map_err(|cause| BadCallback::Url { event, index: 1, cause })?;
                let checked = outbound.check(template.frame().as_str());
                checked.map(|_| Listener::Url(url)).map_err(|cause| BadCallback::Refused { event, cause })
            }
        };
        let listeners = named.into_iter().map(listener).collect::<Result<Vec<_>, _>>()?;
        if !listeners.is_empty() {
            told.insert(moment, listeners);
        }
    }
    Ok(told)
}

fn moment(event: &str, family: Family) -> Result<Moment, BadCallback> {
    let folded = event.to_ascii_lowercase();
    let find = |family: Family| family.moments().iter().copied().find(|moment| moment.as_str() == folded);
    let event = short(event);
    match (find(family), find(family.other())) {
        (Some(moment), _) => Ok(moment),
        (None, Some(_)) => Err(BadCallback::Family { event, family }),
        (None, None) => {
            let known: Vec<&str> = family.moments().iter().map(|moment| moment.as_str()).collect();
            Err(BadCallback::Event { hint: suggestion(&event, &known), event, family })
        }
    }
}

fn listeners(event: &'static str, keys: Vec<(String, Vec<String>)>) -> Result<Vec<Named>, BadCallback> {
    let (mut named, mut seen) = (Vec::new(), BTreeMap::new());
    for (key, texts) in keys {
        let known = [PROFILES, URLS].into_iter().find(|known| known.eq_ignore_ascii_case(&key));
        let Some(known) = known else {
            let key = short(&key);
            return Err(BadCallback::Key { event, hint: suggestion(&key, &[PROFILES, URLS]), key });
        };
        if let Some(first) = seen.insert(known, key.clone()) {
            return Err(BadCallback::KeyTwice { event, first, second: key });
        }
        for (index, text) in texts.into_iter().enumerate() {
            let one = if known == PROFILES {
                let id = ProfileId::new(&*text).map_err(|_| BadCallback::Id { event, id: short(&text) })?;
                Named::Profile(id)
            } else {
                UrlTemplate::compile(&text, Spelling::Doubled).map_err(|cause| BadCallback::Url {
                    event,
                    index: index + 1,
                    cause,
                })?;
                Named::Url(text)
            };
            if !named.contains(&one) {
                named.push(one);
            }
        }
    }
    match named.len() {
        count if count > LISTENERS_MAX => Err(BadCallback::TooMany { event, count }),
        _ => Ok(named),
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// An object as pairs, so that one that has a key twice is seen.
struct Pairs<S>(S);
/// A list of texts.
#[derive(Clone, Copy)]
struct Texts;

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Pairs<S> {
    type Value = Vec<(String, S::Value)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<S: Copy> Clone for Pairs<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Copy> Copy for Pairs<S> {}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Pairs<S> {
    type Value = Vec<(String, S::Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object: {\"call_end\": {\"callback_profile\": [\"SG_…\"], \"url\": [\"https://…\"]}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key()? {
            pairs.push((key, map.next_value_seed(self.0)?));
        }
        Ok(pairs)
    }
}

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "SG_0f8b6a5e-2f0f-4f0e-9d63-0b9b8a1f6a11";

    #[test]
    fn it_says_whom_to_tell_of_what() {
        let text = format!(
            "{{\"Call_End\": {{\"URL\": [\"https://example.com/?a={{{{caller}}}}\", \"https://example.com/?a={{{{caller}}}}\"], \
             \"callback_Profile\": [\"{ID}\"]}}, \"call_start\": {{\"url\": []}}, \"call_answer\": {{}}}}"
        );
        let read = parse(&text, Family::Outbound).expect("callback");
        let named = [
            Named::Url("https://example.com/?a={{caller}}".to_owned()),
            Named::Profile(ProfileId::new(ID).expect("id")),
        ];
        assert_eq!(read[&Moment::CallEnd], named);
        assert_eq!((read[&Moment::CallStart].len(), read[&Moment::CallAnswer].len()), (0, 0));
        assert_eq!(parse("{}", Family::ClickToCall), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let eleven = (0..11).map(|n| format!("\"https://example.com/{n}\"")).collect::<Vec<_>>().join(",");
        let eleven = format!("{{\"call_end\": {{\"url\": [{eleven}]}}}}");
        for (text, says) in [
            ("{\"call_end\": {}, \"CALL_END\": {}}", "callback: \"call_end\" and \"CALL_END\" are the same event"),
            ("{\"call_end\": {}, \"call_end\": {}}", "callback: \"call_end\" and \"call_end\" are the same event"),
            ("{\"call_end\": {\"url\": [], \"Url\": []}}", "callback: call_end: \"url\" and \"Url\" are the same"),
            (
                "{\"call_ended\": {}}",
                "callback: there is no event \"call_ended\" of an outbound call; did you mean call_end?",
            ),
            (
                "{\"from_call_start\": {}}",
                "callback: \"from_call_start\" is an event of a click to call, and this is an outbound call",
            ),
            ("{\"call_end\": {\"urls\": []}}", "callback: call_end: there is no \"urls\"; did you mean url?"),
            (&eleven, "callback: call_end: it names 11 profiles and addresses"),
            ("{\"call_end\": {\"callback_profile\": [\"x\"]}}", "callback: call_end: \"x\" is no id"),
            (
                "{\"call_end\": {\"url\": [\"https://e.com/\", \"https://{{caller}}/\"]}}",
                "callback: call_end: url 2: line 1, column 9: scheme",
            ),
            (
                "{\"call_end\": {\"url\": \"https://e.com/\"}}",
                "callback: invalid type: string \"https://e.com/\", expected a list of texts at line 1 column 37",
            ),
            ("{\"call_end\": {", "callback: EOF while parsing an object at line 1 column 14"),
            ("[]", "callback: invalid type: sequence, expected an object"),
            ("{} x", "callback: trailing characters at line 1 column 4"),
        ] {
            let error = parse(text, Family::Outbound).expect_err(text).to_string();
            assert!(error.starts_with(says), "{error:?} does not begin with {says:?}");
        }
    }
}
