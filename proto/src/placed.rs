//! Calls that we place: what was ordered, which call of the platform is which leg of it, and how it goes.
//!
//! A placed call is a call of its own in the log, with our id; its legs are calls of the platform, which gives them their
//! ids. What is told about a placed call hangs on [`Progressed`] alone, so that it has one order.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::id::{AppName, CallId, Leg, ProfileId, WalletId};
use crate::phone::PhoneNumber;

/// Body of `callbus.call.placed.v1`: what somebody ordered, and was promised. Nothing of it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// Ours.
    pub call: CallId,
    pub app: AppName,
    /// Who pays for its legs.
    pub wallet: WalletId,
    pub order: Order,
    /// The number that is shown.
    pub cli: PhoneNumber,
    /// How long each leg may ring.
    pub ring_secs: u16,
    /// No leg lasts longer, and credit is held for no more.
    pub max_secs: u32,
    pub redial: Redial,
    /// Not before; absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Whatever the caller of the API wants to find again in what it is told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub custom: String,
    /// Whom to tell of what. Profiles are pinned to the revision that was in force.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tell: BTreeMap<Moment, Vec<Listener>>,
    /// Who ordered it, such as `api`.
    pub by: String,
}

impl Placed {
    /// Those to be told of a moment.
    pub fn told_of(&self, moment: Option<Moment>) -> Vec<Listener> {
        moment.and_then(|moment| self.tell.get(&moment)).cloned().unwrap_or_default()
    }
}

/// What kind of call it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Order {
    /// Somebody is called and hears, or is led to, the target.
    Outbound { to: PhoneNumber, target: Target },
    /// Two are called, one after the other has answered, and joined.
    ClickToCall { from: PhoneNumber, to: PhoneNumber },
}

impl Order {
    /// Who is called, in this order, each once the one before has answered.
    pub fn parties(&self) -> Vec<(Side, &PhoneNumber)> {
        match self {
            Self::Outbound { to, target: Target::Connect(other) } => vec![(Side::To, to), (Side::From, other)],
            Self::Outbound { to, target: Target::Say(_) | Target::Menu(_) | Target::Policy } => vec![(Side::To, to)],
            Self::ClickToCall { from, to } => vec![(Side::From, from), (Side::To, to)],
        }
    }

    /// What is told when a leg of this side begins to ring.
    pub fn start_of(&self, side: Side) -> Option<Moment> {
        match (self, side) {
            (Self::Outbound { .. }, Side::To) => Some(Moment::CallStart),
            (Self::Outbound { .. }, Side::From) => None,
            (Self::ClickToCall { .. }, Side::From) => Some(Moment::FromCallStart),
            (Self::ClickToCall { .. }, Side::To) => Some(Moment::ToCallStart),
        }
    }

    /// What is told when it is answered.
    pub fn answer_of(&self, side: Side) -> Option<Moment> {
        match (self, side) {
            (Self::Outbound { .. }, Side::To) => Some(Moment::CallAnswer),
            (Self::Outbound { .. }, Side::From) => None,
            (Self::ClickToCall { .. }, Side::From) => Some(Moment::FromCallAnswer),
            (Self::ClickToCall { .. }, Side::To) => Some(Moment::ToCallAnswer),
        }
    }
}

/// What an outbound call is for, once it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Words to be said; then it ends.
    Say(String),
    /// A menu of the policy in force, by its name. What is pressed there comes as PIE, which the policy answers.
    Menu(String),
    /// Another number, which is called once this one has answered.
    Connect(PhoneNumber),
    /// The app's policy is asked with the answer (ACE), as for a call that came in.
    Policy,
}

/// Tried again when nobody answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redial {
    /// After the first time.
    pub times: u8,
    pub pause_secs: u16,
}

/// What can be told of a placed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    CallStart,
    CallAnswer,
    FromCallStart,
    ToCallStart,
    FromCallAnswer,
    ToCallAnswer,
    /// Once, when all is over.
    CallEnd,
}

impl Moment {
    /// Of an outbound call.
    pub const OUTBOUND: [Self; 3] = [Self::CallStart, Self::CallAnswer, Self::CallEnd];
    /// Of a click to call.
    pub const CLICK_TO_CALL: [Self; 5] =
        [Self::FromCallStart, Self::ToCallStart, Self::FromCallAnswer, Self::ToCallAnswer, Self::CallEnd];

