//! Statements: every posting with its cause, and balances that follow from them.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::Timestamp;
use money::{Micros, Wallet, WalletEvent, statement};

/// The history of one wallet: every shape of posting there is, an hour apart.
fn history() -> Vec<(u64, Timestamp, WalletEvent)> {
    let bodies = [
        include_str!("../fixtures/events/wallet.v1.json"),
        include_str!("../fixtures/events/wallet.v1.periods.json"),
        include_str!("../fixtures/events/wallet.v1.limits.json"),
        include_str!("../fixtures/events/wallet.v1.grants.json"),
        include_str!("../fixtures/events/wallet.v1.refunds.json"),
    ];
    (1..).zip(bodies).map(|(seq, body)| (seq, at(seq as i64), serde_json::from_str(body).unwrap())).collect()
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * 3600).unwrap()
}

fn micros(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

#[test]
fn a_statement_is_opening_lines_and_closing() {
    let history = history();
    let events = || history.iter().map(|(seq, time, event)| (*seq, *time, event));
    let mut wallet = Wallet::default();
    events().for_each(|(seq, time, event)| wallet.apply(seq, time, event));
    let whole = statement(events(), Timestamp::MIN, Timestamp::MAX).unwrap();
    assert_eq!((whole.opening, whole.closing), (Micros::ZERO, wallet.facts().posted));
    assert_eq!(whole.lines.len(), history.iter().map(|(_, _, event)| event.postings.len()).sum::<usize>());
    let charged = whole.lines.iter().find(|line| line.what == "charged").unwrap();
    let price = charged.price.as_ref().unwrap();
    assert_eq!((charged.call.as_ref().unwrap().as_str(), price.prefix.as_str()), ("call-a", "44"));
    assert_eq!(
        (charged.amount, charged.balance, charged.billed_secs),
        (micros("-1.302"), micros("48.698"), Some(3606))
    );
    let refunded = whole.lines.iter().find(|line| line.what == "refunded").unwrap();
    assert_eq!((refunded.amount, refunded.grants[0].amount), (micros("1.5"), micros("-1")));
    assert_eq!((refunded.note.as_str(), refunded.id.as_ref().unwrap().as_str()), ("bad line", "complaint-4"));

    // However the time is cut, one statement begins where the one before it ended.
    for cut in 0..=6 {
        let first = statement(events(), Timestamp::MIN, at(cut)).unwrap();
        let second = statement(events(), at(cut), Timestamp::MAX).unwrap();
        assert_eq!((first.closing, second.closing), (second.opening, whole.closing), "cut at {cut}");
        assert_eq!([first.lines, second.lines].concat(), whole.lines);
    }
    assert_eq!(statement([], Timestamp::MIN, Timestamp::MAX).unwrap().lines, []);
}
