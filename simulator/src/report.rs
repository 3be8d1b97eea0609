//! What happened in a call, step by step: enough to draw its ladder.

use std::fmt;

use proto::svaml::Header;
use proto::{CallId, Kind, Svaml};
use serde::{Serialize, Serializer};

use crate::bodies::Money;

/// A call from beginning to end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallReport {
    pub call: CallId,
    pub steps: Vec<Step>,
    pub ending: Ending,
    /// Seconds from the answer, as the DICE says; none unless answered.
    pub duration_secs: Option<u32>,
    /// What the platform charges its customer for the call.
    pub debit: Money,
}

impl CallReport {
    /// The kinds of the callbacks, in the order they were sent, copies and second tries included.
    pub fn callbacks(&self) -> Vec<Kind> {
        self.steps
            .iter()
            .filter_map(|step| if let What::Callback { kind, .. } = &step.what { Some(*kind) } else { None })
            .collect()
    }

    /// The answers that were obeyed.
    pub fn answers(&self) -> Vec<&Svaml> {
        self.steps
            .iter()
            .filter_map(|step| if let What::Answer { svaml } = &step.what { Some(svaml) } else { None })
            .collect()
    }

    /// What was spoken or played.
    pub fn heard(&self) -> Vec<&str> {
        self.steps
            .iter()
            .filter_map(|step| if let What::Heard { text } = &step.what { Some(text.as_str()) } else { None })
            .collect()
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Call time since the call came in.
    pub at_ms: u64,
    pub what: What,
}

/// What the platform did or heard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum What {
    /// A callback left, and this came back.
    Callback {
        kind: Kind,
        url: String,
        /// 0 for the first sending, counting up for duplicates.
        copy: u32,
        body: String,
        /// Real time until the whole answer was there.
        latency_micros: u64,
        outcome: Outcome,
    },
    /// The answer, legal and about to be obeyed.
    Answer {
        svaml: Svaml,
    },
    /// An answer the platform cannot obey.
    BadAnswer {
        why: String,
    },
    /// Speech, or the name of a file.
    Heard {
        text: String,
    },
    /// The caller pressed keys.
    Pressed {
        digits: String,
    },
    /// The caller spoke.
    Said {
        words: String,
    },
    /// The caller neither pressed nor said anything until patience ended.
    Silent,
    /// The hold prompt begins again, until the caller is fetched or the time is up.
    HoldRepeats,
    /// Tones the platform played.
    Tones {
        digits: String,
    },
    /// What the caller pressed is heard by the others in the conference.
    Forwarded {
        digits: String,
    },
    Cookie {
        key: String,
        value: String,
    },
    RecordingStarted,
    RecordingStopped,
    /// It rings at the callee.
    Ringing(Leg),
    /// The answering machine's beep.
    Beep,
    /// The first message a stream's server gets.
    StreamOpened {
        to: String,
        message: String,
    },
    /// The first or a later party picked up.
    Answered {
        by: String,
    },
    /// Caller and target can talk.
    Connected {
        to: String,
    },
    Ended {
        ending: Ending,
        duration_secs: Option<u32>,
    },
}

/// An outbound leg, as the other side and the waiting caller notice it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Leg {
    pub to: String,
    /// The number shown to the callee, where the answer says which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli: Option<String>,
    /// The country of the ring tone the caller hears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_tone: Option<String>,
    /// Of a SIP leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
}

/// What became of a callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Replied { status: u16, body: String },
    Failed { why: String },
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ending {
    pub result: CallResult,
    pub reason: Reason,
}

/// `result` of the DICE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    NotApplicable,
    Answered,
    Busy,
    NoAnswer,
    Failed,
}

impl CallResult {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "N/A",
            Self::Answered => "ANSWERED",
            Self::Busy => "BUSY",
            Self::NoAnswer => "NOANSWER",
            Self::Failed => "FAILED",
        }
    }
}

/// `reason` of the DICE: those of Sinch's list that can happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotApplicable,
    Timeout,
    CallerHangup,
    CalleeHangup,
    ManagerHangup,
    Cancel,
    UserNotFound,
    CallbackError,
    GeneralError,
    Congestion,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "N/A",
            Self::Timeout => "TIMEOUT",
            Self::CallerHangup => "CALLERHANGUP",
            Self::CalleeHangup => "CALLEEHANGUP",
            Self::ManagerHangup => "MANAGERHANGUP",
            Self::Cancel => "CANCEL",
            Self::UserNotFound => "USERNOTFOUND",
            Self::CallbackError => "CALLBACKERROR",
            Self::GeneralError => "GENERALERROR",
            Self::Congestion => "CONGESTION",
        }
    }
}

impl Serialize for CallResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One line of a ladder, for people; the whole truth is in the fields.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7}.{} s  {}", self.at_ms / 1_000, self.at_ms % 1_000 / 100, self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Callback { kind, copy, latency_micros, outcome, .. } => {
                let name = kind.as_str().to_ascii_uppercase();
                let again = if *copy == 0 { "" } else { " again" };
                let (ms, tenths) = (latency_micros / 1_000, latency_micros % 1_000 / 100);
                match outcome {
                    Outcome::Replied { status, .. } => write!(f, "{name}{again} → {status} in {ms}.{tenths} ms"),
                    Outcome::Failed { why } => write!(f, "{name}{again} → {why}"),
                }
            }
            Self::Answer { svaml } => {
                for instruction in &svaml.instructions {
                    write!(f, "{}, ", instruction.name())?;
                }
                write!(f, "{}", svaml.action.name())
            }
            Self::BadAnswer { why } => write!(f, "illegal answer: {why}"),
            Self::Heard { text } => write!(f, "hears \"{text}\""),
            Self::Pressed { digits } => write!(f, "presses {digits}"),
            Self::Said { words } => write!(f, "says \"{words}\""),
            Self::Silent => f.write_str("presses nothing"),
            Self::HoldRepeats => f.write_str("hears the hold prompt again and again"),
            Self::Tones { digits } => write!(f, "tones {digits}"),
            Self::Forwarded { digits } => write!(f, "the others hear tones {digits}"),
            Self::Cookie { key, value } => write!(f, "cookie {key}={value}"),
            Self::RecordingStarted => f.write_str("recording starts"),
            Self::RecordingStopped => f.write_str("recording stops"),
            Self::Ringing(leg) => write!(f, "rings at {leg}"),
            Self::Beep => f.write_str("the machine beeps"),
            Self::StreamOpened { to, message } => write!(f, "streams to {to}, which hears {message}"),
            Self::Answered { by } => write!(f, "answered by {by}"),
            Self::Connected { to } => write!(f, "connected to {to}"),
            Self::Ended { ending, duration_secs } => {
                write!(f, "ended: {} {}", ending.result.as_str(), ending.reason.as_str())?;
                duration_secs.map_or(Ok(()), |secs| write!(f, " after {secs} s"))
            }
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to)?;
        if let Some(transport) = &self.transport {
            write!(f, " over {transport}")?;
        }
        if let Some(cli) = &self.cli {
            write!(f, ", showing {cli}")?;
        }
        for Header { key, value } in &self.headers {
            write!(f, ", with {key}: {value}")?;
        }
        self.ring_tone.as_ref().map_or(Ok(()), |country| write!(f, "; the caller hears the ring tone of {country}"))
    }
}
