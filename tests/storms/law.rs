//! What must hold, checked after every call that changed something: the log read again by somebody who knows nothing of
//! the code that wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use billing::admission::Admission;
use bus::storm::Spool;
use bus::{Bus, Recorded};
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use money::posting::entries;
use money::{Hold, Micros, Posting, Wallet, WalletEvent, cost};
use proto::callback::Details;
use proto::signature::Verified;
use proto::svaml::Action;
use proto::{
    AppKey, AppName, CallId, Callback, Decided, DecisionKey, EventId, Filter, Kind, Leg, Outcome, Settled, Stream,
    Subject, Svaml, WalletId,
};
use tokio_util::sync::CancellationToken;

use crate::installation::APP;

type Lawful = Result<(), String>;

pub(crate) struct Law {
    /// Through no gate.
    bus: Bus,
    admission: Admission,
    /// What is durable, and not in the log yet.
    spools: Vec<Spool>,
    known: Mutex<Known>,
    /// Some law was broken.
    pub(crate) broken: CancellationToken,
}

/// What the log says, read by hand.
#[derive(Default)]
struct Known {
    broken: Option<String>,
    calls_seq: u64,
    wallets_seq: u64,
    ids: BTreeSet<EventId>,
    /// What was decided under each key, fallbacks left out.
    decided: BTreeMap<DecisionKey, Vec<(Outcome, bool, String)>>,
    /// Those that were answered by fallback too. Billing forgets the decision behind one of them: nobody was to claim it.
    fallen: BTreeSet<DecisionKey>,
    grants: BTreeMap<Leg, Hold>,
    /// The answers that let a call through.
    promised: Vec<(DecisionKey, Vec<u8>)>,
    calls: BTreeMap<CallId, Told>,
    books: Books,
    fold: Wallet,
    /// Posted and held after each event of the wallet.
    pages: BTreeMap<u64, (Micros, Micros)>,
    memory_lost: bool,
    /// What may be overdrawn: what calls cost beyond their holds, and what was held and not posted when admission
    /// forgot.
    exposed: Micros,
}

/// One call, as its events tell.
#[derive(Default)]
struct Told {
    known: bool,
    decided: bool,
    leg: Option<Leg>,
    answered: Option<(Timestamp, Timestamp)>,
    /// Answered, for how long, and when we and the platform say.
    end: Option<(bool, u32, Timestamp, Timestamp)>,
    cdr: Option<Settled>,
}

/// Double entry, by hand.
#[derive(Default)]
struct Books {
    posted: Micros,
    held: Micros,
    open: BTreeMap<Leg, Micros>,
    closed: BTreeMap<Leg, Closed>,
}

#[derive(Clone, Copy)]
struct Closed {
    charged: Micros,
    /// By its expiry, and when.
    expired: Option<Timestamp>,
}

impl Law {
    pub(crate) fn new(bus: Bus, admission: Admission, spools: Vec<Spool>) -> Self {
        Self { bus, admission, spools, known: Mutex::default(), broken: CancellationToken::new() }
    }

    /// Everything that can be said at any time.
    pub(crate) fn check(&self, after: &str) {
        let known = &mut *self.lock();
        let checked = self.learn(known).and_then(|()| self.admission_agrees(known));
        self.judge(known, checked, after);
    }

    /// An answer has left, with a status of 200.
    pub(crate) fn answered(&self, key: &AppKey, body: &[u8], answer: &[u8]) {
        let known = &mut *self.lock();
        let durable = |id: &EventId| self.spools.iter().any(|spool| spool.events().contains(id));
        let checked = self.learn(known).and_then(|()| known.answer_is_recorded(durable, key, body, answer));
        self.judge(known, checked, "an answer");
    }

    /// Redis is about to be lost: what is held there and nowhere else may be spent twice.
    pub(crate) fn memory_is_lost(&self) {
        let known = &mut *self.lock();
        let checked = self.learn(known);
        known.memory_lost = true;
        let unposted = known.grants.iter().filter(|(leg, _)| !known.books.has(leg));
        let unposted = unposted.fold(Micros::ZERO, |sum, (_, hold)| sum.saturating_add(hold.amount));
        let facts = at_once(self.admission.facts(Timestamp::MIN, &wallet()));
        let tentative = facts
            .as_ref()
            .ok()
            .and_then(|facts| facts.as_ref())
            .map_or(Micros::ZERO, |facts| facts.held.saturating_sub(known.books.held).max(Micros::ZERO));
        known.exposed = known.exposed.saturating_add(unposted).saturating_add(tentative);
        self.judge(known, checked.and(facts.map(drop)), "a loss of memory");
    }

