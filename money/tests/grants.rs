//! Grants: in which order they are spent, what becomes of them when they expire, and how refunds find back to them.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use money::posting::TopUp;
use money::{
    Account, Admission, Charged, Currency, DeckRef, Ended, GrantKind, GrantTerms, Hold, HoldReply, Micros, Posting,
    PostingId, Price, Refused, Share, Wallet, WalletEvent, correct, entries, expire_grant, place, refund, settle,
    top_up,
};
use proptest::prelude::*;
use proto::{CallId, EventId, Leg, WalletId};

const EVENT: &str = include_str!("../fixtures/events/wallet.v1.grants.json");
const REFUNDS: &str = include_str!("../fixtures/events/wallet.v1.refunds.json");

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + secs).unwrap()
}

fn micros(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn id(name: &str) -> PostingId {
    PostingId::new(name).unwrap()
}

fn leg(name: &str) -> Leg {
    Leg::try_from(String::from(EventId::of(&[name]))).unwrap()
}

fn money(name: &str, amount: &str, grant: Option<GrantTerms>) -> TopUp {
    TopUp { id: id(name), amount: micros(amount), grant, note: String::new(), by: "test".to_owned() }
}

fn terms(kind: GrantKind, priority: u16, expires_secs: Option<i64>) -> Option<GrantTerms> {
    Some(GrantTerms { kind, priority, expires_at: expires_secs.map(at) })
}

/// One EUR a second.
fn price() -> Price {
    let price = r#"{ "currency": "EUR", "connect_fee": "0", "rounding": "up4",
        "tiers": [{ "start_secs": 0, "rate": "1", "unit_secs": 1, "increment_secs": 1 }] }"#;
    serde_json::from_str(price).unwrap()
}

/// A wallet with its history, and admission told of all of it.
struct Book {
    wallet: Wallet,
    admission: Admission,
    log: Vec<WalletEvent>,
}

impl Book {
    fn new(money: &[TopUp]) -> Self {
        let wallet = Wallet::default();
        let mut book = Self { admission: Admission::load(&wallet), wallet, log: Vec::new() };
        for money in money {
            book.append(0, top_up(&book.wallet, eur(), money.clone()).unwrap());
        }
        book
    }

    fn append(&mut self, secs: i64, posting: Option<Posting>) -> Option<Posting> {
        let event =
            WalletEvent { wallet: WalletId::new("acme").unwrap(), currency: eur(), postings: vec![posting.clone()?] };
        let seq = self.log.len() as u64;
        self.wallet.apply(seq + 1, at(secs), &event);
        self.admission.apply(seq, seq + 1, at(secs), &event);
        self.log.push(event);
        posting
    }

    fn hold(&mut self, secs: i64, name: &str, amount: u32) {
        let hold = Hold {
            leg: leg(name),
            call: CallId::new(name).unwrap(),
            wallet: WalletId::new("acme").unwrap(),
            amount: micros(&amount.to_string()),
            granted_secs: amount,
            price: price(),
            deck: DeckRef { name: "retail".to_owned(), version: "1".to_owned() },
            prefix: "44".to_owned(),
            placed_at: at(secs),
            expires_at: at(secs) + SignedDuration::from_secs(600),
            in_place_of: None,
        };
        self.append(secs, place(&self.wallet, &hold).unwrap());
    }

    /// Who paid how much; the rest is the wallet's own.
    fn charge(&mut self, secs: i64, name: &str, duration_secs: u32) -> Vec<(String, String)> {
        let ended = Ended { answered: true, duration_secs, answered_at: at(secs), at: at(secs) };
        match self.append(secs, settle(&self.wallet, &leg(name), ended).unwrap()) {
            Some(Posting::CallCharged(charge)) => {
                charge.paid_by.iter().map(|share| (share.grant.as_str().to_owned(), share.amount.to_string())).collect()
            }
            _ => Vec::new(),
        }
    }

    fn expire(&mut self, secs: i64, name: &str) -> Option<String> {
        let expired = self.append(secs, expire_grant(&self.wallet, &id(name), at(secs)).unwrap())?;
        let Posting::GrantExpired(expiry) = expired else { return None };
        Some(expiry.amount.to_string())
    }

