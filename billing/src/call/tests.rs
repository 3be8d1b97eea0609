use proto::{Partition, Subject};
use serde_json::{Value, json};

use super::*;

const DURATION_SECS: u32 = 90;

fn event(kind: Kind, body: &Value) -> Event {
    Event {
        id: EventId::of(&[kind.as_str()]),
        subject: Subject::Call { kind, app: app(), partition: Partition::of(&id()) },
        about: id().to_string(),
        source: "test".to_owned(),
        time: body["timestamp"].as_str().unwrap_or("2026-01-02T17:58:00Z").parse().unwrap(),
        extra: Vec::new(),
        data: body.to_string().into(),
    }
}

fn app() -> AppName {
    AppName::new("acme").unwrap()
}

fn id() -> CallId {
    CallId::new("c").unwrap()
}

fn granted(kind: &str) -> Value {
    let leg = "a".repeat(64);
    json!({
        "key": leg, "kind": kind, "callback": leg, "answer": {}, "outcome": "granted", "by": "w", "took_micros": 1,
        "hold": {
            "leg": leg, "call": "c", "wallet": "w", "amount": "1", "granted_secs": 600,
            "price": { "currency": "EUR", "connect_fee": "0", "rounding": "up4",
                "tiers": [{ "start_secs": 0, "rate": "1", "unit_secs": 60, "increment_secs": 60 }] },
            "deck": { "name": "d", "version": "1" }, "prefix": "1",
            "placed_at": "2026-01-02T17:58:00Z", "expires_at": "2026-01-02T18:30:00Z",
        },
    })
}

/// When the leg counts as answered, and for how long it is charged.
fn ended(kind: &str, ace: Option<&str>) -> (String, u32) {
    let recorded = |seq, kind, body: &Value| Recorded { seq, event: event(kind, body) };
    let first = recorded(1, Kind::Decided, &granted(kind));
    let now = first.event.time;
    let mut call = Call::new(app(), id(), &first, now);
    call.apply(Kind::Decided, &first, now).unwrap();
    if let Some(time) = ace {
        let ace = json!({ "event": "ace", "callid": "c", "timestamp": time });
        call.apply(Kind::Ace, &recorded(2, Kind::Ace, &ace), now).unwrap();
    }
    let dice = json!({ "event": "dice", "callid": "c", "timestamp": "2026-01-02T18:01:00Z", "result": "ANSWERED",
        "duration": DURATION_SECS });
    call.apply(Kind::Dice, &recorded(3, Kind::Dice, &dice), now).unwrap();
    let ended = call.ending(0).unwrap().ended;
    (ended.answered_at.to_string(), ended.duration_secs)
}

#[test]
fn a_leg_is_answered_at_its_ace_or_else_its_duration_before_the_end() {
    for (kind, ace, answered_at, secs) in [
        ("ice", Some("2026-01-02T17:59:31Z"), "2026-01-02T17:59:31Z", DURATION_SECS),
        ("ice", None, "2026-01-02T17:59:30Z", DURATION_SECS),
        ("pie", Some("2026-01-02T18:00:20Z"), "2026-01-02T18:00:20Z", 40),
        ("pie", None, "2026-01-02T17:59:30Z", DURATION_SECS),
    ] {
        assert_eq!(ended(kind, ace), (answered_at.to_owned(), secs), "{kind} {ace:?}");
    }
}
