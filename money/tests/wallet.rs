//! The life of a hold: commands, the fold, and admission beside it.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use money::posting::{Change, TopUp};
use money::wallet::{LEG_MEMORY, LegState};
use money::{
    Account, Admission, Applied, Currency, DeckRef, Edit, Ended, Hold, HoldReply, Limit, LimitsEdit, Micros, Posting,
    PostingId, Refused, Wallet, WalletEvent, WalletStatus, change, cost, entries, expire, place, settle, top_up,
};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use proto::{AppName, CallId, DecisionKey, Kind, Leg, WalletId};

const EVENT: &str = include_str!("../fixtures/events/wallet.v1.json");
const PERIODS: &str = include_str!("../fixtures/events/wallet.v1.periods.json");

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + secs).unwrap()
}

fn micros(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn leg(n: usize) -> Leg {
    DecisionKey::of(&AppName::new("app").unwrap(), &CallId::new(n.to_string()).unwrap(), Kind::Ice, "", b"")
}

/// One unit a minute by the second, held for `granted_secs`.
fn hold(n: usize, granted_secs: u32) -> Hold {
    let price = r#"{ "currency": "EUR", "connect_fee": "0", "rounding": "up4",
        "tiers": [{ "start_secs": 0, "rate": "0.6", "unit_secs": 60, "increment_secs": 1 }] }"#;
    let price = serde_json::from_str(price).unwrap();
    Hold {
        leg: leg(n),
        call: CallId::new(n.to_string()).unwrap(),
        wallet: WalletId::new("acme").unwrap(),
        amount: cost(&price, granted_secs, at(0)).unwrap().amount,
        granted_secs,
        price,
        deck: DeckRef { name: "retail".to_owned(), version: "0".repeat(16) },
        prefix: "44".to_owned(),
        placed_at: at(0),
        expires_at: at(i64::from(granted_secs) + 180),
        in_place_of: None,
    }
}

fn ended(duration_secs: u32) -> Ended {
    Ended { answered: duration_secs > 0, duration_secs, answered_at: at(400), at: at(500) }
}

fn topped_up(id: &str, amount: &str) -> TopUp {
    TopUp {
        id: PostingId::new(id).unwrap(),
        amount: micros(amount),
        grant: None,
        note: String::new(),
        by: "test".to_owned(),
    }
}

fn event(postings: Vec<Posting>) -> WalletEvent {
    WalletEvent { wallet: WalletId::new("acme").unwrap(), currency: eur(), postings }
}

/// A wallet with its writer: what billing does, without its surroundings.
#[derive(Default)]
struct Book {
    wallet: Wallet,
    log: Vec<WalletEvent>,
    /// Ends that came before their hold.
    waiting: BTreeMap<Leg, Ended>,
}

impl Book {
    fn with(amount: &str) -> Self {
        let mut book = Self::default();
        book.append(top_up(&book.wallet, eur(), topped_up("first", amount)).unwrap());
        book
    }

    fn append(&mut self, posting: Option<Posting>) -> bool {
        let Some(posting) = posting else { return false };
        self.log.push(event(vec![posting]));
        self.wallet.apply(self.log.len() as u64, at(self.log.len() as i64), self.log.last().unwrap());
        true
    }

    fn placed(&mut self, hold: &Hold) {
        self.append(place(&self.wallet, hold).unwrap());
        if let Some(ended) = self.waiting.remove(&hold.leg) {
            self.append(settle(&self.wallet, &hold.leg, ended).unwrap());
        }
    }

    fn ended(&mut self, leg: &Leg, ended: Ended) {
        if self.wallet.leg(leg) == LegState::Unknown {
            self.waiting.insert(leg.clone(), ended);
        }
        self.append(settle(&self.wallet, leg, ended).unwrap());
    }

    fn balance(&self) -> (String, String) {
        let facts = self.wallet.facts();
        (facts.posted.to_string(), facts.held.to_string())
    }
}

#[test]
fn every_term_a_price_has_gained_is_read_and_written_for_ever() {
    let event: WalletEvent = serde_json::from_str(PERIODS).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), serde_json::from_str::<serde_json::Value>(PERIODS).unwrap());
    let [Posting::HoldPlaced(hold), Posting::CallCharged(charge)] = event.postings.as_slice() else { panic!() };
    let again = cost(&hold.price, charge.duration_secs, charge.answered_at.unwrap()).unwrap();
    assert_eq!((again.amount, again.billed_secs), (charge.amount, charge.billed_secs), "anybody can rate it again");
}

