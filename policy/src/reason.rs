//! Why a call was refused.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest code, in characters.
const CODE_MAX_CHARS: usize = 64;

/// The code of a refusal, in `SCREAMING_SNAKE`: it is stored for ever, shown by `callbus call why` and counted.
///
/// Policies invent their own (`deny: BLOCKED_CALLER`); the constants are those callbus itself gives.
///
/// ```
/// use policy::Reason;
/// assert_eq!(Reason::new("NO_CREDIT"), Ok(Reason::NO_CREDIT));
/// assert!(Reason::new("no credit").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(Cow<'static, str>);

/// Text that is no reason code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a reason code: write 1 to 64 of A-Z, 0-9 and '_', beginning with a letter, such as NOT_ALLOWLISTED")]
pub struct BadReason;

impl Reason {
    /// No rule lets this number be called.
    pub const NOT_ALLOWLISTED: Self = Self(Cow::Borrowed("NOT_ALLOWLISTED"));
    /// The wallet cannot pay the first increment.
    pub const NO_CREDIT: Self = Self(Cow::Borrowed("NO_CREDIT"));
    /// The deck has no price for the number.
    pub const NO_RATE: Self = Self(Cow::Borrowed("NO_RATE"));
    /// What was dialled, or what a template gave, is not an E.164 number.
    pub const INVALID_NUMBER: Self = Self(Cow::Borrowed("INVALID_NUMBER"));
    /// The wallet may not call this number.
    pub const DENIED_NUMBER: Self = Self(Cow::Borrowed("DENIED_NUMBER"));
    /// The wallet may call only some prefixes or countries, and this is none of them.
    pub const PREFIX_NOT_ALLOWED: Self = Self(Cow::Borrowed("PREFIX_NOT_ALLOWED"));
    /// A minute costs more than the wallet may pay for one.
    pub const PRICE_CEILING: Self = Self(Cow::Borrowed("PRICE_CEILING"));
    /// As many calls of the wallet as may be are open.
    pub const LIMIT_CONCURRENT: Self = Self(Cow::Borrowed("LIMIT_CONCURRENT"));
    /// As many calls of the wallet as may have begun within this second.
    pub const LIMIT_VELOCITY: Self = Self(Cow::Borrowed("LIMIT_VELOCITY"));
    /// What the wallet may spend in a day is spent, or held by open calls.
    pub const SPEND_DAY: Self = Self(Cow::Borrowed("SPEND_DAY"));
    /// What the wallet may spend in a month is spent, or held by open calls.
    pub const SPEND_MONTH: Self = Self(Cow::Borrowed("SPEND_MONTH"));
    /// The wallet is blocked, until somebody makes it active again.
    pub const WALLET_BLOCKED: Self = Self(Cow::Borrowed("WALLET_BLOCKED"));
    /// The wallet is closed for good.
    pub const WALLET_CLOSED: Self = Self(Cow::Borrowed("WALLET_CLOSED"));
    /// The wallet and the price list are in different currencies.
    pub const WALLET_CURRENCY: Self = Self(Cow::Borrowed("WALLET_CURRENCY"));
    /// A condition or a template failed.
    pub const POLICY_ERROR: Self = Self(Cow::Borrowed("POLICY_ERROR"));
    /// The policy has no rules for this event.
    pub const NO_RULE: Self = Self(Cow::Borrowed("NO_RULE"));
    /// The call ended before it was decided.
    pub const CALL_ENDED: Self = Self(Cow::Borrowed("CALL_ENDED"));
    /// Credit could not be checked.
    pub const ADMISSION_DOWN: Self = Self(Cow::Borrowed("ADMISSION_DOWN"));
    /// Whom the policy asked gave no answer that could be used.
    pub const ASK_FAILED: Self = Self(Cow::Borrowed("ASK_FAILED"));
    /// Nobody decided in time.
    pub const NO_WORKER: Self = Self(Cow::Borrowed("NO_WORKER"));

    /// # Errors
    /// When the text is not 1 to 64 of `A-Z`, `0-9` and `_`, beginning with a letter.
    pub fn new(code: &str) -> Result<Self, BadReason> {
        let letters = code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let begins = code.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        if letters && begins && code.len() <= CODE_MAX_CHARS {
            Ok(Self(Cow::Owned(code.to_owned())))
        } else {
            Err(BadReason)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the caller hears when the policy gives no text of its own.
    pub(crate) fn spoken(&self) -> &'static str {
        match self.as_str() {
            "NOT_ALLOWLISTED" | "NO_RATE" | "DENIED_NUMBER" | "PREFIX_NOT_ALLOWED" | "PRICE_CEILING" => {
                "This number cannot be called."
            }
            "LIMIT_CONCURRENT" | "LIMIT_VELOCITY" => "There are too many calls at the same time.",
            "SPEND_DAY" | "SPEND_MONTH" => "The limit for calls has been reached.",
            "NO_CREDIT" => "There is not enough credit for this call.",
            "INVALID_NUMBER" => "This number is not valid.",
            "WALLET_CLOSED" | "WALLET_BLOCKED" | "WALLET_CURRENCY" => "This account cannot make calls.",
            _ => "Sorry, this call cannot be connected.",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Reason {
    type Err = BadReason;
    fn from_str(text: &str) -> Result<Self, BadReason> {
        Self::new(text)
    }
}

impl TryFrom<String> for Reason {
    type Error = BadReason;
    fn try_from(text: String) -> Result<Self, BadReason> {
        Self::new(&text)
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> String {
        reason.0.into_owned()
    }
}
