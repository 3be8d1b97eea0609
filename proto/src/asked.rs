//! `asked`: what the platform said of a call when billing asked it, because the end was not told or told in two ways.
//!
//! The platform's own words are kept, like a callback's, so that whoever folds the log comes to the same end.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::callback::{Endpoint, Money, instant};
use crate::lenient;

/// Body of the event `callbus.call.asked.v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    pub because: Because,
    pub said: Said,
    /// The body of the platform's answer, to the byte; see [`CallInfo`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// Why nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What made billing ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// Nobody told an end in the time a call may take.
    NoEnd,
    /// Two ends were told, and they differ.
    Disputed,
    /// The call was answered, and its end does not say how long it lasted, or says what cannot be.
    NoDuration,
}

/// What the platform said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The call is over, and this is how.
    Final,
    Ongoing,
    /// It knows no such call.
    NoSuchCall,
    /// It could not be reached in time, or made no sense.
    Nothing,
}

impl Asked {
    /// How the call ended, where the platform said so.
    pub fn ending(&self) -> Option<CallInfo> {
        match self.said {
            Said::Final => CallInfo::parse(self.info.as_ref()?.get().as_bytes()).ok(),
            Said::Ongoing | Said::NoSuchCall | Said::Nothing => None,
        }
    }
}

/// What `GET /calling/v1/calls/id/{callId}` answers, read as leniently as a callback.
#[derive(Debug, Clone, PartialEq)]
pub struct CallInfo {
    /// The call is over; else it goes on.
    pub over: bool,
    /// `ANSWERED`, `BUSY`, …: an open list, upper case.
    pub result: Option<String>,
    pub reason: Option<String>,
    /// Seconds from the answer.
    pub duration_secs: Option<u32>,
    /// What Sinch charges its customer.
    pub debit: Option<Money>,
    /// Sent without a zone, and read as UTC.
    pub timestamp: Option<Timestamp>,
    pub to: Option<Endpoint>,
}

/// Not what the platform answers about a call.
#[derive(Debug, thiserror::Error)]
pub enum NotACallInfo {
    #[error("the answer is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the answer's status is {0:?}, neither ONGOING nor FINAL")]
    Status(String),
}

impl CallInfo {
    /// # Errors
    /// When it is not JSON, or says neither that the call goes on nor that it is over.
    pub fn parse(body: &[u8]) -> Result<Self, NotACallInfo> {
        let wire: Wire = serde_json::from_slice(body).map_err(NotACallInfo::Json)?;
        let upper = |text: Option<String>| text.map(|text| text.to_ascii_uppercase());
        let over = match upper(wire.status).as_deref() {
            Some("FINAL") => true,
            Some("ONGOING") => false,
            other => return Err(NotACallInfo::Status(other.unwrap_or_default().to_owned())),
        };
        Ok(Self {
            over,
            result: upper(wire.result),
            reason: upper(wire.reason),
            duration_secs: wire.duration,
            debit: wire.debit,
            timestamp: wire.timestamp.as_deref().and_then(instant),
            to: wire.to,
        })
    }

    pub fn answered(&self) -> bool {
        self.result.as_deref() == Some("ANSWERED")
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "lenient::text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    result: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::integer")]
    duration: Option<u32>,
    #[serde(default, deserialize_with = "lenient::object")]
    debit: Option<Money>,
    #[serde(default, deserialize_with = "lenient::text")]
    timestamp: Option<String>,
    #[serde(default, deserialize_with = "lenient::object")]
    to: Option<Endpoint>,
}