#[test]
fn a_call_is_charged_by_the_period_of_its_answer() {
    let price = r#"{ "currency": "EUR", "connect_fee": "0", "rounding": "up4",
        "tiers": [{ "start_secs": 0, "rate": "0.6", "unit_secs": 60, "increment_secs": 60 }],
        "periods": [{ "from": "18:00:00", "connect_fee": "0.1",
            "tiers": [{ "start_secs": 0, "rate": "1.2", "unit_secs": 60, "increment_secs": 60 }] }] }"#;
    let (price, end): (money::Price, Timestamp) =
        (serde_json::from_str(price).unwrap(), "2026-01-02T18:01:30Z".parse().unwrap());
    for (answered_at, amount) in [("2026-01-02T17:59:59Z", "1.8"), ("2026-01-02T18:00:00Z", "2.5")] {
        let mut book = Book::with("10");
        let hold = Hold { price: price.clone(), amount: micros("2.5"), ..hold(1, 120) };
        book.placed(&hold);
        let answered_at = answered_at.parse().unwrap();
        book.ended(&hold.leg, Ended { answered: true, duration_secs: 90, answered_at, at: end });
        let Some(Posting::CallCharged(charge)) = book.log.last().map(|event| &event.postings[0]) else { panic!() };
        assert_eq!((charge.amount, charge.overrun, charge.answered_at), (micros(amount), false, Some(answered_at)));
    }
}

fn balance(posted: &str, held: &str) -> (String, String) {
    (posted.to_owned(), held.to_owned())
}

#[test]
fn the_shapes_of_version_1_are_read_and_written_for_ever() {
    let event: WalletEvent = serde_json::from_str(EVENT).unwrap();
    let value: serde_json::Value = serde_json::from_str(EVENT).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), value);
    let mut wallet = Wallet::default();
    wallet.apply(7, at(0), &event);
    assert_eq!((wallet.facts().posted, wallet.available(), wallet.last_seq()), (micros("48.298"), micros("58.798"), 7));
}

#[test]
fn a_leg_is_charged_by_the_rows_of_its_hold() {
    for (duration_secs, expected, overrun) in [(60, "9.4", false), (90, "9.1", true), (1, "9.99", false)] {
        let mut book = Book::with("10");
        book.placed(&hold(1, 60));
        assert_eq!(book.balance(), balance("10", "0.6"));
        let posting = settle(&book.wallet, &leg(1), ended(duration_secs)).unwrap();
        let Some(Posting::CallCharged(charge)) = &posting else { unreachable!("answered") };
        assert_eq!((charge.overrun, charge.billed_secs, charge.held), (overrun, duration_secs, micros("0.6")));
        book.append(posting);
        assert_eq!(book.balance(), balance(expected, "0"));
        assert_eq!(settle(&book.wallet, &leg(1), ended(3)), Ok(None), "a second end");
        assert_eq!(place(&book.wallet, &hold(1, 60)), Ok(None), "the decision again");
        assert_eq!(expire(&book.wallet, &leg(1), None), Ok(None));
    }
}

#[test]
fn an_unanswered_leg_is_released() {
    for end in [ended(0), Ended { answered: true, ..ended(0) }, Ended { answered: false, ..ended(9) }] {
        let mut book = Book::with("10");
        book.placed(&hold(1, 60));
        book.ended(&leg(1), end);
        assert!(matches!(book.log[2].postings[0], Posting::HoldReleased(_)));
        assert_eq!(book.balance(), balance("10", "0"));
    }
}

#[test]
fn a_lost_end_keeps_an_estimate_only_of_an_answered_call() {
    for (answered_at, posted) in [(Some(at(9)), "9.4"), (None, "10")] {
        let mut book = Book::with("10");
        book.placed(&hold(1, 60));
        assert!(book.append(expire(&book.wallet, &leg(1), answered_at).unwrap()));
        assert_eq!(book.balance(), balance(posted, "0"));
        assert_eq!(settle(&book.wallet, &leg(1), ended(30)), Ok(None), "closed: a correction is not a charge");
    }
}

#[test]
fn a_recorded_decision_posts_its_hold_even_when_it_overdraws() {
    let mut book = Book::with("0.5");
    book.placed(&hold(1, 60));
    assert_eq!(book.wallet.available(), micros("-0.1"));
}

