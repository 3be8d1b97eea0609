//! Calls that we place: what was ordered, which call of the platform is which leg of it, and how it goes.
//!
//! A placed call is a call of its own in the log, with our id; its legs are calls of the platform, which gives them their
//! ids. What is told about a placed call hangs on [`Progressed`] alone, so that it has one order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    /// Which token ordered it.
    pub by: String,
}

/// What kind of call it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Order {
    /// Somebody is called and hears, or is led to, the target.
    Outbound {
        to: PhoneNumber,
        target: Target,
        /// Whether a machine answers is found out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        amd: bool,
    },
    /// Two are called, one after the other has answered, and joined.
    ClickToCall { from: PhoneNumber, to: PhoneNumber },
}

/// What an outbound call is for, once it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Words to be said; then it ends.
    Say(String),
    /// A menu of the app's policy.
    Menu(String),
    /// Another number.
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

/// Which party of a placed call. An outbound call has only one: `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    From,
    To,
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
        /// Names the hold.
        leg: Leg,
        /// `money::Hold`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<Box<RawValue>>,
    },
    /// The platform has taken it.
    Dialled {
        side: Side,
        attempt: u8,
        platform_call: CallId,
    },
    /// It has not, or there was no credit.
    NotDialled {
        side: Side,
        attempt: u8,
        cause: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_at: Option<Timestamp>,
    },
    Answered {
        side: Side,
        attempt: u8,
        platform_call: CallId,
    },
    /// A leg has ended, as its DICE or its CDR says.
    Ended {
        side: Side,
        attempt: u8,
        platform_call: CallId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_at: Option<Timestamp>,
    },
    /// A leg's CDR came.
    Settled {
        side: Side,
        attempt: u8,
        platform_call: CallId,
    },
    /// Somebody wants it to end.
    HangupAsked {
        by: String,
    },
    /// All legs have ended and are settled, or none will come.
    Over,
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
