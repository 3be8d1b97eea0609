//! The callbacks, field by field as Sinch's documents and samples have them.

use bytes::Bytes;
use jiff::Timestamp;
use proto::svaml::Header;
use proto::{AppKey, CallId, Kind};
use rust_decimal::Decimal;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::report::Ending;
use crate::script::{Caller, Endpoint};

/// What stays the same through a call, and its cookies.
#[derive(Debug, Clone)]
pub struct CallFacts {
    pub call: CallId,
    pub app_key: AppKey,
    pub from: Caller,
    pub to: Endpoint,
    pub custom: Option<String>,
    pub rdnis: String,
    /// The caller's, until `connectMxp` gives others.
    pub call_headers: Vec<Header>,
    /// Price per minute.
    pub user_rate: Money,
    /// What `setCookie` kept, in the order it was set.
    pub cookies: Vec<Header>,
}

/// An amount, written as a JSON number with exactly its decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    pub currency_id: String,
    #[serde(serialize_with = "number")]
    pub amount: Decimal,
}

/// Answering machine detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amd {
    pub status: AmdStatus,
    pub reason: &'static str,
    /// Seconds until the verdict; of the two units sources give, the likelier.
    pub duration: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AmdStatus {
    /// In the ACE of asynchronous detection.
    InProgress,
    Machine,
    Human,
    NotSure,
    Hangup,
}

/// How a menu ended, or what was pressed in a conference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MenuResult {
    #[serde(rename = "type")]
    pub kind: MenuResultKind,
    /// Text of `return(…)`, the digits, or the words; empty otherwise.
    pub value: String,
    /// The menu, or the conference.
    pub menu_id: String,
    pub input_method: InputMethod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MenuResultKind {
    Return,
    Sequence,
    Timeout,
    InvalidInput,
    Hangup,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InputMethod {
    Dtmf,
    Voice,
}

/// What a notify tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    RecordingFinished,
    RecordingAvailable {
        destination: String,
    },
    TranscriptionAvailable {
        destination: String,
    },
    /// The verdict of asynchronous detection.
    Amd(Amd),
    /// The machine's greeting ended in its beep.
    AmdBeep(Amd),
    CallingError {
        code: u32,
        message: String,
    },
}

impl CallFacts {
    pub fn ice(&self, at: Timestamp) -> Bytes {
        // No region of Sinch owns this call, so the address is one that nobody can register.
        let resource = format!("https://calling.simulator.invalid/calling/v1/calls/id/{}", self.call);
        let (cli, origination_type) = match &self.from {
            Caller::Number(number) => (Some(number.as_str()), "PSTN"),
            Caller::Private => (Some("private"), "PSTN"),
            Caller::User(_) => (None, "MXP"),
            Caller::Sip(address) => (Some(address.as_str()), "SIP"),
            // Only the server SDK has this one.
            Caller::Server(cli) => (Some(cli.as_str()).filter(|cli| !cli.is_empty()), "SERVER"),
        };
        self.timed(Kind::Ice, at)
            .field("callResourceUrl", resource)
            .field("userRate", &self.user_rate)
            .known("cli", cli)
            .known("to", self.target())
            .field("domain", self.domain())
            .field("originationType", origination_type)
            .field("rdnis", &self.rdnis)
            .some("callHeaders", &self.call_headers)
            .known("user", self.user())
            .end()
    }

    pub fn ace(&self, at: Timestamp, amd: Option<Amd>) -> Bytes {
        self.timed(Kind::Ace, at).known("amd", amd).known("user", self.user()).some("cookies", &self.cookies).end()
    }

    pub fn pie(&self, at: Timestamp, result: &MenuResult) -> Bytes {
        self.timed(Kind::Pie, at).field("menuResult", result).some("cookies", &self.cookies).end()
    }

    pub fn dice(&self, at: Timestamp, ending: Ending, duration_secs: Option<u32>) -> Bytes {
        let from = match &self.from {
            Caller::Number(text) | Caller::User(text) | Caller::Sip(text) | Caller::Server(text) => text.as_str(),
            Caller::Private => "private",
        };
        self.timed(Kind::Dice, at)
            .field("reason", ending.reason)
            .field("result", ending.result)
            .known("duration", duration_secs)
            .field("debit", self.debit(duration_secs))
            .field("userRate", &self.user_rate)
            .known("to", self.target())
            .field("from", from)
            .some("callHeaders", &self.call_headers)
            .known("user", self.user())
            .some("cookies", &self.cookies)
            .end()
    }