    fn charged(&self, name: &str) -> Option<Charged> {
        let postings = self.log.iter().flat_map(|event| &event.postings);
        postings.filter_map(Charged::of).find(|charged| charged.leg == leg(name))
    }

    /// What went back to grants; the rest is the wallet's own.
    fn refund(&mut self, name: &str, id: &str, amount: Option<&str>) -> Result<Option<Vec<Share>>, Refused> {
        let (charged, note, by) = (self.charged(name).unwrap(), String::new(), "test".to_owned());
        let refund = refund(&self.wallet, &charged, PostingId::new(id).unwrap(), amount.map(micros), note, by)?;
        Ok(match self.append(900, refund) {
            Some(Posting::RefundPosted(refund)) => Some(refund.returned_to),
            _ => None,
        })
    }

    fn correct(&mut self, name: &str, id: &str, to: &str) -> Result<bool, Refused> {
        let (charged, note, by) = (self.charged(name).unwrap(), String::new(), "test".to_owned());
        let correction = correct(&self.wallet, &charged, PostingId::new(id).unwrap(), micros(to), note, by)?;
        Ok(self.append(900, correction).is_some())
    }

    /// What the fold says is available, and admission says the same.
    fn available(&mut self, secs: i64) -> String {
        let facts = self.wallet.facts_at(at(secs));
        assert_eq!(self.admission.facts(at(secs)), facts);
        facts.available.to_string()
    }
}

#[test]
fn the_shapes_of_version_1_are_read_and_written_for_ever() {
    let event: WalletEvent = serde_json::from_str(EVENT).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), serde_json::from_str::<serde_json::Value>(EVENT).unwrap());
    let mut wallet = Wallet::default();
    wallet.apply(1, at(0), &event);
    assert_eq!(wallet.facts().posted, micros("19.6"));
    let left: Vec<_> = wallet.grants().map(|lot| (lot.grant, lot.left)).collect();
    assert_eq!(left, [(id("pack"), micros("19.6"))]);
}

#[test]
fn grants_are_spent_by_priority_then_expiry_then_kind_then_age() {
    use GrantKind::{Granted, Paid};
    let mut book = Book::new(&[
        money("own", "1", None),
        money("last", "1", terms(Granted, 101, Some(1))),
        money("old", "1", terms(Granted, 50, Some(900))),
        money("paid", "1", terms(Paid, 50, Some(900))),
        money("young", "1", terms(Granted, 50, Some(900))),
        money("soon", "1", terms(Paid, 50, Some(800))),
        money("first", "1", terms(Paid, 1, None)),
    ]);
    book.hold(0, "call", 8);
    let order: Vec<String> = book.charge(0, "call", 8).into_iter().map(|(grant, _)| grant).collect();
    assert_eq!(order, ["first", "soon", "old", "young", "paid", "last"]);
    assert_eq!(book.wallet.facts().posted, micros("-1"), "what nothing covers is the wallet's own");
    assert_eq!(book.wallet.grants().count(), 0);
}

#[test]
fn the_wallets_own_money_has_its_turn_and_a_grant_never_pays_a_debt_twice() {
    let mut book = Book::new(&[money("own", "3", None), money("late", "5", terms(GrantKind::Granted, 200, None))]);
    book.hold(0, "a", 4);
    assert_eq!(book.charge(0, "a", 4), [("late".to_owned(), "1".to_owned())]);
    book.hold(0, "b", 4);
    assert_eq!(book.charge(0, "b", 6), [("late".to_owned(), "4".to_owned())]);
    assert_eq!(book.available(0), "-2");
    book.append(0, top_up(&book.wallet, eur(), money("more", "10", terms(GrantKind::Paid, 1, None))).unwrap());
    book.hold(0, "c", 2);
    assert_eq!(book.charge(0, "c", 2), [("more".to_owned(), "2".to_owned())]);
    assert_eq!(book.available(0), "6");
}

