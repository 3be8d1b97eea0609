//! What Sinch sends: the five callbacks and every field known of them, read leniently.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::id::{AppKey, AppName, CallId, DecisionKey};
use crate::kind::Kind;
use crate::lenient;
use crate::signature::Verified;

mod schema;

pub use schema::schema;

/// A callback, as far as this version understands it.
#[derive(Debug, Clone, PartialEq)]
pub struct Callback {
    pub common: Common,
    pub details: Details,
}

/// Fields every callback may have.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Common {
    /// `callid`, else `callId`, else `conferenceId`.
    pub call: Option<CallId>,
    pub conference_id: Option<String>,
    /// Sinch's own time, exactly as sent. It takes part in the decision key.
    pub timestamp_text: String,
    /// The same as an instant; a missing zone means UTC.
    pub timestamp: Option<Timestamp>,
    pub version: Option<u32>,
    /// Free text given at call start.
    pub custom: Option<String>,
    pub application_key: Option<AppKey>,
    /// SDK user id of the caller.
    pub user: Option<String>,
    /// What `setCookie` kept.
    pub cookies: Vec<KeyValue>,
}

/// What is particular to each kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Details {
    Ice(Box<Ice>),
    Ace(Ace),
    Pie(Pie),
    Dice(Box<Dice>),
    Notify(Notify),
    /// An event this version has no name for.
    Unknown {
        event: String,
    },
}

/// Incoming call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ice {
    /// Full URL of the call at the region that owns it.
    pub call_resource_url: Option<String>,
    pub user_rate: Option<Money>,
    /// The caller: a number with or without `+`, `private`, or absent for in-app calls.
    pub cli: Option<String>,
    pub to: Option<Endpoint>,
    /// Where the call is meant to go: `pstn`, `mxp`, …, any case.
    pub domain: Option<String>,
    /// Where it comes from.
    pub origination_type: Option<String>,
    pub duration: Option<u32>,
    /// The redirected number; often empty.
    pub rdnis: Option<String>,
    pub call_headers: Vec<KeyValue>,
}

/// Answered call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ace {
    pub amd: Option<Amd>,
    pub call_resource_url: Option<String>,
}

impl Ice {
    /// The number or name that was dialled.
    pub fn dialled(&self) -> Option<&str> {
        self.to.as_ref()?.endpoint.as_deref()
    }
}

impl Ace {
    /// Answering machine detection was on, and says so.
    pub fn by_machine(&self) -> bool {
        self.amd.as_ref().is_some_and(|amd| amd.status.as_deref() == Some("machine"))
    }
}

/// Prompt input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pie {
    pub menu_result: Option<MenuResult>,
    /// `menuResult` exactly as sent; it takes part in the decision key.
    pub menu_result_text: String,
    pub reference: Option<String>,
}

impl Pie {
    /// What the key returns, or the digits; `None` after silence, a hang-up or an unknown key.
    pub fn value(&self) -> Option<&str> {
        self.menu_result.as_ref()?.value.as_deref().filter(|value| !value.is_empty())
    }

    /// The menu that was used.
    pub fn menu(&self) -> Option<&str> {
        self.menu_result.as_ref()?.menu_id.as_deref()
    }
}

/// Disconnected call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dice {
    /// `CALLERHANGUP`, `TIMEOUT`, …: an open list, upper case.
    pub reason: Option<String>,
    /// `ANSWERED`, `BUSY`, …: an open list, upper case.
    pub result: Option<String>,
    /// Seconds from answer; typically absent unless the result is `ANSWERED`.
    pub duration_secs: Option<u32>,
    /// What Sinch charges its customer: a cost, never our customer's price.
    pub debit: Option<Money>,
    pub user_rate: Option<Money>,
    pub to: Option<Endpoint>,
    pub from: Option<String>,
    pub call_headers: Vec<KeyValue>,
}

