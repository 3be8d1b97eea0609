//! A call that we placed, as people read it: what was ordered, how it stands, and each step with its reason.

use proto::{Kind, Side, Step};
use serde_json::Value;

use super::call::{Call, Event, held, money_hint};
use crate::output::{Output, Tone, to_the_second, words};

/// How the platform says that we hung up.
const WE_HUNG_UP: &str = "MANAGERHANGUP";

/// The order, how it stands, and its legs: each is a call to be shown by itself.
pub(super) fn show(output: Output, call: &Call, standing: &Value) {
    let line = |name: &str, value: &str| output.line(format!("{name:<12}{value}"));
    line("call", &output.toned(Tone::Strong, &call.call));
    let order = &order(call).map(|event| event.body.clone()).unwrap_or_default();
    line("state", &came_to(call, order, standing));
    if let Some(event) = self::order(call) {
        line("ordered", &to_the_second(&Value::from(event.time.to_string())));
    }
    if order["at"].is_string() {
        line("not before", &to_the_second(&order["at"]));
    }
    line("who", &who(order));
    line("at most", &format!("{} s ringing, {} s talking on each leg", order["ring_secs"], order["max_secs"]));
    if order["redial"]["times"].as_u64().is_some_and(|times| times > 0) {
        line("tries", &format!("{} more, {} s apart", order["redial"]["times"], order["redial"]["pause_secs"]));
    }
    for (name, value) in [("custom", &order["custom"]), ("wallet", &order["wallet"]), ("app", &order["app"])] {
        if value.as_str().is_some_and(|text| !text.is_empty()) {
            line(name, &words(value));
        }
    }
    for (moment, told) in order["tell"].as_object().into_iter().flatten() {
        line("tells", &format!("{moment}: {}", told.as_array().map_or(0, Vec::len)));
    }
    line("cost", format!("{} {}", words(&standing["cost"]), words(&standing["currency"])).trim());
    let hung_up = standing["hangup_asked"] == true;
    let row = |leg: &Value| {
        let secs = leg["duration_secs"].as_u64().map(|secs| format!("{secs} s")).unwrap_or_default();
        let state = words(&leg["state"]).replace('_', " ");
        let why = match (leg["state"].as_str(), leg["why"].as_str()) {
            // It rang for as long as it may.
            (Some("not_answered"), Some(WE_HUNG_UP)) if !hung_up => "no answer".to_owned(),
            (_, why) => why.unwrap_or_default().to_owned(),
        };
        [words(&leg["side"]), words(&leg["attempt"]), state, secs, words(&leg["cost"]), why, words(&leg["call"])]
    };
    let legs: Vec<_> = standing["legs"].as_array().into_iter().flatten().map(row).collect();
    if !legs.is_empty() {
        output.line("");
        output.table(["LEG", "TRY", "STATE", "TALKED", "COST", "WHY", "CALL"], legs);
    }
}

/// Each step, and why.
pub(super) fn why(output: Output, call: &Call) {
    let wallet = order(call).map(|event| words(&event.body["wallet"])).unwrap_or_default();
    for event in steps(call) {
        let time = output.toned(Tone::Faint, to_the_second(&Value::from(event.time.to_string())));
        let (tone, text) = if event.kind == Kind::Placed {
            (Tone::Strong, format!("placed by {}: {}", words(&event.body["by"]), who(&event.body)))
        } else {
            step(&event.body["step"], &wallet)
        };
        output.line(format!("{time}  {}", output.toned(tone, text)));
    }
}

/// The order and the steps.
pub(super) fn steps(call: &Call) -> impl Iterator<Item = &Event> {
    call.events.iter().filter(|event| matches!(event.kind, Kind::Placed | Kind::Progressed))
}

fn order(call: &Call) -> Option<&Event> {
    call.events.iter().find(|event| event.kind == Kind::Placed)
}

/// Who is called by which number, and what for.
fn who(placed: &Value) -> String {
    let order = &placed["order"];
    let shown = words(&placed["cli"]);
    if order["type"] == "click_to_call" {
        return format!(
            "{} and then {} are called from {shown}, and joined",
            words(&order["from"]),
            words(&order["to"])
        );
    }
    let what = match order["target"].as_object().and_then(|target| target.iter().next()) {
        Some((what, value)) if what == "say" => format!("to say “{}”", words(value)),
        Some((what, value)) => format!("to {what} {}", words(value)),
        None => "and the policy is asked".to_owned(),
    };
    format!("{} is called from {shown}, {what}", words(&order["to"]))
}