#[test]
fn expired_credit_is_not_available_even_before_it_is_posted() {
    let mut book = Book::new(&[money("own", "3", None), money("gift", "5", terms(GrantKind::Granted, 1, Some(100)))]);
    assert_eq!((book.available(99), book.available(100)), ("8".to_owned(), "3".to_owned()));
    let ask = |book: &mut Book, secs, name, amount| {
        book.admission.hold(at(secs), Date::ZERO, &leg(name), micros(amount), at(9_000), b"")
    };
    assert_ne!(ask(&mut book, 100, "a", "4"), HoldReply::Ok);
    assert_eq!(ask(&mut book, 99, "a", "4"), HoldReply::Ok);
    book.admission.free(&leg("a"));
    assert_eq!(book.expire(99, "gift"), None);
    assert_eq!(book.expire(100, "gift").as_deref(), Some("5"));
    assert_eq!(book.expire(101, "gift"), None);
    assert_eq!((book.available(100), book.wallet.facts().posted), ("3".to_owned(), micros("3")));
}

#[test]
fn a_hold_stays_covered_when_the_grant_under_it_expires() {
    let mut book = Book::new(&[money("own", "1", None), money("gift", "5", terms(GrantKind::Granted, 1, Some(100)))]);
    book.hold(0, "call", 4);
    assert_eq!((book.available(99), book.available(100)), ("2".to_owned(), "0".to_owned()));
    assert_eq!(book.expire(100, "gift").as_deref(), Some("1"), "what the call cannot spend");
    assert_eq!((book.available(100), book.expire(101, "gift")), ("0".to_owned(), None));
    assert_eq!(book.charge(200, "call", 1), [("gift".to_owned(), "1".to_owned())]);
    assert_eq!(book.available(200), "1");
    assert_eq!(book.expire(201, "gift").as_deref(), Some("3"), "the rest, once the call has ended");
    assert_eq!((book.available(201), book.wallet.facts().posted), ("1".to_owned(), micros("1")));
}

#[test]
fn a_call_spends_the_grants_there_were_when_its_hold_was_placed() {
    let mut book = Book::new(&[money("own", "9", None), money("gift", "5", terms(GrantKind::Granted, 1, Some(100)))]);
    book.hold(99, "before", 2);
    book.hold(100, "after", 2);
    assert_eq!(book.charge(101, "after", 2), [], "it began when the grant was over, whether that is posted or not");
    assert_eq!(book.expire(101, "gift").as_deref(), Some("3"));
    assert_eq!(book.charge(102, "before", 2), [("gift".to_owned(), "2".to_owned())]);
    assert_eq!((book.available(103), book.expire(103, "gift")), ("7".to_owned(), None));
}

#[test]
fn the_same_id_is_the_same_grant() {
    let gift = money("gift", "5", terms(GrantKind::Granted, 1, Some(100)));
    let book = Book::new(std::slice::from_ref(&gift));
    assert_eq!(top_up(&book.wallet, eur(), gift), Ok(None));
    for other in [money("gift", "5", None), money("gift", "5", terms(GrantKind::Granted, 2, Some(100)))] {
        assert!(matches!(top_up(&book.wallet, eur(), other), Err(Refused::IdTaken { .. })));
    }
    let many: Vec<_> =
        (0..money::lots::GRANTS_MAX).map(|n| money(&n.to_string(), "1", terms(GrantKind::Granted, 1, None))).collect();
    let book = Book::new(&many);
    let one_more = money("more", "1", terms(GrantKind::Granted, 1, None));
    assert_eq!(top_up(&book.wallet, eur(), one_more), Err(Refused::Grants));
    assert!(top_up(&book.wallet, eur(), money("more", "1", None)).unwrap().is_some());
}

#[test]
fn the_shapes_of_refunds_are_read_and_written_for_ever() {
    let event: WalletEvent = serde_json::from_str(REFUNDS).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), serde_json::from_str::<serde_json::Value>(REFUNDS).unwrap());
    let mut wallet = Wallet::default();
    wallet.apply(1, at(0), &serde_json::from_str(EVENT).unwrap());
    wallet.apply(2, at(0), &event);
    assert_eq!(wallet.facts().posted, micros("22.1"));
    wallet.apply(3, at(0), &event);
    assert_eq!(wallet.facts().posted, micros("22.1"), "each id once");
}