#[test]
fn of_two_grants_of_a_leg_the_larger_is_held_and_one_is_charged() {
    for grants in [[60, 90, 60], [90, 60, 90]] {
        let mut book = Book::with("1");
        grants.iter().for_each(|secs| book.placed(&hold(1, *secs)));
        assert_eq!(book.balance(), balance("1", "0.9"));
        check_entries(&book).unwrap();
        book.ended(&leg(1), ended(80));
        book.placed(&hold(1, 120));
        assert_eq!(book.balance(), balance("0.2", "0"), "the leg is closed");
        let mut folded = Wallet::default();
        book.log.iter().zip(1..).for_each(|(event, seq)| folded.apply(seq, at(0), event));
        assert_eq!(folded.facts(), book.wallet.facts());
    }
}

#[test]
fn what_is_refused() {
    let book = Book::with("10");
    let usd: Currency = "USD".parse().unwrap();
    let other = Refused::Currency { wallet: eur(), asked: usd };
    assert_eq!(top_up(&book.wallet, usd, topped_up("second", "1")), Err(other));
    assert_eq!(top_up(&book.wallet, eur(), topped_up("first", "10")), Ok(None));
    let taken = Refused::IdTaken { id: PostingId::new("first").unwrap(), posted: micros("10"), asked: micros("11") };
    assert_eq!(top_up(&book.wallet, eur(), topped_up("first", "11")), Err(taken));
    for amount in ["0", "-1"] {
        assert_eq!(top_up(&book.wallet, eur(), topped_up("x", amount)), Err(Refused::Amount(micros(amount))));
    }
    let largest = topped_up("x", "9007199254.740991");
    assert!(matches!(top_up(&book.wallet, eur(), largest), Err(Refused::Overflow(_))));
    let limit = |amount| Change { credit_limit: Some(micros(amount)), ..Change::default() };
    assert_eq!(change(&book.wallet, eur(), limit("-1")), Err(Refused::Limit(micros("-1"))));
    let spend = LimitsEdit { spend_day_max: Edit::Set(micros("-2")), ..LimitsEdit::default() };
    let spend = Change { limits: Some(spend), ..Change::default() };
    assert_eq!(change(&book.wallet, eur(), spend), Err(Refused::Limit(micros("-2"))));
    assert!(matches!(change(&book.wallet, eur(), limit("9007199254")), Err(Refused::Overflow(_))));
    assert_eq!(change(&book.wallet, eur(), limit("0")), Ok(None));
    let negative = Hold { amount: micros("-1"), ..hold(1, 1) };
    assert_eq!(place(&book.wallet, &negative), Err(Refused::Amount(micros("-1"))));
}

#[test]
fn a_leg_that_may_be_forgotten_is_not_charged_again() {
    let mut book = Book::with("10");
    book.placed(&hold(1, 60));
    book.ended(&leg(1), ended(60));
    let later = at(10) + LEG_MEMORY + SignedDuration::from_secs(1);
    let posting = top_up(&book.wallet, eur(), topped_up("second", "1")).unwrap().unwrap();
    book.wallet.apply(4, later, &event(vec![posting]));
    assert_eq!(book.wallet.leg(&leg(1)), LegState::Unknown);
    assert_eq!(place(&book.wallet, &hold(1, 60)), Err(Refused::Late(at(0))));
    book.wallet.apply(5, later, &event(vec![Posting::HoldPlaced(Box::new(hold(1, 60)))]));
    assert_eq!(book.balance(), balance("10.4", "0"));
}

#[test]
fn a_decision_posted_late_is_taken_as_it_was_decided() {
    let mut book = Book::with("10");
    let posting = place(&book.wallet, &hold(1, 60)).unwrap().unwrap();
    book.wallet.apply(2, at(0) + LEG_MEMORY + SignedDuration::from_secs(60), &event(vec![posting]));
    assert_eq!(book.balance(), balance("10", "0.6"));
}

#[test]
fn the_fold_counts_what_cannot_be() {
    let mut book = Book::with("10");
    let foreign =
        WalletEvent { currency: "USD".parse().unwrap(), ..event(vec![Posting::TopUpPosted(topped_up("x", "1"))]) };
    book.wallet.apply(2, at(2), &foreign);
    book.wallet.apply(3, at(3), &event(vec![Posting::TopUpPosted(topped_up("y", "9007199254.740991"))]));
    assert_eq!((book.balance(), book.wallet.impossible(), book.wallet.last_seq()), (balance("10", "0"), 2, 3));
}

