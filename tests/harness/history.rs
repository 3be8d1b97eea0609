//! A long log, made up: calls that were let through, refused and settled, and what their wallets paid.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use money::posting::{Charge, TopUp};
use money::{Hold, Micros, Posting, PostingId, WalletEvent};
use proto::settled::{SettledLeg, SupplierCost};
use proto::{
    AppName, CallId, Decided, DecisionKey, Event, EventId, Kind, Outcome, Partition, Settled, Subject, WalletId,
};
use serde::Serialize;
use serde_json::json;
use serde_json::value::to_raw_value;

/// Wallets that pay in turn.
const WALLETS: usize = 20;
const PRICE: &str = r#"{ "currency": "EUR", "connect_fee": "0", "rounding": "up4",
    "tiers": [{ "start_secs": 0, "rate": "1.2", "unit_secs": 60, "increment_secs": 1 }] }"#;

/// The events of call number `number`; every tenth is refused. Each wallet is topped up by its first call.
///
/// # Panics
/// Never: what it is made of is constant.
#[expect(clippy::expect_used, reason = "what it is made of is constant")]
pub fn call(number: usize) -> Vec<Event> {
    let app = AppName::new("acme").expect("app");
    let call = CallId::new(format!("call-{number}")).expect("call");
    let wallet = WalletId::new(format!("wallet-{}", number % WALLETS)).expect("wallet");
    let begin: Timestamp = "2026-01-02T03:00:00.123456Z".parse().expect("time");
    let at = |secs: usize| begin + SignedDuration::from_secs((number + secs) as i64);
    let key = DecisionKey::of(&app, &call, Kind::Ice, "", b"");
    let callback = EventId::of(&["ice", call.as_str()]);
    let event = |kind: Kind, id: EventId, secs: usize, body: String| Event {
        id,
        subject: Subject::Call { kind, app: app.clone(), partition: Partition::of(&call) },
        about: call.to_string(),
        source: app.to_string(),
        time: at(secs),
        extra: Vec::new(),
        data: Bytes::from(body),
    };
    let callee = format!("+4670{number:07}");
    let ice = json!({
        "event": "ice", "callid": call, "timestamp": at(0), "version": 1, "cli": "46701111111",
        "to": { "type": "number", "endpoint": callee }, "domain": "pstn", "originationType": "PSTN",
    });
    let refused = number % 10 == 9;
    let (duration_secs, cost) = (30 + (number % 60) as u32, Micros::new(20_000 * (30 + (number % 60) as i64)));
    let cost = cost.expect("amount");
    let hold = Hold {
        leg: key.clone(),
        call: call.clone(),
        wallet: wallet.clone(),
        amount: Micros::parse("12").expect("amount"),
        in_place_of: None,
        granted_secs: 600,
        price: serde_json::from_str(PRICE).expect("price"),
        deck: money::DeckRef { name: "standard".to_owned(), version: "9c0d1e2b3f5a0000".to_owned() },
        prefix: "46".to_owned(),
        placed_at: at(0),
        expires_at: at(1_000),
    };
    let answer = if refused { json!({ "action": { "name": "hangup" } }) } else { json!({ "action": { "name": "x" } }) };
    let decided = Decided {
        key: key.clone(),
        kind: Kind::Ice,
        callback: callback.clone(),
        answer: to_raw_value(&answer).expect("JSON"),
        outcome: if refused { Outcome::Refused } else { Outcome::Granted },
        reason: refused.then(|| "NOT_ALLOWLISTED".to_owned()),
        rule: Some(if refused { "others" } else { "only" }.to_owned()),
        policy: Some("3f5a9c0d1e2b".to_owned()),
        wallet: Some(wallet.clone()),
        reserve: !refused,
        hold: (!refused).then(|| to_raw_value(&hold).expect("JSON")),
        explanation: None,
        by: "history".to_owned(),
        took_micros: 400,
    };
    let dice = json!({
        "event": "dice", "callid": call, "timestamp": at(100), "version": 1, "reason": "CALLERHANGUP",
        "result": if refused { "N/A" } else { "ANSWERED" }, "duration": duration_secs, "from": "46701111111",
        "to": { "type": "number", "endpoint": callee }, "debit": { "currencyId": "EUR", "amount": 0.0095 },
    });
    let leg = SettledLeg {
        leg: key.clone(),
        wallet: wallet.clone(),
        currency: "EUR".to_owned(),
        deck: "standard".to_owned(),
        deck_version: "9c0d1e2b3f5a0000".to_owned(),
        prefix: "46".to_owned(),
        held: "12".parse().expect("amount"),
        granted_secs: 600,
        billed_secs: duration_secs,
        cost: cost.to_string().parse().expect("amount"),
        overrun: false,
        estimate: false,
    };
    let settled = Settled {
        call: call.clone(),
        app: app.clone(),
        from: Some("46701111111".to_owned()),
        to: Some(callee),
        started_at: Some(at(0)),
        answered_at: Some(at(5)),
        ended_at: Some(at(100)),
        result: Some(if refused { "N/A" } else { "ANSWERED" }.to_owned()),
        reason: Some("CALLERHANGUP".to_owned()),
        duration_secs,
        refused: refused.then(|| "NOT_ALLOWLISTED".to_owned()),
        unmatched: false,
        late: false,
        asked: None,
        disputed: None,
        legs: if refused { Vec::new() } else { vec![leg] },
        supplier_cost: Some(SupplierCost {
            amount: "0.0095".parse().expect("amount"),
            currency: Some("EUR".to_owned()),
        }),
        placed: None,
    };
    let named = |kind: &str| EventId::of(&[kind, call.as_str()]);
    let mut events = vec![
        event(Kind::Ice, callback, 0, ice.to_string()),
        event(Kind::Decided, EventId::of_decided(&key, answer.to_string().as_bytes()), 0, text(&decided)),
        event(Kind::Ace, named("ace"), 5, json!({ "event": "ace", "callid": call, "timestamp": at(5) }).to_string()),
        event(Kind::Dice, named("dice"), 100, dice.to_string()),
        event(Kind::Settled, named("settled"), 101, text(&settled)),
    ];
    let charge = Charge {
        leg: key,
        call: call.clone(),
        held: hold.amount,
        amount: cost,
        duration_secs,
        billed_secs: duration_secs,
        overrun: false,
        answered_at: None,
        ended_at: at(100),
        paid_by: Vec::new(),
    };
    let top_up = TopUp {
        id: PostingId::new(format!("top-up-{number}")).expect("id"),
        amount: Micros::parse("100000").expect("amount"),
        grant: None,
        note: "history".to_owned(),
        by: "history".to_owned(),
    };
    let posted: &[Posting] = match (refused, number < WALLETS) {
        (false, true) => {
            &[Posting::TopUpPosted(top_up), Posting::HoldPlaced(Box::new(hold)), Posting::CallCharged(charge)]
        }
        (false, false) => &[Posting::HoldPlaced(Box::new(hold)), Posting::CallCharged(charge)],
        (true, true) => &[Posting::TopUpPosted(top_up)],
        (true, false) => &[],
    };
    events.extend(posted.iter().enumerate().map(|(index, posting)| {
        let body = WalletEvent {
            wallet: wallet.clone(),
            currency: "EUR".parse().expect("currency"),
            postings: vec![posting.clone()],
        };
        Event {
            id: EventId::of(&["wallet", call.as_str(), &index.to_string()]),
            subject: Subject::Wallet(wallet.clone()),
            about: wallet.to_string(),
            source: "billing".to_owned(),
            time: at(101),
            extra: Vec::new(),
            data: Bytes::from(text(&body)),
        }
    }));
    events
}

fn text(body: &impl Serialize) -> String {
    proto::event::json(body)
}