#[test]
fn a_refund_goes_back_to_who_paid_and_never_above_the_charge() {
    let share = |grant: &str, amount: &str, expires: Option<i64>| Share {
        grant: id(grant),
        amount: micros(amount),
        expires_at: expires.map(at),
    };
    let mut book = Book::new(&[
        money("own", "1", None),
        money("gift", "2", terms(GrantKind::Granted, 1, Some(5_000))),
        money("pack", "3", terms(GrantKind::Paid, 2, None)),
    ]);
    book.hold(0, "call", 6);
    book.charge(0, "call", 6);
    assert_eq!(book.refund("call", "r1", Some("2")), Ok(Some(vec![share("pack", "1", None)])), "its own money first");
    assert_eq!(book.refund("call", "r1", Some("2")), Ok(None), "again");
    assert_eq!(book.refund("call", "r1", None), Ok(None), "again");
    assert_eq!(book.refund("call", "r1", Some("3")), Err(Refused::AnotherId(id("r1"))));
    assert_eq!(book.refund("call", "gift", Some("1")), Err(Refused::AnotherId(id("gift"))));
    assert!(matches!(top_up(&book.wallet, eur(), money("r1", "1", None)), Err(Refused::AnotherId(_))));
    let above = Refused::AboveCharge { asked: micros("4.1"), left: micros("4") };
    assert_eq!(book.refund("call", "r2", Some("4.1")), Err(above));
    assert_eq!(book.refund("call", "r2", Some("0")), Err(Refused::Amount(Micros::ZERO)));
    let rest = vec![share("pack", "2", None), share("gift", "2", Some(5_000))];
    assert_eq!(book.refund("call", "r2", None), Ok(Some(rest)));
    assert!(matches!(book.refund("call", "r3", None), Err(Refused::AboveCharge { .. })));
    assert_eq!((book.available(900), book.available(5_000)), ("6".to_owned(), "4".to_owned()));
    assert_eq!(book.expire(5_000, "gift").as_deref(), Some("2"), "what came back expires with it");
}

#[test]
fn what_goes_back_to_an_expired_grant_expires_again() {
    let mut book = Book::new(&[money("gift", "5", terms(GrantKind::Granted, 1, Some(100)))]);
    book.hold(0, "call", 3);
    book.charge(0, "call", 3);
    assert_eq!(book.expire(100, "gift").as_deref(), Some("2"));
    assert!(book.refund("call", "r", None).unwrap().is_some());
    assert_eq!((book.available(900), book.expire(900, "gift")), ("0".to_owned(), Some("3".to_owned())));
    assert_eq!(book.wallet.facts().posted, Micros::ZERO);
}

#[test]
fn a_charge_is_corrected_up_and_down() {
    let mut book =
        Book::new(&[money("own", "10", None), money("gift", "4", terms(GrantKind::Granted, 1, Some(5_000)))]);
    book.hold(0, "call", 3);
    book.charge(0, "call", 3);
    assert_eq!(book.correct("call", "c1", "6"), Ok(true));
    assert_eq!((book.available(900), book.wallet.grants().count()), ("8".to_owned(), 0));
    assert_eq!(book.correct("call", "c1", "6"), Ok(false), "again");
    assert_eq!(book.correct("call", "c1", "7"), Err(Refused::AnotherId(id("c1"))));
    assert_eq!(book.correct("call", "c2", "6"), Ok(false), "it is so already");
    assert!(book.refund("call", "r1", Some("1")).is_ok());
    let below = Refused::BelowRefunds { to: micros("0.5"), refunded: micros("1") };
    assert_eq!(book.correct("call", "c3", "0.5"), Err(below));
    assert_eq!(book.correct("call", "c3", "1"), Ok(true));
    let left: Vec<_> = book.wallet.grants().map(|lot| lot.left).collect();
    assert_eq!((book.available(900), left), ("14".to_owned(), vec![micros("4")]), "all is back where it was");
    assert!(matches!(book.refund("call", "r2", Some("1")), Err(Refused::AboveCharge { .. })));
}