    /// Everything that can be said once nothing more is due.
    pub(crate) async fn settled(&self) -> Lawful {
        let known = &mut *self.lock();
        self.learn(known)?;
        self.admission_agrees(known)?;
        hold_that(known.books.open.is_empty(), || format!("holds stay open: {:?}", known.books.open))?;
        hold_that(known.books.held == Micros::ZERO, || format!("{} stays held", known.books.held))?;
        if let Some(facts) = at_once(self.admission.facts(Timestamp::MAX, &wallet()))? {
            let all = (facts.held, facts.available);
            hold_that(all == (Micros::ZERO, facts.posted), || format!("admission keeps something: {facts:?}"))?;
        }
        for (key, answer) in &known.promised {
            let granted = known.decided.get(key).into_iter().flatten();
            let mut granted = granted.filter(|(outcome, _, _)| *outcome == Outcome::Granted);
            let said = granted.any(|(_, _, text)| text.as_bytes() == answer);
            hold_that(said, || format!("{key}: let through, and not granted"))?;
        }
        for (call, told) in &known.calls {
            known.is_settled(told).map_err(|why| format!("{call}: {why}\n{}", self.tale(call)))?;
        }
        let dead = self.bus.dead_letters(billing::CONSUMER).now_or_never();
        hold_that(matches!(&dead, Some(Ok(dead)) if dead.is_empty()), || format!("dead letters: {dead:?}"))?;
        known.broken.clone().map_or(Ok(()), Err)
    }

    /// All that the log has about a call.
    fn tale(&self, call: &CallId) -> String {
        let calls = self.read(Stream::Calls, 0).unwrap_or_default();
        let calls = calls.into_iter().filter(|recorded| recorded.event.about == call.as_str());
        let wallets = self.read(Stream::Wallets, 0).unwrap_or_default();
        let wallets = wallets
            .into_iter()
            .filter(|recorded| String::from_utf8_lossy(&recorded.event.data).contains(&format!("\"{call}\"")));
        let line = |recorded: Recorded| {
            let Recorded { seq, event } = recorded;
            format!("{seq} {} {} {}\n", event.time, event.subject, String::from_utf8_lossy(&event.data))
        };
        calls.chain(wallets).map(line).collect()
    }

    /// What the log came to, as one text: the same seed writes the same events and the same balances.
    pub(crate) fn history(&self) -> String {
        let known = self.lock();
        format!("{:?} {:?} {:?}", known.calls_seq, known.ids, known.pages)
    }