/// How it stands, or what it came to, in a word or two.
fn came_to(call: &Call, order: &Value, standing: &Value) -> String {
    let state = words(&standing["state"]);
    let legs = standing["legs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asked = standing["hangup_asked"] == true;
    if state != "ended" {
        return match (asked, legs.is_empty(), order["at"].is_string()) {
            (true, _, _) => format!("{state}, and is being ended"),
            (false, true, true) => format!("waiting until {}", to_the_second(&order["at"])),
            (false, _, _) => state,
        };
    }
    let facts = steps(call).last().map(|event| &event.body["facts"]).unwrap_or(&Value::Null);
    let dialled = legs.iter().any(|leg| leg["state"] != "not_dialled");
    match (asked, dialled, facts["answered_at"].is_string()) {
        (_, _, true) => "ended".to_owned(),
        (true, _, false) if legs.is_empty() => "cancelled before it began".to_owned(),
        (true, _, false) => "ended, before anybody answered".to_owned(),
        (false, false, false) => format!("ended, nobody was called: {}", words(&facts["reason"])),
        (false, true, false) => match facts["result"].as_str() {
            Some("BUSY") => "ended: busy".to_owned(),
            _ if facts["reason"].as_str().is_none_or(|reason| reason == WE_HUNG_UP) => "ended: no answer".to_owned(),
            _ => format!("ended, not answered: {}", words(&facts["reason"])),
        },
    }
}

fn step(step: &Value, wallet: &str) -> (Tone, String) {
    let leg = |side: Side, attempt: u8| match attempt {
        1 => format!("leg {}", side.as_str()),
        attempt => format!("leg {}, try {attempt}", side.as_str()),
    };
    let Ok(read) = serde_json::from_value::<Step>(step.clone()) else { return (Tone::Note, step.to_string()) };
    match read {
        Step::Dialling { side, attempt, hold, .. } => {
            let held = hold.and_then(|hold| held(&hold, wallet));
            let credit = held.map(|held| format!("; {held}")).unwrap_or_default();
            (Tone::Note, format!("{}: is about to be called{credit}", leg(side, attempt)))
        }
        Step::Dialled { side, attempt, platform_call } => {
            (Tone::Note, format!("{}: the platform has taken it, as call {platform_call}", leg(side, attempt)))
        }
        Step::NotDialled { side, attempt, cause, .. } => {
            let hint = money_hint(&cause, wallet).map(|hint| format!("; {hint}")).unwrap_or_default();
            (Tone::Bad, format!("{}: is not called: {cause}{hint}", leg(side, attempt)))
        }
        Step::Answered { side, attempt, .. } => (Tone::Good, format!("{}: answered", leg(side, attempt))),
        Step::Ended { side, attempt, answered: true, .. } => (Tone::Note, format!("{}: ended", leg(side, attempt))),
        Step::Ended { side, attempt, answered: false, .. } => {
            (Tone::Bad, format!("{}: ended, and was not answered", leg(side, attempt)))
        }
        Step::Settled { side, attempt, bill, .. } => {
            let said = [bill.result, bill.reason].into_iter().flatten().collect::<Vec<_>>().join(" ");
            let cost = format!("{} {}", bill.cost.normalize(), bill.currency.unwrap_or_default());
            let text = format!("{}: {} s for {}, {said}", leg(side, attempt), bill.duration_secs, cost.trim());
            (Tone::Note, text)
        }
        Step::HangupAsked { by } => (Tone::Note, format!("{by} wants it to end")),
        Step::Over => (Tone::Strong, "over".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(events: Value) -> Call {
        let event = |(seq, event): (u64, &Value)| {
            let mut event = event.clone();
            for (name, value) in [("seq", json!(seq)), ("id", json!("x")), ("app", json!("acme"))] {
                event[name] = value;
            }
            event["time"] = json!("2026-11-22T09:00:00Z");
            event
        };
        let events: Vec<Value> = (1..).zip(events.as_array().into_iter().flatten()).map(event).collect();
        serde_json::from_value(json!({ "call": "placed-1", "events": events })).expect("a call")
    }

    #[test]
    fn what_a_call_came_to_is_said_in_words() {
        let order = json!({ "at": "2026-11-23T09:00:00Z" });
        let leg = |state: &str| json!([{ "state": state }]);
        let facts = |facts: Value| call(json!([{ "kind": "progressed", "body": { "facts": facts } }]));
        for (call, standing, says) in [
            (facts(json!({})), json!({ "state": "placed", "legs": [] }), "waiting until 2026-11-23T09:00:00"),
            (facts(json!({})), json!({ "state": "ringing", "legs": leg("ringing") }), "ringing"),
            (
                facts(json!({})),
                json!({ "state": "ended", "legs": [], "hangup_asked": true }),
                "cancelled before it began",
            ),
            (
                facts(json!({ "reason": "NO_CREDIT" })),
                json!({ "state": "ended", "legs": leg("not_dialled") }),
                "ended, nobody was called: NO_CREDIT",
            ),
            (
                facts(json!({ "reason": "MANAGERHANGUP", "result": "NOANSWER" })),
                json!({ "state": "ended", "legs": leg("not_answered") }),
                "ended: no answer",
            ),
            (
                facts(json!({ "result": "BUSY" })),
                json!({ "state": "ended", "legs": leg("not_answered") }),
                "ended: busy",
            ),
            (
                facts(json!({ "answered_at": "2026-11-22T09:00:00Z", "reason": "MANAGERHANGUP" })),
                json!({ "state": "ended", "legs": leg("ended") }),
                "ended",
            ),
        ] {
            assert_eq!(came_to(&call, &order, &standing), says);
        }
    }

    #[test]
    fn each_step_has_its_reason() {
        let (_, text) =
            step(&json!({ "type": "not_dialled", "side": "to", "attempt": 2, "cause": "NO_CREDIT" }), "acme");
        assert!(text.starts_with("leg to, try 2: is not called: NO_CREDIT; acme cannot pay"), "{text}");
        let placed =
            json!({ "cli": "+468", "order": { "type": "outbound", "to": "+467", "target": { "say": "Hello." } } });
        assert_eq!(who(&placed), "+467 is called from +468, to say “Hello.”");
        let joined = json!({ "cli": "+468", "order": { "type": "click_to_call", "from": "+461", "to": "+467" } });
        assert_eq!(who(&joined), "+461 and then +467 are called from +468, and joined");
    }
}