impl Dice {
    /// The call was answered and so has a price.
    pub fn answered(&self) -> bool {
        self.result.as_deref() == Some("ANSWERED")
    }
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Notify {
    /// An open list: `recording_finished`, `amd`, `callingerror`, …
    pub notify_type: Option<String>,
    pub destination: Option<String>,
    pub amd: Option<Amd>,
    pub error_code: Option<u32>,
    pub error_msg: Option<String>,
}

/// An amount as Sinch writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// ISO 4217; null is seen beside an amount of 0.
    #[serde(default, deserialize_with = "lenient::text")]
    pub currency_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::decimal")]
    pub amount: Option<Decimal>,
}

/// One end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Endpoint {
    /// `number`, `did`, `username`, `sip`, `conference`, `email`, any case.
    #[serde(rename = "type", default, deserialize_with = "lenient::text")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub endpoint: Option<String>,
    /// Seen in old callbacks only, and null there.
    #[serde(default)]
    pub verified: Option<bool>,
}

/// Answering machine detection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Amd {
    /// `machine`, `human`, `notsure`, `hangup`, `inprogress`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub reason: Option<String>,
    /// Of unclear unit: sources say seconds and milliseconds.
    #[serde(default, deserialize_with = "lenient::integer")]
    pub duration: Option<u32>,
}

/// How a menu ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MenuResult {
    #[serde(default, deserialize_with = "lenient::text")]
    pub menu_id: Option<String>,
    /// `return`, `sequence`, `timeout`, `hangup`, `invalidinput`, `error`, lower case.
    #[serde(rename = "type", default, deserialize_with = "lenient::text")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    pub value: Option<String>,
    /// `dtmf` or `voice`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub input_method: Option<String>,
    /// What the chosen option kept (`add` of a menu option); of the older server SDK.
    #[serde(default, deserialize_with = "lenient::list")]
    pub add_to_context: Vec<KeyValue>,
}

/// A cookie or a call header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyValue {
    pub key: String,
    #[serde(default, deserialize_with = "lenient::text")]
    pub value: Option<String>,
}

/// A signed body that is no callback.
#[derive(Debug, thiserror::Error)]
pub enum NotACallback {
    #[error("the body is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the body is JSON but not an object")]
    NotAnObject,
    #[error("the body has no \"event\"")]
    NoEvent,
}

impl Callback {
    /// Reads verified bytes.
    ///
    /// # Errors
    /// When the body is not a JSON object or names no event. Unknown events, fields and values are no error.
    pub fn parse(body: &Verified) -> Result<Self, NotACallback> {
        Self::from_json(body.bytes())
    }

    pub(crate) fn from_json(body: &[u8]) -> Result<Self, NotACallback> {
        // Serde would read a list as an object too, by position.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(NotACallback::NotAnObject);
        }
        let wire: Wire = serde_json::from_slice(body).map_err(NotACallback::Json)?;
        let event = wire.event.clone().filter(|event| !event.is_empty()).ok_or(NotACallback::NoEvent)?;
        Ok(wire.into_callback(event))
    }

    pub fn kind(&self) -> Kind {
        match &self.details {
            Details::Ice(_) => Kind::Ice,
            Details::Ace(_) => Kind::Ace,
            Details::Pie(_) => Kind::Pie,
            Details::Dice(_) => Kind::Dice,
            Details::Notify(_) => Kind::Notify,
            Details::Unknown { .. } => Kind::Unknown,
        }
    }

    /// What a decision about this callback is filed under; `None` without a call id.
    pub fn decision_key(&self, app: &AppName) -> Option<DecisionKey> {
        let call = self.common.call.as_ref()?;
        let menu_result = match &self.details {
            Details::Pie(pie) => pie.menu_result_text.as_bytes(),
            Details::Ice(_) | Details::Ace(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => &[],
        };
        Some(DecisionKey::of(app, call, self.kind(), &self.common.timestamp_text, menu_result))
    }
}