    pub fn parse(text: &str) -> Option<Self> {
        Self::OUTBOUND.into_iter().chain(Self::CLICK_TO_CALL).find(|moment| moment.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallStart => "call_start",
            Self::CallAnswer => "call_answer",
            Self::FromCallStart => "from_call_start",
            Self::ToCallStart => "to_call_start",
            Self::FromCallAnswer => "from_call_answer",
            Self::ToCallAnswer => "to_call_answer",
            Self::CallEnd => "call_end",
        }
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    Profile {
        id: ProfileId,
        /// The revision the call is told by, whatever becomes of the profile.
        revision: u64,
    },
    /// A plain address, placeholders and all: a GET.
    Url(String),
}

/// Which party of a placed call. Of an outbound call it is `to` who is called first, and `from` whom it is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    From,
    To,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
        }
    }
}

/// Body of `callbus.call.dialled.v1`, about a call of the platform: it is a leg of one that we placed. Billing settles by
/// it a leg that nobody answered, and so was never decided about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Dialled {
    pub of: LegOf,
    pub wallet: WalletId,
    /// What was held before it was dialled: `money::Hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<RawValue>>,
}

/// Which leg of which placed call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LegOf {
    /// Ours.
    pub call: CallId,
    pub side: Side,
    /// From 1; each redial is another call of the platform.
    pub attempt: u8,
}

/// What the platform is given as a leg's `custom`, and repeats in each of its callbacks: where its `Dialling` stands in
/// `CALLS`, and the call it is of. Anybody may write such a text, so it counts for nothing but with that event.
///
/// ```
/// use proto::LegMark;
/// let mark = LegMark::parse("callbus:17:placed-6f1c").unwrap();
/// assert_eq!((mark.dialling_seq, mark.call.as_str(), mark.to_string().as_str()), (17, "placed-6f1c", "callbus:17:placed-6f1c"));
/// assert_eq!(LegMark::parse("order 17"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegMark {
    pub dialling_seq: u64,
    pub call: CallId,
}

impl LegMark {
    /// Every mark begins so.
    pub const BEGIN: &str = "callbus:";

    pub fn parse(custom: &str) -> Option<Self> {
        let (seq, call) = custom.strip_prefix(Self::BEGIN)?.split_once(':')?;
        Some(Self { dialling_seq: seq.parse().ok()?, call: CallId::new(call).ok()? })
    }
}

impl fmt::Display for LegMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", Self::BEGIN, self.dialling_seq, self.call)
    }
}

/// Body of `callbus.call.progressed.v1`, about a call that we placed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Progressed {
    pub step: Step,
    /// What listeners are told it is; absent where there is nothing to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// Those to be told of this moment, in the order they were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tell: Vec<Listener>,
    /// All that can be told of the call by now.
    pub facts: CallFacts,
}

/// What happened to a placed call.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Step {
    /// A leg is about to be dialled. Written before the platform is asked, which has no way to be asked the same twice.
    Dialling {
        side: Side,
        attempt: u8,
        /// No leg of this side has rung before: its first sign of life is the start of the side.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        begins: bool,
        /// Where `placed` stands in `CALLS`.
        placed_seq: u64,
        /// Names the hold.
        leg: Leg,
        /// `money::Hold`. Not raw, as elsewhere: serde reads a tagged enum from values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<Value>,
    },
    /// The platform has taken it.
    Dialled { side: Side, attempt: u8, platform_call: CallId },
    /// It has not, or there was no credit, or nobody can say.
    NotDialled {
        side: Side,
        attempt: u8,
        cause: String,
        /// Dialling again may help.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        may_be_redialled: bool,
    },
    /// As its ACE says.
    Answered { side: Side, attempt: u8, platform_call: CallId, at: Timestamp },
    /// As its DICE says.
    Ended { side: Side, attempt: u8, platform_call: CallId, at: Timestamp, answered: bool },
    /// As its CDR says.
    Settled { side: Side, attempt: u8, platform_call: CallId, bill: LegBill },
    /// Somebody wants it to end.
    HangupAsked { by: String },
    /// All legs have ended and are settled, or none will come.
    Over,
}

/// What a leg came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LegBill {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// From answer to end.
    #[serde(default)]
    pub duration_secs: u32,
    #[serde(default)]
    pub billed_secs: u32,
    #[serde(default)]
    pub cost: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Sinch's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What templates may name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CallFacts {
    pub caller: String,
    pub callee: String,
    /// `placed`, `ringing`, `answered`, `ended`.
    pub status: String,
    /// `outbound` or `click_to_call`.
    pub direction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// From answer to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_secs: Option<u32>,
    /// Of all legs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Sinch's, of the leg that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub custom: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_url: Option<String>,
    /// The side this moment is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<Side>,
}
