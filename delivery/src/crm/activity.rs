//! A call as a CRM has it: one activity, made from the CDR alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use proto::{AppName, CallFacts, CallId, Direction, PhoneNumber, Settled};
use rust_decimal::Decimal;
use serde_json::Value;

/// What templates may name.
pub(super) const NAMES: [&str; 30] = [
    "call_id",
    "app",
    "direction",
    "direction_title",
    "caller",
    "callee",
    "number",
    "number_digits",
    "number_national",
    "status",
    "result",
    "reason",
    "refused",
    "started_at",
    "started_date",
    "started_time",
    "started_millis",
    "answered_at",
    "ended_at",
    "ended_date",
    "ended_time",
    "duration",
    "duration_millis",
    "duration_clock",
    "duration_minutes",
    "billed_seconds",
    "cost",
    "currency",
    "title",
    "body",
];

/// Of a caller that is no number.
const NAME_CHARS_MAX: usize = 128;

/// How a call came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Answered,
    Busy,
    NoAnswer,
    Cancelled,
    Failed,
    /// We did not let it through.
    Refused,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NoAnswer => "no answer",
            Self::Answered | Self::Busy | Self::Cancelled | Self::Failed | Self::Refused => self.as_str(),
        }
    }
}

/// One call, as far as a CRM wants to know of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallActivity {
    pub call_id: String,
    pub app: String,
    pub direction: Direction,
    pub caller: Option<String>,
    pub callee: Option<String>,
    /// Of the two the one that may be a contact's.
    pub number: Option<PhoneNumber>,
    pub status: Status,
    pub result: Option<String>,
    pub reason: Option<String>,
    pub refused: Option<String>,
    pub started_at: Timestamp,
    pub answered_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    pub duration_secs: u32,
    pub billed_secs: u32,
    /// With its currency; absent where legs were paid in several.
    pub cost: Option<(Decimal, String)>,
}

impl CallActivity {
    /// `noted_at` is when the CDR was written. Without a word from the operator a call is inbound, unless it goes from an
    /// app's user to a phone number.
    pub(super) fn of(cdr: &Settled, noted_at: Timestamp, direction: Option<Direction>) -> Self {
        let number = |text: &Option<String>| PhoneNumber::parse_lenient(text.as_deref()?).ok();
        let (from, to) = (number(&cdr.from), number(&cdr.to));
        // Of an in-app call the platform does not name the caller at all; one who hides is named so.
        let outbound = from.is_none() && !cdr.from.as_deref().is_some_and(is_hidden) && to.is_some();
        let direction = direction.unwrap_or(if outbound { Direction::Outbound } else { Direction::Inbound });
        let written = |text: &Option<String>, number: &Option<PhoneNumber>| match number {
            Some(number) => Some(number.as_str().to_owned()),
            None => text
                .as_ref()
                .map(|text| text.chars().take(NAME_CHARS_MAX).collect())
                .filter(|text: &String| !text.is_empty()),
        };
        let (caller, callee) = (written(&cdr.from, &from), written(&cdr.to, &to));
        let ended_at = cdr.ended_at.unwrap_or(noted_at);
        let talked = SignedDuration::from_secs(cdr.duration_secs.into());
        let began = || cdr.answered_at.or_else(|| ended_at.checked_sub(talked).ok()).unwrap_or(ended_at);
        Self {
            call_id: cdr.call.to_string(),
            app: cdr.app.to_string(),
            direction,
            caller,
            callee,
            number: match direction {
                Direction::Inbound => from,
                Direction::Outbound => to,
            },
            status: status(cdr),
            result: cdr.result.clone(),
            reason: cdr.reason.clone(),
            refused: cdr.refused.clone(),
            started_at: cdr.started_at.unwrap_or_else(began),
            answered_at: cdr.answered_at,
            ended_at,
            duration_secs: cdr.duration_secs,
            billed_secs: cdr.legs.iter().map(|leg| leg.billed_secs).fold(0, u32::saturating_add),
            cost: cost(cdr),
        }
    }

    /// A call that we placed, made from its last step: its legs are no calls of their own to a CRM.
    pub(super) fn of_placed(call: CallId, app: AppName, facts: &CallFacts, noted_at: Timestamp) -> Self {
        let cdr = Settled {
            call,
            app,
            from: Some(facts.caller.clone()),
            to: Some(facts.callee.clone()),
            started_at: facts.started_at,
            answered_at: facts.answered_at,
            ended_at: facts.ended_at,
            result: facts.result.clone(),
            reason: facts.reason.clone(),
            duration_secs: facts.duration_secs.unwrap_or_default(),
            refused: None,
            unmatched: false,
            late: false,
            asked: None,
            disputed: None,
            legs: Vec::new(),
            supplier_cost: None,
            placed: None,
        };
        Self {
            billed_secs: facts.billed_secs.unwrap_or_default(),
            cost: facts.cost.zip(facts.currency.clone()),
            ..Self::of(&cdr, noted_at, Some(Direction::Outbound))
        }
    }

