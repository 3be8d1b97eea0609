//! What Sinch sends as JSON Schemas, for those who subscribe: every field this version reads, as leniently as it reads
//! them. A body is kept as it was signed, so a field may be missing, null or new.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// How a field is read.
#[derive(Clone, Copy)]
enum Form {
    /// Text, also when it was sent as a number or a boolean.
    Text,
    /// A whole number, also when it was sent as text.
    Integer,
    Money,
    Endpoint,
    Amd,
    MenuResult,
    Pairs,
}

type Field = (&'static str, Form, &'static str);

/// Of every callback.
const COMMON: &[Field] = &[
    ("event", Form::Text, "ice, ace, pie, dice, notify, in any case; anything else is filed as unknown."),
    ("callid", Form::Text, "The call's id, one for all its callbacks."),
    ("callId", Form::Text, "The same, as some callbacks spell it."),
    ("conferenceId", Form::Text, "Stands for the call's id where there is no other."),
    ("timestamp", Form::Text, "Sinch's own time in ISO 8601; without a zone it is UTC."),
    ("version", Form::Integer, "Of the callback's format."),
    ("custom", Form::Text, "Free text given at call start."),
    ("applicationKey", Form::Text, "Whose call it is."),
    ("user", Form::Text, "SDK user id of the caller."),
    ("cookies", Form::Pairs, "What setCookie kept."),
];

const ICE: &[Field] = &[
    ("callResourceUrl", Form::Text, "Full URL of the call at the region that owns it."),
    ("userRate", Form::Money, "Sinch's price for a minute."),
    ("cli", Form::Text, "The caller: a number with or without +, private, or absent for in-app calls."),
    ("to", Form::Endpoint, "What was dialled."),
    ("domain", Form::Text, "Where the call is meant to go: pstn, mxp, in any case."),
    ("originationType", Form::Text, "Where it comes from."),
    ("duration", Form::Integer, "Seconds; seen in old callbacks only."),
    ("rdnis", Form::Text, "The redirected number; often empty."),
    ("callHeaders", Form::Pairs, "Headers the calling SDK set."),
];

const ACE: &[Field] = &[
    ("amd", Form::Amd, "Who picked up, where detection was on."),
    ("callResourceUrl", Form::Text, "Full URL of the call at the region that owns it."),
];

const PIE: &[Field] =
    &[("menuResult", Form::MenuResult, "How the menu ended."), ("reference", Form::Text, "Of the call's creator.")];

const DICE: &[Field] = &[
    ("reason", Form::Text, "CALLERHANGUP, TIMEOUT, …: an open list, in any case."),
    ("result", Form::Text, "ANSWERED, BUSY, …: an open list, in any case."),
    ("duration", Form::Integer, "Seconds from the answer; often absent unless the result is ANSWERED."),
    ("debit", Form::Money, "What Sinch charges its customer for the call."),
    ("userRate", Form::Money, "Sinch's price for a minute."),
    ("to", Form::Endpoint, "What was dialled."),
    ("from", Form::Text, "The caller."),
    ("callHeaders", Form::Pairs, "Headers the calling SDK set."),
];

const NOTIFY: &[Field] = &[
    ("type", Form::Text, "An open list: recording_finished, amd, callingerror, …"),
    ("destination", Form::Text, "Where a recording or a transcript lies."),
    ("amd", Form::Amd, "Who picked up."),
    ("errorCode", Form::Integer, "Of a callingerror."),
    ("errorMsg", Form::Text, "Of a callingerror, in words."),
];

/// The JSON Schema (2020-12) of a callback's body; `None` for the kinds that are ours.
///
/// ```
/// use proto::{Kind, callback};
/// assert_eq!(callback::schema(Kind::Ice).unwrap().get("required").unwrap()[0], "event");
/// ```
pub fn schema(kind: Kind) -> Option<Schema> {
    let own = match kind {
        Kind::Ice => ICE,
        Kind::Ace => ACE,
        Kind::Pie => PIE,
        Kind::Dice => DICE,
        Kind::Notify => NOTIFY,
        Kind::Unknown => &[],
        Kind::Decided
        | Kind::Emitted
        | Kind::Asked
        | Kind::Placed
        | Kind::Dialled
        | Kind::Progressed
        | Kind::Settled => return None,
    };
    let properties: Map<String, Value> = COMMON
        .iter()
        .chain(own)
        .map(|(name, form, description)| {
            let mut property = form.schema();
            property["description"] = json!(description);
            ((*name).to_owned(), property)
        })
        .collect();
    Some(json_schema!({
        "description": "The body of the callback, to the byte as Sinch signed it.",
        "type": "object",
        "properties": properties,
        "required": ["event"],
    }))
}

impl Form {
    fn schema(self) -> Value {
        let text = || json!({ "type": ["string", "number", "boolean", "null"] });
        let number = || json!({ "type": ["number", "string", "null"] });
        let object = |properties: Value| json!({ "type": ["object", "null"], "properties": properties });
        match self {
            Self::Text => text(),
            Self::Integer => number(),
            Self::Money => object(json!({ "currencyId": text(), "amount": number() })),
            Self::Endpoint => object(json!({
                "type": text(), "endpoint": text(), "verified": { "type": ["boolean", "null"] },
            })),
            Self::Amd => object(json!({ "status": text(), "reason": text(), "duration": number() })),
            Self::MenuResult => object(json!({
                "menuId": text(), "type": text(), "value": text(), "inputMethod": text(), "addToContext": pairs(),
            })),
            Self::Pairs => pairs(),
        }
    }
}

fn pairs() -> Value {
    let properties =
        json!({ "key": { "type": "string" }, "value": { "type": ["string", "number", "boolean", "null"] } });
    json!({ "type": ["array", "null"], "items": { "type": "object", "properties": properties } })
}
