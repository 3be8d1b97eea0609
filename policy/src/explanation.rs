//! Why a decision came out as it did, complete enough to decide again.

use std::sync::Arc;

use proto::{Outcome, PhoneNumber, phone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::reason::Reason;
use crate::shadow::ShadowDecision;

/// Rules listed one by one: an event has to stay well below the megabyte that a log takes.
pub(crate) const TRIED_MAX: usize = 200;
/// Of an error's text.
pub(crate) const ERROR_MAX_CHARS: usize = 300;
/// Fewer digits than this are nobody's number.
const SHORT_NUMBER_DIGITS: usize = 7;
/// Names quoted in one sentence.
const QUOTED_MAX: usize = 3;

/// The rules that were tried and all facts there were. It stands inside the `decided` event for ever, and a replay needs
/// nothing else but the policy of the revision it names (and, for another policy, its lists).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Revision of the policy.
    pub policy: String,
    /// In order, until one matched or failed for good; of a long list the first ones and the last.
    pub tried: Vec<Tried>,
    /// Rules that were tried and did not apply, but are left out of `tried`.
    #[serde(default, skip_serializing_if = "none")]
    pub unlisted: usize,
    /// What the expressions could see: `call`, `menu`, `app`, `wallet`, `price`, `now`, and those of `env` that are named.
    pub facts: Map<String, Json>,
    /// What was asked of lists. The lists themselves are named by content and not kept here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Membership>,
    /// Who was asked for the answer, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<AskedElsewhere>,
    /// What a handler said about the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What the shadow policy of the app would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowDecision>,
}

/// A rule that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    pub rule: Arc<str>,
    pub result: TriedResult,
    /// The facts its condition names; their values are in [`Explanation::facts`], see [`Explanation::value`].
    #[serde(default, skip_serializing_if = "nothing_read")]
    pub read: Arc<[String]>,
    /// Why the condition or the reply failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What trying a rule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriedResult {
    Matched,
    NotMatched,
    /// The condition, or the reply of a rule that matched, could not be worked out.
    Failed,
    /// It would apply, and only says so: the next rules were tried.
    Shadow,
}

/// One question to a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Membership {
    pub list: String,
    /// Content hash of the list's entries; of a live list the sequence of its last event, 0 if there was none.
    pub revision: String,
    pub value: String,
    pub member: bool,
    /// The list is edited while calls go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}

/// Somebody who was asked for the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskedElsewhere {
    pub rule: Arc<str>,
    /// Host and path of the address, or `nats`.
    pub to: String,
    pub took_micros: u64,
    /// Why there was no answer that could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Explanation {
    /// The value of a fact by its dotted name, such as `call.to.endpoint`; `None` when it was absent.
    pub fn value(&self, name: &str) -> Option<&Json> {
        let (root, fields) = name.split_once('.').unwrap_or((name, ""));
        let mut value = self.facts.get(root)?;
        let mut rest = fields;
        while !rest.is_empty() {
            // Keys of open maps may hold dots themselves, so the longest key that exists is taken.
            let map = value.as_object()?;
            if let Some(found) = map.get(rest) {
                return Some(found);
            }
            let (field, below) = rest.split_once('.')?;
            value = map.get(field)?;
            rest = below;
        }
        Some(value)
    }

    /// One English sentence; a second one where a shadow policy would have done otherwise. Phone numbers are masked.
    ///
    /// `refused` is why a call that a rule would have let through was refused after all (no credit, no rate), or the
    /// reason of the rule itself.
    pub fn sentence(&self, outcome: Outcome, refused: Option<&Reason>) -> String {
        let told = self.told(outcome, refused);
        match self.shadow.as_ref().filter(|shadow| shadow.differs) {
            Some(shadow) => format!("{told} {}", shadow.sentence()),
            None => told,
        }
    }

    fn told(&self, outcome: Outcome, refused: Option<&Reason>) -> String {
        let because = refused.map(|reason| format!(" with {reason}")).unwrap_or_default();
        let what = match outcome {
            Outcome::Answered => format!("Answered{because}"),
            Outcome::Granted => "Connected on credit".to_owned(),
            Outcome::Refused => format!("Refused{because}"),
            Outcome::Fallback => format!("Answered by the fallback{because}"),
        };
        let Some(last) = self.tried.last() else {
            return format!("{what}: the policy has no rule for this event.");
        };
        let place = match self.tried.len() + self.unlisted {
            1 => "the first one".to_owned(),
            count => format!("number {count} of those tried"),
        };
        let rule = &last.rule;
        let asked = self.in_shadow() + &self.elsewhere(last);
        match last.result {
            TriedResult::Matched => format!("{what}: rule {rule}, {place}, applies{}{asked}.", self.grounds(last)),
            TriedResult::NotMatched | TriedResult::Shadow => format!("{what}: no rule applies{asked}."),
            TriedResult::Failed => {
                let error = last.error.as_deref().map_or_else(|| "it cannot be worked out".to_owned(), without_numbers);
                format!("{what}: rule {rule}, {place}, failed ({error}){asked}.")
            }
        }
    }

    /// Rules that are tried out and would have applied.
    fn in_shadow(&self) -> String {
        let shadows = self.tried.iter().filter(|tried| tried.result == TriedResult::Shadow);
        let rules: Vec<&str> = shadows.map(|tried| &*tried.rule).take(QUOTED_MAX).collect();
        if rules.is_empty() { String::new() } else { format!("; in shadow {} would apply", rules.join(", ")) }
    }

    /// Who was asked. What the last rule failed with is told with the rule.
    fn elsewhere(&self, last: &Tried) -> String {
        let told = |asked: &&AskedElsewhere| last.result == TriedResult::Failed && asked.rule == last.rule;
        let tell = |AskedElsewhere { to, took_micros, error, .. }: &AskedElsewhere| match error {
            None => format!("; {to} answered in {} ms", took_micros / 1_000),
            Some(error) => format!("; {to} failed ({})", without_numbers(error)),
        };
        self.asked.iter().filter(|asked| !told(asked)).map(tell).collect()
    }

    fn grounds(&self, tried: &Tried) -> String {
        let ground = |name: &String| match name.strip_prefix("lists.") {
            Some(list) => {
                let answer = self.lists.iter().rev().find(|answer| answer.list == list)?;
                let is = if answer.member { "is" } else { "is not" };
                Some(format!("{} {is} on list {list}", masked(&answer.value)))
            }
            None => Some(match self.value(name)? {
                Json::String(text) => format!("{name} is {}", masked(text)),
                Json::Object(_) => format!("{name} is present"),
                other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_)) => format!("{name} is {other}"),
            }),
        };
        let grounds: Vec<String> = tried.read.iter().filter_map(ground).take(QUOTED_MAX).collect();
        match grounds.split_last() {
            None => String::new(),
            Some((only, [])) => format!(" because {only}"),
            Some((last, rest)) => format!(" because {} and {last}", rest.join(", ")),
        }
    }
}

fn none(count: &usize) -> bool {
    *count == 0
}

fn nothing_read(read: &Arc<[String]>) -> bool {
    read.is_empty()
}

/// Errors may quote values; digits in a row that could be a number are hidden.
fn without_numbers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let digits = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(digits);
        shown.push_str(before);
        if digits.len() < SHORT_NUMBER_DIGITS {
            shown.push_str(digits)
        } else {
            shown.push_str(&phone::mask(digits))
        }
        rest = after;
    }
    shown + rest
}

fn masked(text: &str) -> String {
    if PhoneNumber::parse_lenient(text).is_ok() { phone::mask(text) } else { format!("\"{text}\"") }
}