    /// `Inbound call from +14155550123: answered`
    pub(super) fn title(&self) -> String {
        let (way, other) = match self.direction {
            Direction::Inbound => ("Inbound call from", &self.caller),
            Direction::Outbound => ("Outbound call to", &self.callee),
        };
        format!("{way} {}: {}", other.as_deref().unwrap_or("an unknown number"), self.status.words())
    }

    /// Some lines for people.
    pub(super) fn body(&self) -> String {
        let unknown = "unknown";
        let mut body = format!(
            "From {} to {}, {} s",
            self.caller.as_deref().unwrap_or(unknown),
            self.callee.as_deref().unwrap_or(unknown),
            self.duration_secs
        );
        // Writing to text cannot fail.
        if let Some((cost, currency)) = &self.cost {
            let _ = write!(body, "\nBilled {} s, {cost} {currency}", self.billed_secs);
        }
        if let Some(why) = self.refused.as_ref().or(self.reason.as_ref()) {
            let _ = write!(body, "\nReason {why}");
        }
        let _ = write!(body, "\nCall {}", self.call_id);
        body
    }

    /// What templates say of it, by name. What is not known is not there.
    pub(super) fn values(&self) -> BTreeMap<String, Value> {
        let national = self.number.as_ref().map(|number| national(number).to_owned());
        let duration = SignedDuration::from_secs(self.duration_secs.into());
        let clock = format!("{:02}:{:02}:{:02}", duration.as_hours(), duration.as_mins() % 60, duration.as_secs() % 60);
        let time = |at: Timestamp, format: &str| Value::from(at.strftime(format).to_string());
        let (direction, direction_title) = match self.direction {
            Direction::Inbound => ("inbound", "Inbound"),
            Direction::Outbound => ("outbound", "Outbound"),
        };
        let known: [(&str, Option<Value>); 30] = [
            ("call_id", Some(self.call_id.clone().into())),
            ("app", Some(self.app.clone().into())),
            ("direction", Some(direction.into())),
            ("direction_title", Some(direction_title.into())),
            ("caller", self.caller.clone().map(Value::from)),
            ("callee", self.callee.clone().map(Value::from)),
            ("number", self.number.as_ref().map(|number| number.as_str().into())),
            ("number_digits", self.number.as_ref().map(|number| number.digits().into())),
            ("number_national", national.map(Value::from)),
            ("status", Some(self.status.as_str().into())),
            ("result", self.result.clone().map(Value::from)),
            ("reason", self.reason.clone().map(Value::from)),
            ("refused", self.refused.clone().map(Value::from)),
            ("started_at", Some(self.started_at.to_string().into())),
            ("started_date", Some(time(self.started_at, "%Y-%m-%d"))),
            ("started_time", Some(time(self.started_at, "%H:%M:%S"))),
            ("started_millis", Some(self.started_at.as_millisecond().into())),
            ("answered_at", self.answered_at.map(|at| at.to_string().into())),
            ("ended_at", Some(self.ended_at.to_string().into())),
            ("ended_date", Some(time(self.ended_at, "%Y-%m-%d"))),
            ("ended_time", Some(time(self.ended_at, "%H:%M:%S"))),
            ("duration", Some(self.duration_secs.into())),
            ("duration_millis", Some((u64::from(self.duration_secs) * 1000).into())),
            ("duration_clock", Some(clock.into())),
            ("duration_minutes", Some(self.duration_secs.div_ceil(60).into())),
            ("billed_seconds", Some(self.billed_secs.into())),
            ("cost", self.cost.as_ref().map(|(cost, _)| cost.to_string().into())),
            ("currency", self.cost.as_ref().map(|(_, currency)| currency.clone().into())),
            ("title", Some(self.title().into())),
            ("body", Some(self.body().into())),
        ];
        known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Whether the network says by it that it does not say who calls.
fn is_hidden(from: &str) -> bool {
    ["private", "anonymous", "restricted", "unavailable", "unknown"].iter().any(|word| from.eq_ignore_ascii_case(word))
}

fn status(cdr: &Settled) -> Status {
    if cdr.refused.is_some() {
        return Status::Refused;
    }
    match cdr.result.as_deref() {
        Some("ANSWERED") => Status::Answered,
        Some("BUSY") => Status::Busy,
        Some("NOANSWER") => Status::NoAnswer,
        // Whoever called gave up before anybody answered.
        _ if matches!(cdr.reason.as_deref(), Some("CANCEL" | "CALLERHANGUP")) && cdr.duration_secs == 0 => {
            Status::Cancelled
        }
        Some(_) => Status::Failed,
        None if cdr.duration_secs > 0 => Status::Answered,
        None => Status::Failed,
    }
}

fn cost(cdr: &Settled) -> Option<(Decimal, String)> {
    let currency = &cdr.legs.first()?.currency;
    let one = cdr.legs.iter().all(|leg| leg.currency == *currency);
    one.then(|| (cdr.legs.iter().map(|leg| leg.cost).sum(), currency.clone()))
}

/// The number without its country's calling code (ITU-T E.164, list of 2016): one digit for zones 1 and 7, two for these,
/// three for all others.
pub(super) fn national(number: &PhoneNumber) -> &str {
    const TWO: [&str; 43] = [
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49",
        "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84",
        "86", "90", "91", "92", "93", "94", "95",
    ];
    let digits = number.digits();
    let code = match digits.as_bytes() {
        [b'1' | b'7', ..] => 1,
        _ if digits.get(..2).is_some_and(|code| TWO.contains(&code) || code == "98") => 2,
        _ => 3,
    };
    digits.get(code..).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A CDR of an answered call, with these members in the place of its own.
    pub(in crate::crm) fn cdr(other: Value) -> Settled {
        let mut cdr = serde_json::json!({
            "call": "call:1@sinch", "app": "acme", "from": "14155550123", "to": "+442071838750",
            "started_at": "2026-11-21T20:00:00Z", "answered_at": "2026-11-21T20:00:05Z",
            "ended_at": "2026-11-21T20:01:07Z", "result": "ANSWERED", "reason": "CALLERHANGUP", "duration_secs": 62,
            "legs": [{
                "leg": "0".repeat(64), "wallet": "acme", "currency": "EUR", "deck": "retail", "deck_version": "v1",
                "prefix": "44", "held": "1", "granted_secs": 600, "billed_secs": 120, "cost": "0.42",
            }],
        });
        for (name, value) in other.as_object().into_iter().flatten() {
            cdr[name] = value.clone();
        }
        serde_json::from_value(cdr).expect("a CDR")
    }

    pub(in crate::crm) fn activity(other: Value) -> CallActivity {
        CallActivity::of(&cdr(other), "2026-11-21T20:01:09Z".parse().expect("time"), None)
    }

    #[test]
    fn a_call_has_a_value_for_every_name() {
        let mut all = activity(serde_json::json!({ "refused": "NO_CREDIT" })).values();
        for name in NAMES {
            assert!(all.remove(name).is_some(), "{name}");
        }
        assert!(all.is_empty(), "{all:?}");
    }

    #[test]
    fn it_comes_out_as_the_platform_says() {
        for (other, status) in [
            (serde_json::json!({}), Status::Answered),
            (serde_json::json!({ "result": "BUSY", "duration_secs": 0 }), Status::Busy),
            (serde_json::json!({ "result": "NOANSWER", "duration_secs": 0 }), Status::NoAnswer),
            (serde_json::json!({ "result": "FAILED", "reason": "CANCEL", "duration_secs": 0 }), Status::Cancelled),
            (serde_json::json!({ "result": "SOMETHING_NEW", "reason": "X" }), Status::Failed),
            (serde_json::json!({ "refused": "NO_CREDIT", "result": "FAILED" }), Status::Refused),
            (serde_json::json!({ "result": null }), Status::Answered),
        ] {
            assert_eq!(activity(other.clone()).status, status, "{other}");
        }
    }

    #[test]
    fn the_contact_is_on_the_other_side() {
        let inbound = activity(serde_json::json!({}));
        assert_eq!(
            (inbound.direction, inbound.number.as_ref().map(PhoneNumber::digits)),
            (Direction::Inbound, Some("14155550123"))
        );
        let outbound = activity(serde_json::json!({ "from": "alice" }));
        assert_eq!(
            (outbound.direction, outbound.number.as_ref().map(PhoneNumber::digits)),
            (Direction::Outbound, Some("442071838750"))
        );
        let hidden = activity(serde_json::json!({ "from": "Private" }));
        assert_eq!((hidden.direction, hidden.number), (Direction::Inbound, None), "somebody who hides");
        assert_eq!(activity(serde_json::json!({ "from": null })).direction, Direction::Outbound, "an in-app call");
        let told = CallActivity::of(&cdr(serde_json::json!({})), Timestamp::UNIX_EPOCH, Some(Direction::Outbound));
        assert_eq!(told.number.as_ref().map(national), Some("2071838750"));
    }

    #[test]
    fn a_cdr_that_knows_little_is_an_activity_all_the_same() {
        let other = serde_json::json!({
            "from": null, "to": null, "started_at": null, "answered_at": null, "ended_at": null, "result": null,
            "reason": null, "legs": [],
        });
        let activity = activity(other);
        assert_eq!(activity.title(), "Inbound call from an unknown number: answered");
        assert_eq!(activity.body(), "From unknown to unknown, 62 s\nCall call:1@sinch");
        assert_eq!(activity.started_at.to_string(), "2026-11-21T20:00:07Z");
    }

    #[test]
    fn national_numbers_have_no_calling_code() {
        for (number, short) in [
            ("+14155550123", "4155550123"),
            ("+442071838750", "2071838750"),
            ("+4930123456", "30123456"),
            ("+35312345678", "12345678"),
            ("+989123456789", "9123456789"),
        ] {
            assert_eq!(national(&PhoneNumber::parse(number).expect("number")), short);
        }
    }
}