#[test]
fn a_batch_may_be_taken_before_it_is_in_the_log() {
    let mut wallet = Wallet::default();
    let mut postings = Vec::new();
    postings.extend(top_up(&wallet, eur(), topped_up("first", "10")).unwrap());
    assert!(wallet.post(at(1), eur(), &postings[0]));
    postings.extend(place(&wallet, &hold(1, 60)).unwrap());
    assert!(wallet.post(at(1), eur(), &postings[1]));
    postings.extend(settle(&wallet, &leg(1), ended(30)).unwrap());
    assert!(wallet.post(at(1), eur(), &postings[2]));
    let batch = event(postings);
    wallet.apply(1, at(1), &batch);
    let mut folded = Wallet::default();
    folded.apply(1, at(1), &batch);
    assert_eq!(wallet, folded);
}

#[test]
fn admission_replies() {
    let mut book = Book::with("1");
    let mut admission = Admission::load(&book.wallet);
    let ask = |admission: &mut Admission, now, n| {
        let hold = hold(n, 60);
        admission.hold(at(now), Date::ZERO, &hold.leg, hold.amount, at(100), b"yes")
    };
    assert_eq!(ask(&mut admission, 0, 1), HoldReply::Ok);
    assert_eq!(ask(&mut admission, 0, 1), HoldReply::Dup((*b"yes").into()));
    assert_eq!(ask(&mut admission, 0, 2), HoldReply::Limited(Limit::Credit { available: micros("0.4") }));
    admission.free(&leg(1));
    assert_eq!(ask(&mut admission, 0, 2), HoldReply::Ok);
    assert_eq!(ask(&mut admission, 99, 3), HoldReply::Limited(Limit::Credit { available: micros("0.4") }));
    assert_eq!(admission.facts(at(100)).held, Micros::ZERO, "the tentative hold has expired, also for who only looks");
    assert_eq!(ask(&mut admission, 100, 3), HoldReply::Ok);

    book.placed(&hold(3, 60));
    book.ended(&leg(3), ended(30));
    let [_, placed, charged] = &book.log[..] else { unreachable!("three events") };
    assert_eq!(admission.apply(2, 3, at(3), charged), Applied::Gap { have: 1 });
    assert_eq!(admission.apply(1, 2, at(2), placed), Applied::Ok);
    admission.free(&leg(3));
    assert_eq!(admission.facts(at(3)).held, micros("0.6"), "a hold in the log is not free to go");
    assert_eq!(admission.apply(2, 3, at(3), charged), Applied::Ok);
    assert_eq!(admission.apply(2, 3, at(3), charged), Applied::Old);
    assert_eq!(admission.facts(at(3)), book.wallet.facts());
    assert_eq!(ask(&mut admission, 200, 3), HoldReply::Closed, "the leg has ended");

    let block = Change { status: Some(WalletStatus::Blocked), ..Change::default() };
    book.append(change(&book.wallet, eur(), block).unwrap());
    assert_eq!(admission.apply(3, 4, at(4), &book.log[3]), Applied::Ok);
    assert_eq!(ask(&mut admission, 200, 4), HoldReply::Limited(Limit::Status(WalletStatus::Blocked)));
}

/// Calls: what was granted and how long each lasted.
fn calls() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((1..100_u32, 0..150_u32), 1..8)
}

/// Where each of at most 40 things goes.
fn order() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(any::<u32>(), 40)
}

fn shuffle<T>(things: &mut [T], order: &[u32]) {
    let mut places = order.iter();
    things.sort_by_cached_key(|_| places.next().copied());
}

#[derive(Debug, Clone, Copy)]
enum Fact {
    Placed(usize),
    Ended(usize),
}