proptest! {
    /// When the expiry of a grant is posted makes no difference to who pays for the calls that began before it.
    #[test]
    fn an_expiry_takes_nothing_from_calls_that_began_before(
        amounts in proptest::collection::vec((1..6_u32, 0..100_u32), 1..6), gift in 1..20_u32, priority in 0..3_u16,
    ) {
        let money = [money("own", "30", None), money("gift", &gift.to_string(), terms(GrantKind::Granted, priority * 60, Some(50)))];
        let mut books = [Book::new(&money), Book::new(&money)];
        for (n, (amount, _)) in amounts.iter().enumerate() {
            books.iter_mut().for_each(|book| book.hold(n as i64, &n.to_string(), *amount));
        }
        books[0].expire(50, "gift");
        for (n, (amount, part)) in amounts.iter().enumerate() {
            let [early, late] = books.each_mut().map(|book| book.charge(60, &n.to_string(), amount * part / 100));
            prop_assert_eq!(early, late);
            books[0].expire(60, "gift");
        }
        books.iter_mut().for_each(|book| drop(book.expire(70, "gift")));
        let [early, late] = books.each_mut().map(|book| (book.available(70), book.wallet.facts().posted));
        prop_assert_eq!(early, late);
    }

    /// Grants, calls and expiries at random: no grant pays more than it had, every charge is paid in full, expiry never
    /// overdraws, and admission agrees with the fold at every step.
    #[test]
    fn grants_add_up(steps in proptest::collection::vec((0..7_u8, 0..8_usize, 1..9_u32, 0..4_u16), 1..60)) {
        let mut book = Book::new(&[money("own", "5", None)]);
        for (now, (step, n, amount, priority)) in (0..).zip(steps) {
            let (name, before) = (n.to_string(), book.wallet.facts_at(at(now)));
            match step {
                0 => {
                    let expires = (amount > 2).then_some(now + i64::from(amount) * 3);
                    let kind = if n % 2 == 0 { GrantKind::Granted } else { GrantKind::Paid };
                    let grant = money(&name, &amount.to_string(), terms(kind, priority * 60, expires));
                    if let Ok(posting) = top_up(&book.wallet, eur(), grant) {
                        book.append(now, posting);
                    }
                }
                1 if before.available >= micros(&amount.to_string()) => book.hold(now, &name, amount),
                2 => { book.charge(now, &name, amount); }
                3 | 4 if book.charged(&name).is_some() => {
                    let (id, to) = (format!("{step} {now}").replace(' ', "-"), amount.to_string());
                    // Refused or posted, the sums hold.
                    let _ = match step {
                        3 => book.refund(&name, &id, Some(&to)).map(drop),
                        _ => book.correct(&name, &id, &to).map(drop),
                    };
                    let standing = book.wallet.standing(&book.charged(&name).unwrap());
                    prop_assert!(Micros::ZERO <= standing.left() && standing.refunded <= standing.charged);
                }
                _ => {
                    if book.expire(now, &name).is_some() {
                        let after = book.wallet.facts_at(at(now));
                        prop_assert_eq!(after.available, before.available, "it was not available before either");
                        prop_assert!(after.posted >= after.held);
                    }
                }
            }
            book.available(now);
            let posted: i64 = book.log.iter().flat_map(|event| &event.postings).flat_map(entries)
                .filter(|(account, _)| matches!(account, Account::Free | Account::Held)).map(|(_, amount)| amount.get()).sum();
            prop_assert_eq!(posted, book.wallet.facts().posted.get());
            prop_assert!(book.wallet.grants().all(|lot| lot.left > Micros::ZERO));
        }
        let mut folded = Wallet::default();
        for (seq, event) in (1..).zip(&book.log) {
            folded.apply(seq, at(0), event);
        }
        let rest: Vec<_> = folded.grants().collect();
        prop_assert_eq!(rest, book.wallet.grants().collect::<Vec<_>>());
    }
}
