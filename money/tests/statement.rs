//! Statements: every posting with its cause, and balances that follow from them.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::Timestamp;
use money::posting::TopUp;
use money::statement::entry;
use money::{
    Charged, DeckRef, Ended, GrantKind, GrantTerms, Hold, Micros, Posting, PostingId, Wallet, WalletEvent, command,
    cost, statement,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proto::{AppName, CallId, DecisionKey, Kind, WalletId};

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

/// What a writer does: the commands, one after another, each on what the ones before it left.
fn posted(steps: &[(u8, u8, u16)]) -> Vec<Posting> {
    let (mut wallet, mut postings): (Wallet, Vec<Posting>) = (Wallet::default(), Vec::new());
    let eur = "EUR".parse().unwrap();
    for (number, (step, which, size)) in steps.iter().enumerate() {
        let id = |name: &str| PostingId::new(format!("{name}-{which}")).unwrap();
        let (note, by) = (String::new(), "test".to_owned());
        let amount = Micros::new(i64::from(*size) + 1).unwrap();
        let hold = hold(*which, *size);
        let charged = postings.iter().filter_map(Charged::of).find(|charged| charged.leg == hold.leg);
        let ended = |secs| Ended { answered: secs > 0, duration_secs: secs, answered_at: at(400), at: at(500) };
        let decided = match (step % 8, charged) {
            (0, _) => command::top_up(&wallet, eur, TopUp { id: id("top-up"), amount, grant: None, note, by }),
            (1, _) => {
                let terms = GrantTerms { kind: GrantKind::Granted, priority: 10, expires_at: Some(at(600)) };
                command::top_up(&wallet, eur, TopUp { id: id("grant"), amount, grant: Some(terms), note, by })
            }
            (2, _) => command::place(&wallet, &hold),
            (3, _) => command::settle(&wallet, &hold.leg, ended(u32::from(*size % 90))),
            (4, _) => command::expire(&wallet, &hold.leg, Some(at(450))),
            (5, Some(charged)) => command::refund(&wallet, &charged, id("refund"), Some(amount), note, by),
            (6, Some(charged)) => command::correct(&wallet, &charged, id("correction"), amount, note, by),
            (_, _) => command::expire_grant(&wallet, &id("grant"), at(700)),
        };
        // What the wallet refuses is not posted.
        let Ok(Some(posting)) = decided else { continue };
        wallet.post(at(number as i64), eur, &posting);
        postings.push(posting);
    }
    postings
}

/// A hold of up to 90 s at a hundredth a second.
fn hold(which: u8, size: u16) -> Hold {
    let price = r#"{ "currency": "EUR", "connect_fee": "0.003", "rounding": "up4",
        "tiers": [{ "start_secs": 0, "rate": "0.6", "unit_secs": 60, "increment_secs": 7 }] }"#;
    let price = serde_json::from_str(price).unwrap();
    let call = CallId::new(which.to_string()).unwrap();
    let granted_secs = u32::from(size % 90) + 1;
    Hold {
        in_place_of: None,
        leg: DecisionKey::of(&AppName::new("app").unwrap(), &call, Kind::Ice, "", b""),
        call,
        wallet: WalletId::new("acme").unwrap(),
        amount: cost(&price, granted_secs, at(0)).unwrap().amount,
        granted_secs,
        price,
        deck: DeckRef { name: "retail".to_owned(), version: "0".repeat(16) },
        prefix: "44".to_owned(),
        placed_at: at(0),
        expires_at: at(1),
    }
}

proptest! {
    /// Every micro-unit is told, once: rows add up to each balance beside them, whatever happened, however often.
    #[test]
    fn entries_add_up_to_the_balance(
        steps in prop::collection::vec((any::<u8>(), 0_u8..6, any::<u16>()), 1..80),
        again in prop::collection::vec((any::<Index>(), any::<Index>()), 0..20),
    ) {
        let mut postings = posted(&steps);
        for (from, to) in again.iter().filter(|_| !postings.is_empty()).collect::<Vec<_>>() {
            let posting = from.get(&postings).clone();
            // A posting comes again after itself, never before.
            let first = postings.iter().position(|known| *known == posting).unwrap();
            let to = first + 1 + to.index(postings.len() - first);
            postings.insert(to, posting);
        }
        let (mut wallet, mut told, mut sum) = (Wallet::default(), Wallet::default(), 0);
        for (number, posting) in postings.iter().enumerate() {
            let (seq, time, currency) = (number as u64 + 1, at(number as i64), "EUR".parse().unwrap());
            let line = entry(&mut told, seq, time, currency, posting).unwrap();
            wallet.post(time, currency, posting);
            sum += line.amount.get();
            prop_assert_eq!((line.balance.get(), line.held), (sum, told.facts().held));
            let paid: i64 = line.grants.iter().map(|share| share.amount.get()).sum();
            prop_assert!(line.amount == Micros::ZERO || paid.abs() <= line.amount.get().abs(), "{:?}", line);
        }
        prop_assert_eq!(told, wallet);
    }
}