proptest! {
    #[test]
    fn any_order_and_number_of_facts_gives_one_ledger(calls in calls(), extra in proptest::collection::vec(any::<Index>(), 0..20), order in order()) {
        let mut facts: Vec<Fact> = (0..calls.len()).flat_map(|n| [Fact::Placed(n), Fact::Ended(n)]).collect();
        let again: Vec<Fact> = extra.iter().map(|index| facts[index.index(facts.len())]).collect();
        facts.extend(again);
        shuffle(&mut facts, &order);
        let mut book = Book::with("100");
        for fact in facts {
            match fact {
                Fact::Placed(n) => book.placed(&hold(n, calls[n].0)),
                Fact::Ended(n) => book.ended(&leg(n), ended(calls[n].1)),
            }
        }
        let charged: i64 = calls.iter().map(|(_, secs)| cost(&hold(0, 1).price, *secs, at(0)).unwrap().amount.get()).sum();
        prop_assert_eq!(book.wallet.facts().posted.get(), 100_000_000 - charged);
        prop_assert_eq!(book.wallet.facts().held, Micros::ZERO);
        prop_assert_eq!(book.wallet.closed().count(), calls.len());
        prop_assert_eq!(book.log.len(), 1 + 2 * calls.len(), "each leg is placed once and closed once");
        check_entries(&book)?;
    }

    #[test]
    fn postings_in_any_order_and_number_give_one_ledger(calls in calls(), picks in subsequence((0..20).collect::<Vec<usize>>(), 0..20), order in order()) {
        let mut book = Book::with("100");
        for (n, (granted, secs)) in calls.iter().enumerate() {
            book.placed(&hold(n, *granted));
            book.ended(&leg(n), ended(*secs));
        }
        let mut postings: Vec<Posting> = book.log.iter().flat_map(|event| event.postings.clone()).collect();
        let again: Vec<Posting> = picks.iter().filter_map(|pick| postings.get(*pick).cloned()).collect();
        postings.extend(again);
        shuffle(&mut postings, &order);
        let mut wallet = Wallet::default();
        for posting in &postings {
            wallet.post(at(1), eur(), posting);
        }
        prop_assert_eq!(wallet.facts(), book.wallet.facts());
    }

    #[test]
    fn applying_a_history_again_changes_nothing(calls in calls(), from in any::<Index>()) {
        let mut book = Book::with("100");
        for (n, (granted, secs)) in calls.iter().enumerate() {
            book.placed(&hold(n, *granted));
            if n % 2 == 0 {
                book.ended(&leg(n), ended(*secs));
            }
        }
        let before = book.wallet.clone();
        for (index, event) in book.log.iter().enumerate().skip(from.index(book.log.len())) {
            book.wallet.apply(index as u64 + 1, at(99), event);
        }
        prop_assert_eq!(&book.wallet, &before);
        let held: i64 = before.holds().map(|hold| hold.amount.get()).sum();
        prop_assert_eq!(before.facts().held.get(), held);
        check_entries(&book)?;
    }

    /// Asks, decisions and ends at random: nothing is admitted that is not there, and what admission knows is the fold
    /// and its tentative holds.
    #[test]
    fn admission_never_admits_what_it_cannot_cover(steps in proptest::collection::vec((0..4_u8, 0..12_usize, 1..400_u32), 1..60)) {
        let mut book = Book::with("5");
        let mut admission = Admission::load(&book.wallet);
        let mut asked: BTreeMap<usize, Hold> = BTreeMap::new();
        for (now, (step, n, secs)) in (0..).zip(steps) {
            match step {
                0 | 1 => {
                    let available = admission.facts(at(now)).available;
                    let hold = hold(n, secs);
                    if admission.hold(at(now), Date::ZERO, &hold.leg, hold.amount, at(10_000), b"") == HoldReply::Ok {
                        prop_assert!(hold.amount <= available);
                        asked.insert(n, hold);
                    }
                }
                2 => if let Some(hold) = asked.remove(&n) { book.placed(&hold) },
                _ => book.ended(&leg(n), ended(secs)),
            }
            for (index, event) in book.log.iter().enumerate() {
                admission.apply(index as u64, index as u64 + 1, at(now), event);
            }
            let tentative: i64 = asked.values().map(|hold| hold.amount.get()).sum();
            let (facts, wallet) = (admission.facts(at(now)), book.wallet.facts());
            prop_assert_eq!(facts.held.get(), wallet.held.get() + tentative);
            prop_assert_eq!((facts.posted, facts.status), (wallet.posted, wallet.status));
            prop_assert_eq!(admission.firm(), wallet);
        }
        for hold in asked.values() {
            admission.free(&hold.leg);
        }
        prop_assert_eq!(admission.facts(at(60)), Admission::load(&book.wallet).facts(at(60)));
    }
}

/// Every group sums to zero, and the accounts add up to what the wallet says.
fn check_entries(book: &Book) -> Result<(), TestCaseError> {
    let mut accounts: BTreeMap<Account, i64> = BTreeMap::new();
    for posting in book.log.iter().flat_map(|event| &event.postings) {
        let group = entries(posting);
        prop_assert_eq!(group.iter().map(|(_, amount)| amount.get()).sum::<i64>(), 0);
        for (account, amount) in group {
            *accounts.entry(account).or_default() += amount.get();
        }
    }
    let of = |account| accounts.get(&account).copied().unwrap_or_default();
    let facts = book.wallet.facts();
    prop_assert_eq!(of(Account::Held), facts.held.get());
    prop_assert_eq!(of(Account::Free) + of(Account::Held), facts.posted.get());
    prop_assert_eq!(of(Account::Funding) + of(Account::Revenue) + facts.posted.get(), 0);
    Ok(())
}