    pub(crate) fn verdict(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    fn judge(&self, known: &mut Known, checked: Lawful, after: &str) {
        if let Err(why) = checked
            && known.broken.is_none()
        {
            known.broken = Some(format!("after {after}: {why}"));
            self.broken.cancel();
        }
    }

    /// Reads what is new in the log.
    fn learn(&self, known: &mut Known) -> Lawful {
        for recorded in self.read(Stream::Calls, known.calls_seq)? {
            known.calls_seq = recorded.seq;
            known.call_event(&recorded)?;
        }
        for recorded in self.read(Stream::Wallets, known.wallets_seq)? {
            known.wallets_seq = recorded.seq;
            known.wallet_event(&recorded)?;
        }
        Ok(())
    }

    fn read(&self, stream: Stream, after: u64) -> Result<Vec<Recorded>, String> {
        let read = self.bus.read(&Filter::All(stream), after).try_collect().now_or_never();
        read.ok_or("the log of a storm is read at once")?.map_err(told)
    }

    /// Admission says of every event what the log says of it.
    fn admission_agrees(&self, known: &Known) -> Lawful {
        let Some((seq, facts)) = at_once(self.admission.firm(&wallet()))? else { return Ok(()) };
        let page = known.pages.get(&seq);
        hold_that(page == Some(&(facts.posted, facts.held)), || {
            format!("admission has {} posted and {} held at {seq}, the log {page:?}", facts.posted, facts.held)
        })?;
        // Before all time, so that looking frees nothing.
        let Some(now) = at_once(self.admission.facts(Timestamp::MIN, &wallet()))? else { return Ok(()) };
        let granted = known.on_the_phone().fold(Micros::ZERO, |sum, hold| sum.saturating_add(hold.amount));
        hold_that(known.memory_lost || now.held >= granted, || {
            format!("{granted} is granted, and admission holds {}", now.held)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Admission as the law sees it is beyond the weather: it answers at once, and always.
fn at_once<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    asked.now_or_never().ok_or("admission is asked, and does not answer at once")?.map_err(told)
}

impl Known {
    fn call_event(&mut self, recorded: &Recorded) -> Lawful {
        let event = &recorded.event;
        let Subject::Call { kind, .. } = event.subject else { return Err("not a call's event".to_owned()) };
        hold_that(self.ids.insert(event.id.clone()), || format!("{} is in the log twice", event.id))?;
        let call = self.calls.entry(CallId::new(event.about.as_str()).map_err(told)?).or_default();
        match kind {
            Kind::Decided => {
                call.known = true;
                call.decided = true;
                let decided: Decided = serde_json::from_slice(&event.data).map_err(told)?;
                return self.decided(decided);
            }
            Kind::Settled => call.cdr = Some(serde_json::from_slice(&event.data).map_err(told)?),
            Kind::Asked
            | Kind::Emitted
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Notify
            | Kind::Unknown => {}
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice => {
                let callback = Callback::parse(&Verified::unchecked(event.data.clone())).map_err(told)?;
                let at = (event.time, callback.common.timestamp.ok_or("a callback without a time")?);
                call.known |= matches!(kind, Kind::Ice | Kind::Dice);
                match callback.details {
                    Details::Ace(_) => call.answered = Some(at),
                    Details::Dice(dice) if call.end.is_none() => {
                        call.end = Some((dice.answered(), dice.duration_secs.unwrap_or_default(), at.0, at.1));
                    }
                    Details::Ice(_)
                    | Details::Pie(_)
                    | Details::Dice(_)
                    | Details::Notify(_)
                    | Details::Unknown { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn decided(&mut self, decided: Decided) -> Lawful {
        if decided.outcome == Outcome::Fallback {
            self.fallen.insert(decided.key);
            return hold_that(decided.hold.is_none(), || "a fallback holds credit".to_owned());
        }
        let answer = decided.answer.get().to_owned();
        // Where memory cannot be asked, a late copy is told that the call is over, whatever was answered while it was not.
        let may_differ =
            self.memory_lost || self.fallen.contains(&decided.key) || decided.reason.as_deref() == Some("CALL_ENDED");
        let before = self.decided.entry(decided.key.clone()).or_default();
        for (outcome, reserve, text) in before.iter() {
            let policy_said_no = *outcome == Outcome::Refused && !reserve;
            hold_that(!(policy_said_no && decided.outcome == Outcome::Granted), || {
                format!("{}: a refusal of the policy became a grant", decided.key)
            })?;
            hold_that(may_differ || *text == answer, || {
                format!("{}: decided twice while the decision is remembered: {text}, {answer}", decided.key)
            })?;
        }
        before.push((decided.outcome, decided.reserve, answer));
        let granted = decided.outcome == Outcome::Granted;
        hold_that(granted == decided.hold.is_some(), || format!("{}: a grant is a hold", decided.key))?;
        if let Some(hold) = decided.hold {
            let hold: Hold = serde_json::from_str(hold.get()).map_err(told)?;
            hold_that(hold.leg == decided.key, || "a hold for another leg".to_owned())?;
            let call = self.calls.entry(hold.call.clone()).or_default();
            hold_that(call.leg.as_ref().is_none_or(|leg| *leg == hold.leg), || "two legs of a call".to_owned())?;
            call.leg = Some(hold.leg.clone());
            if !self.grants.contains_key(&hold.leg) {
                self.grants.insert(hold.leg.clone(), hold);
                return self.covered();
            }
        }
        Ok(())
    }

    /// What was granted and has not ended.
    fn open(&self) -> impl Iterator<Item = &Hold> {
        self.grants.values().filter(|hold| !self.books.closed.contains_key(&hold.leg))
    }

    fn granted(&self) -> Micros {
        self.open().fold(Micros::ZERO, |sum, hold| sum.saturating_add(hold.amount))
    }

    /// What was granted to calls that go on. The end of a call frees what a worker held for it, though its grant may reach
    /// the log later.
    fn on_the_phone(&self) -> impl Iterator<Item = &Hold> {
        self.open().filter(|hold| self.calls.get(&hold.call).is_none_or(|call| call.end.is_none()))
    }

    /// All that was granted and has not ended is paid for, but for what is exposed.
    fn covered(&self) -> Lawful {
        let (count, max) = (self.on_the_phone().count(), self.fold.limits().concurrent_max);
        hold_that(self.memory_lost || max.is_none_or(|max| count <= max as usize), || {
            format!("{count} calls are granted at a time, of at most {max:?}")
        })?;
        let left = self.books.posted.saturating_sub(self.granted());
        hold_that(left.saturating_add(self.exposed) >= Micros::ZERO, || {
            format!("a call was granted that the wallet cannot pay: {left} is left, {} may be exposed", self.exposed)
        })
    }

    fn wallet_event(&mut self, recorded: &Recorded) -> Lawful {
        let event: WalletEvent = serde_json::from_slice(&recorded.event.data).map_err(told)?;
        for posting in &event.postings {
            let sum = entries(posting).iter().fold(Micros::ZERO, |sum, (_, amount)| sum.saturating_add(*amount));
            hold_that(sum == Micros::ZERO, || format!("a posting sums to {sum}: {posting:?}"))?;
            self.post(posting, recorded.event.time)?;
        }
        self.fold.apply(recorded.seq, recorded.event.time, &event);
        let (facts, books) = (self.fold.facts(), &self.books);
        hold_that((facts.posted, facts.held) == (books.posted, books.held), || {
            format!("the fold has {facts:?}, the books {} and {}", books.posted, books.held)
        })?;
        hold_that(self.fold.impossible() == 0, || "a posting could not be taken".to_owned())?;
        self.pages.insert(recorded.seq, (books.posted, books.held));
        Ok(())
    }

    fn post(&mut self, posting: &Posting, time: Timestamp) -> Lawful {
        let books = &mut self.books;
        match posting {
            Posting::TopUpPosted(top_up) => books.posted = books.posted.saturating_add(top_up.amount),
            Posting::HoldPlaced(hold) => {
                hold_that(self.grants.contains_key(&hold.leg), || format!("{}: held without a grant", hold.leg))?;
                hold_that(!books.has(&hold.leg), || format!("{}: held twice, or after its end", hold.leg))?;
                books.open.insert(hold.leg.clone(), hold.amount);
                books.held = books.held.saturating_add(hold.amount);
            }
            Posting::CallCharged(charge) => {
                books.close(&charge.leg, charge.held, charge.amount, None)?;
                let over = charge.amount.saturating_sub(charge.held).max(Micros::ZERO);
                self.exposed = self.exposed.saturating_add(over);
            }
            Posting::HoldReleased(release) => books.close(&release.leg, release.held, Micros::ZERO, None)?,
            Posting::HoldExpired(expiry) => {
                books.close(&expiry.leg, expiry.held, expiry.amount, Some(time))?;
            }
            Posting::ChargeCorrected(correction) => {
                let closed = books.closed.get_mut(&correction.leg).ok_or("a correction of no charge")?;
                hold_that(closed.charged == correction.from, || format!("{correction:?} is of another charge"))?;
                *closed = Closed { charged: correction.to, expired: None };
                books.posted = books.posted.saturating_add(correction.from.saturating_sub(correction.to));
                let over = correction.to.saturating_sub(correction.from).max(Micros::ZERO);
                self.exposed = self.exposed.saturating_add(over);
            }
            Posting::WalletChanged(_) => {}
            Posting::RefundPosted(_) | Posting::GrantExpired(_) => {
                return Err(format!("nobody asked for {posting:?}"));
            }
        }
        Ok(())
    }

    /// What was answered is in the log, and who lets a call through has its hold there.
    fn answer_is_recorded(
        &mut self,
        durable: impl Fn(&EventId) -> bool,
        key: &AppKey,
        body: &[u8],
        answer: &[u8],
    ) -> Lawful {
        let received = EventId::of_callback(key, body);
        hold_that(self.ids.contains(&received) || durable(&received), || {
            "a callback was answered and is not in the log".to_owned()
        })?;
        let callback = Callback::parse(&Verified::unchecked(body.to_vec().into())).map_err(told)?;
        if !callback.kind().wants_svaml() {
            return Ok(());
        }
        let key = callback.decision_key(&AppName::new(APP).map_err(told)?).ok_or("no decision key")?;
        let id = EventId::of_decided(&key, answer);
        hold_that(self.ids.contains(&id) || durable(&id), || format!("{key}: the answer is not in the log"))?;
        let svaml: Svaml = serde_json::from_slice(answer).map_err(told)?;
        if let Action::ConnectPstn(connect) = &svaml.action {
            self.promised.push((key.clone(), answer.to_vec()));
            hold_that(connect.max_duration.is_some_and(|secs| secs > 0), || format!("{key}: without an end"))?;
        }
        Ok(())
    }

    /// The leg came to what the log says the call came to, and the CDR says so.
    fn is_settled(&self, told: &Told) -> Lawful {
        let charged = match &told.leg {
            Some(leg) => {
                let closed = self.books.closed.get(leg).ok_or("its leg is not closed")?;
                let hold = self.grants.get(leg).ok_or("its grant is not known")?;
                self.leg_is_right(told, hold, *closed)?;
                closed.charged
            }
            None => Micros::ZERO,
        };
        if !told.known {
            return Ok(());
        }
        let cdr = told.cdr.as_ref().ok_or("it has no CDR")?;
        let cost: rust_decimal::Decimal = cdr.legs.iter().map(|leg| leg.cost).sum();
        hold_that(cost == rust_decimal::Decimal::new(charged.get(), 6), || {
            format!("the CDR says {cost}, {charged} was charged")
        })?;
        hold_that(cdr.unmatched != told.decided, || format!("decided {}, unmatched {}", told.decided, cdr.unmatched))
    }

    fn leg_is_right(&self, told: &Told, hold: &Hold, closed: Closed) -> Lawful {
        let charged = closed.charged;
        // An end that came while the expiry was on its way to the log, or after it, has corrected the estimate.
        if let (None, Some(expired)) = (told.end, closed.expired) {
            // Nobody told the end: what was held, if it was answered.
            let estimate = match told.answered {
                Some((at, _)) if at <= expired => hold.amount,
                Some(_) | None => Micros::ZERO,
            };
            hold_that(charged == estimate, || format!("{charged} charged, the estimate is {estimate}"))?;
            let earliest = hold.placed_at + jiff::SignedDuration::from_secs(hold.granted_secs.into());
            return hold_that(expired >= earliest, || format!("expired at {expired}, could last until {earliest}"));
        }
        let (answered, duration, _, ended_at) = told.end.ok_or("closed without an end and before its expiry")?;
        let menu = hold.leg.as_str() != ice_leg(&hold.call)?.as_str();
        let secs = match (answered, menu, told.answered) {
            (false, _, _) => 0,
            (true, true, Some((_, answered_at))) => {
                let talked = ended_at.duration_since(answered_at).as_secs();
                // Told times are whole seconds; an ACE that says the same second as the end is no measure.
                u32::try_from(talked).ok().filter(|talked| *talked > 0).map_or(duration, |talked| talked.min(duration))
            }
            (true, _, _) => duration,
        };
        let due = cost(&hold.price, secs, ended_at).map_err(self::told)?.amount;
        hold_that(charged == due, || format!("{charged} charged, {secs} s cost {due}"))
    }
}

impl Books {
    fn has(&self, leg: &Leg) -> bool {
        self.open.contains_key(leg) || self.closed.contains_key(leg)
    }

    fn close(&mut self, leg: &Leg, held: Micros, charged: Micros, expired: Option<Timestamp>) -> Lawful {
        let open = self.open.remove(leg).ok_or_else(|| format!("{leg}: closed, and it was not open"))?;
        hold_that(open == held, || format!("{leg}: frees {held} of {open}"))?;
        hold_that(charged >= Micros::ZERO, || format!("{leg}: charged {charged}"))?;
        (self.held, self.posted) = (self.held.saturating_sub(open), self.posted.saturating_sub(charged));
        let before = self.closed.insert(leg.clone(), Closed { charged, expired });
        hold_that(before.is_none(), || format!("{leg}: closed twice"))
    }
}

/// The leg of a call that no menu came before.
fn ice_leg(call: &CallId) -> Result<Leg, String> {
    Ok(DecisionKey::of(&AppName::new(APP).map_err(told)?, call, Kind::Ice, "", &[]))
}

fn wallet() -> WalletId {
    #[expect(clippy::expect_used, reason = "a constant")]
    WalletId::new(APP).expect("a wallet")
}

fn hold_that(lawful: bool, otherwise: impl FnOnce() -> String) -> Lawful {
    if lawful { Ok(()) } else { Err(otherwise()) }
}

fn told(error: impl Display) -> String {
    error.to_string()
}