    /// Notifies bear neither time nor application key in any sample.
    pub fn notify(&self, notice: &Notice) -> Bytes {
        let body = self.any(Kind::Notify);
        match notice {
            Notice::RecordingFinished => body.field("type", "recording_finished"),
            Notice::RecordingAvailable { destination } => {
                body.field("type", "recording_available").field("destination", destination)
            }
            Notice::TranscriptionAvailable { destination } => {
                body.field("type", "transcription_available").field("destination", destination)
            }
            Notice::Amd(amd) => body.field("type", "amd").field("amd", amd),
            Notice::AmdBeep(amd) => body.field("type", "amd_beep").field("amd", amd),
            Notice::CallingError { code, message } => body
                .field("type", "callingerror")
                .field("errorCode", code)
                .field("errorMsg", message)
                .known("user", self.user()),
        }
        .end()
    }

    /// How the call stands, for who asks over REST: types with a capital, the time without a zone.
    pub fn info(&self, at: Timestamp, ending: Option<Ending>, duration_secs: Option<u32>) -> Bytes {
        let (from, to) = (self.from.endpoint(), self.to.endpoint());
        let body = Body::default()
            .field("from", serde_json::json!({ "type": from.0, "endpoint": from.1 }))
            .field("to", serde_json::json!({ "type": to.0, "endpoint": to.1 }))
            .field("domain", self.domain())
            .field("callId", self.call.as_str())
            .field("status", if ending.is_some() { "FINAL" } else { "ONGOING" })
            .field("timestamp", at.strftime("%Y-%m-%dT%H:%M:%S").to_string())
            .field("custom", self.custom.as_deref().unwrap_or_default())
            .field("userRate", &self.user_rate);
        match ending {
            Some(ending) => body
                .field("reason", ending.reason)
                .field("result", ending.result)
                .known("duration", duration_secs)
                .field("debit", self.debit(duration_secs))
                .end(),
            None => body.end(),
        }
    }

    /// The rate by the second, to four decimals; how Sinch rounds is not public.
    pub fn debit(&self, duration_secs: Option<u32>) -> Money {
        let minutes = Decimal::from(duration_secs.unwrap_or(0)) / Decimal::from(60);
        let amount = (self.user_rate.amount * minutes).round_dp(4);
        Money { currency_id: self.user_rate.currency_id.clone(), amount }
    }

    fn user(&self) -> Option<&str> {
        match &self.from {
            Caller::User(user) => Some(user),
            Caller::Number(_) | Caller::Private | Caller::Sip(_) | Caller::Server(_) => None,
        }
    }

    /// Nobody yet, of a call that the answer to its ICE is to give a target.
    fn target(&self) -> Option<&Endpoint> {
        (!self.to.endpoint().1.is_empty()).then_some(&self.to)
    }

    fn domain(&self) -> &'static str {
        match &self.to {
            Endpoint::Did(_) | Endpoint::Number(_) => "pstn",
            Endpoint::Username(_) => "mxp",
            Endpoint::Sip(_) => "sip",
        }
    }

    /// What every callback has but a notify.
    fn timed(&self, kind: Kind, at: Timestamp) -> Body {
        self.any(kind)
            .field("timestamp", at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .field("applicationKey", self.app_key.as_str())
    }

    /// What every callback has.
    fn any(&self, kind: Kind) -> Body {
        Body::default()
            .field("event", kind.as_str())
            .field("callid", self.call.as_str())
            .field("version", 1)
            .known("custom", self.custom.as_deref())
    }
}

/// A JSON object as it is written, field by field: an amount keeps its decimals, and the fields their order.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn field(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.json(name);
        self.0.push(b':');
        self.json(value);
        self
    }

    /// A field that is absent unless known.
    fn known(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// A list that is absent when empty.
    fn some(self, name: &str, values: &[impl Serialize]) -> Self {
        if values.is_empty() { self } else { self.field(name, values) }
    }

    fn end(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }

    fn json(&mut self, value: impl Serialize) {
        #[expect(clippy::expect_used, reason = "text, numbers and plain structs of them always serialise")]
        serde_json::to_writer(&mut self.0, &value).expect("a callback is JSON");
    }
}

fn number<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(amount.to_string()).map_err(S::Error::custom)?.serialize(serializer)
}