/// Every field of every callback; which of them mean something depends on the event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a callback")]
struct Wire<'a> {
    #[serde(default, deserialize_with = "lenient::text")]
    event: Option<String>,
    #[serde(default, rename = "callid", deserialize_with = "lenient::text")]
    call_id_wire: Option<String>,
    #[serde(default, rename = "callId", deserialize_with = "lenient::text")]
    call_id_rest: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    conference_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    timestamp: Option<String>,
    #[serde(default, deserialize_with = "lenient::integer")]
    version: Option<u32>,
    #[serde(default, deserialize_with = "lenient::text")]
    custom: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    application_key: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    user: Option<String>,
    #[serde(default, deserialize_with = "lenient::list")]
    cookies: Vec<KeyValue>,
    #[serde(default, deserialize_with = "lenient::text")]
    call_resource_url: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    user_rate: Option<Money>,
    #[serde(default, deserialize_with = "lenient::text")]
    cli: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    to: Option<Endpoint>,
    #[serde(default, deserialize_with = "lenient::text")]
    domain: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    origination_type: Option<String>,
    #[serde(default, deserialize_with = "lenient::integer")]
    duration: Option<u32>,
    #[serde(default, deserialize_with = "lenient::text")]
    rdnis: Option<String>,
    #[serde(default, deserialize_with = "lenient::list")]
    call_headers: Vec<KeyValue>,
    #[serde(default, deserialize_with = "lenient::object")]
    amd: Option<Amd>,
    #[serde(default, borrow)]
    menu_result: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient::text")]
    reference: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    result: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    debit: Option<Money>,
    #[serde(default, deserialize_with = "lenient::text")]
    from: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    notify_type: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    destination: Option<String>,
    #[serde(default, deserialize_with = "lenient::integer")]
    error_code: Option<u32>,
    #[serde(default, deserialize_with = "lenient::text")]
    error_msg: Option<String>,
}

impl Wire<'_> {
    fn into_callback(self, event: String) -> Callback {
        let ids = [&self.call_id_wire, &self.call_id_rest, &self.conference_id];
        let call = ids.into_iter().flatten().find_map(|id| CallId::new(id.as_str()).ok());
        let common = Common {
            call,
            conference_id: self.conference_id,
            timestamp: self.timestamp.as_deref().and_then(instant),
            timestamp_text: self.timestamp.unwrap_or_default(),
            version: self.version,
            custom: self.custom,
            application_key: self.application_key.and_then(|key| AppKey::new(key).ok()),
            user: self.user,
            cookies: self.cookies,
        };
        let details = match event.to_ascii_lowercase().as_str() {
            "ice" => Details::Ice(Box::new(Ice {
                call_resource_url: self.call_resource_url,
                user_rate: self.user_rate,
                cli: self.cli,
                to: self.to,
                domain: self.domain,
                origination_type: self.origination_type,
                duration: self.duration,
                rdnis: self.rdnis,
                call_headers: self.call_headers,
            })),
            "ace" => Details::Ace(Ace { amd: self.amd.map(Amd::folded), call_resource_url: self.call_resource_url }),
            "pie" => Details::Pie(Pie {
                menu_result: self
                    .menu_result
                    .and_then(|raw| serde_json::from_str(raw.get()).ok())
                    .map(MenuResult::folded),
                menu_result_text: self.menu_result.map(|raw| raw.get().to_owned()).unwrap_or_default(),
                reference: self.reference,
            }),
            "dice" => Details::Dice(Box::new(Dice {
                reason: self.reason.map(|reason| reason.to_ascii_uppercase()),
                result: self.result.map(|result| result.to_ascii_uppercase()),
                duration_secs: self.duration,
                debit: self.debit,
                user_rate: self.user_rate,
                to: self.to,
                from: self.from,
                call_headers: self.call_headers,
            })),
            "notify" => Details::Notify(Notify {
                notify_type: self.notify_type,
                destination: self.destination,
                amd: self.amd.map(Amd::folded),
                error_code: self.error_code,
                error_msg: self.error_msg,
            }),
            _ => Details::Unknown { event },
        };
        Callback { common, details }
    }
}

impl Amd {
    fn folded(self) -> Self {
        let fold = |text: Option<String>| text.map(|text| text.to_ascii_lowercase());
        Self { status: fold(self.status), reason: fold(self.reason), duration: self.duration }
    }
}

impl MenuResult {
    fn folded(self) -> Self {
        Self { kind: self.kind.map(|kind| kind.to_ascii_lowercase()), ..self }
    }
}

/// Sinch's times: with a zone, or without one and then UTC.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests;
