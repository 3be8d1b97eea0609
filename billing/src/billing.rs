//! The billing role: reads the calls, posts to wallets, writes CDRs.
//!
//! It keeps the calls it still needs in memory. Its consumer says how far it is; its checkpoint says where the oldest
//! of those calls began, and a start reads them again from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Cache, Clock, ConsumerSpec, Recorded, ServeSpec, Unavailable, Verdict, trace};
use jiff::{SignedDuration, Timestamp};
use money::Micros;
use proto::event::TRACEPARENT;
use proto::{AppName, CallId, Decided, DecisionKey, Filter, Kind, Partition, Stream, Subject};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use crate::admission::Admission;
use crate::call::{Call, CallLeg, Ending};
use crate::expiry::Expiries;
use crate::ledger::{Intent, Ledger, NotPosted};
use crate::{order, tombstone, verify};

/// Name of billing's consumer of the calls, and of its checkpoint.
pub const CONSUMER: &str = "billing";

const CALLS: Filter = Filter::All(Stream::Calls);

/// Calls worked on at the same time; each waits for at most a few appends.
const IN_FLIGHT_MAX: usize = 64;

const ORDERS_MAX: usize = 64;

/// The log or the broker is away: wait, and go on where we were.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often holds are expired, silent calls settled and the checkpoint moved.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Nothing expires until billing has been level with the log for this long: an end may still lie in an ingress's spool.
const STEADY_FOR: SignedDuration = SignedDuration::from_secs(120);

/// A decision this much older than what its partition has seen was held up on its way; its call's end may be behind us.
const HELD_UP: SignedDuration = SignedDuration::from_secs(60);

/// Billing cannot go on.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BillingError(#[from] Unavailable);

/// The role.
#[derive(Debug)]
pub struct Billing {
    bus: Bus,
    books: Arc<Books>,
}

/// What the handlers share.
#[derive(Debug)]
struct Books {
    bus: Bus,
    admission: Admission,
    cache: Cache,
    clock: Clock,
    ledger: Ledger,
    /// By partition: one lane of the log is worked on at a time, so these locks are hardly ever waited for.
    lanes: Vec<Mutex<Lane>>,
}

/// The calls of one partition.
#[derive(Debug, Default)]
struct Lane {
    calls: BTreeMap<(AppName, CallId), Call>,
    /// Time of the newest event seen.
    newest: Timestamp,
}

/// The durable consumer billing works by.
pub fn consumer() -> ConsumerSpec {
    ConsumerSpec { name: CONSUMER.to_owned(), filter: CALLS, max_in_flight: IN_FLIGHT_MAX }
}

impl Billing {
    pub fn new(bus: Bus, admission: Admission, cache: Cache, clock: Clock) -> Self {
        let ledger = Ledger::new(bus.clone(), admission.clone(), clock.clone());
        let lanes = (0..Partition::COUNT).map(|_| Mutex::default()).collect();
        let books = Arc::new(Books { bus: bus.clone(), admission, cache, clock, ledger, lanes });
        Self { bus, books }
    }

    /// Works until asked to stop, then finishes what it has begun. Of several processes one works, the others stand by.
    ///
    /// # Errors
    /// When the log can no longer be consumed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BillingError> {
        let [beginning, settling, ordering] = [(); 3].map(|()| Arc::clone(&self.books));
        let till = ServeSpec {
            name: "billing".to_owned(),
            group: "billing".to_owned(),
            subjects: vec![order::SUBJECT.to_owned(), verify::SUBJECT.to_owned()],
            concurrency_max: ORDERS_MAX,
        };
        let consume = self.bus.consume(
            consumer(),
            move || {
                let books = Arc::clone(&beginning);
                async move { books.begin().await }
            },
            move |recorded| {
                let books = Arc::clone(&settling);
                async move { books.handle(recorded).await }
            },
            stop.clone(),
        );
        let serve = self.bus.serve(
            till,
            move |asked| {
                let books = Arc::clone(&ordering);
                async move {
                    match asked.subject == verify::SUBJECT {
                        true => verify::take(&books.bus, &books.admission, &asked.data).await,
                        false => order::take(&books.ledger, &asked.data).await,
                    }
                }
            },
            stop.clone(),
        );
        let sweep = async {
            self.books.sweep_until(stop.clone()).await;
            Ok(())
        };
        tokio::try_join!(consume, serve, sweep)?;
        Ok(())
    }
}

impl Books {
    /// This process works from here on: it reads the calls that are still needed, from the oldest to what is done.
    /// Nothing is posted, it was.
    async fn begin(&self) -> Result<(), Unavailable> {
        let done = self.bus.consumer_floor(&CALLS, CONSUMER).await?;
        let from = self.bus.checkpoint(CONSUMER).await?.unwrap_or_default();
        let mut lanes = Vec::new();
        for lane in &self.lanes {
            lanes.push(lane.lock().await);
        }
        lanes.iter_mut().for_each(|lane| **lane = Lane::default());
        let mut events = self.bus.events(&CALLS, from.saturating_sub(1));
        while let Some(next) = events.next().await?.filter(|next| next.seq <= done) {
            if let Some((kind, key)) = key_of(&next) {
                // What could not be read is a dead letter already.
                let _ = lanes[lane_of(&next)].take(kind, &key, &next, self.clock.now());
            }
        }
        self.ledger.doubt_newest().await
    }

    async fn handle(&self, recorded: Recorded) -> Verdict {
        let Some((kind, key)) = key_of(&recorded) else { return Verdict::Done };
        let span = match kind {
            // Our own, which asks for nothing.
            Kind::Emitted | Kind::Settled => Span::none(),
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Decided | Kind::Unknown => {
                info_span!(
                    target: trace::TARGET,
                    "settle",
                    { trace::SPAN_KIND } = "consumer",
                    { trace::APP } = %key.0,
                    { trace::KIND } = %kind,
                    { trace::CALL } = %key.1,
                )
            }
        };
        trace::follow(&span, recorded.event.attribute(TRACEPARENT));
        self.take(kind, key, recorded).instrument(span).await
    }

    async fn take(&self, kind: Kind, key: (AppName, CallId), recorded: Recorded) -> Verdict {
        let lane = &mut *self.lanes[lane_of(&recorded)].lock().await;
        if kind == Kind::Settled && !lane.calls.contains_key(&key) {
            return Verdict::Done;
        }
        let held_up = lane.newest.duration_since(recorded.event.time) > HELD_UP;
        let call = match lane.take(kind, &key, &recorded, self.clock.now()) {
            Ok(call) => call,
            Err(why) => return Verdict::Dead(format!("the {kind} cannot be read: {why}")),
        };
        trace::link(&Span::current(), call.decided_in.as_deref());
        let outcome = async {
            if kind == Kind::Decided && held_up && !call.has_ended() {
                self.recall(call, &key, &recorded.event.subject).await?;
            }
            self.settle(call, false).await
        };
        match outcome.await {
            Ok(None) => {}
            Ok(Some(refused)) => return Verdict::Dead(refused),
            Err(why) => {
                tracing::warn!(why, "billing waits");
                return Verdict::Retry(RETRY_AFTER);
            }
        }
        if call.ended_undecided()
            && let Err(error) = tombstone::set(&self.cache, &key.0, &key.1).await
        {
            tracing::warn!(%error, "a call that has ended may still be asked about");
        }
        Verdict::Done
    }

    /// Looks a call up from the beginning: something of it came so late that the rest may be forgotten.
    async fn recall(&self, call: &mut Call, key: &(AppName, CallId), subject: &Subject) -> Result<(), String> {
        let mut events = self.bus.events(&Filter::Partition(subject.lane()), 0);
        while let Some(next) = events.next().await.map_err(|error| error.to_string())? {
            if let Some((kind, _)) = key_of(&next).filter(|(kind, found)| found == key && *kind != Kind::Settled) {
                let _ = call.apply(kind, &next.event, self.clock.now());
            }
        }
        Ok(())
    }

    /// Does whatever the call calls for now: places holds, closes legs, writes the CDR. Safe to do again. Answers what
    /// was refused for good, once: the leg is closed without it then, and an operator must look.
    ///
    /// # Errors
    /// When the log cannot be reached; the same again later.
    async fn settle(&self, call: &mut Call, may_expire: bool) -> Result<Option<String>, String> {
        let mut refused = None;
        for index in 0..call.legs.len() {
            let now = self.clock.now();
            let ending = call.ending(index);
            let expired = if may_expire { call.expired(index, now) } else { None };
            let leg = &mut call.legs[index];
            if leg.bill.is_some() {
                continue;
            }
            match self.close(leg, ending, expired).await {
                Ok(()) => {}
                Err(NotPosted::Unavailable(why)) => return Err(why),
                Err(why @ (NotPosted::Refused(_) | NotPosted::Unreadable(_))) => {
                    tracing::error!(%why, leg = %leg.hold.leg, "a leg is closed without its posting");
                    leg.note(Micros::ZERO, None);
                    refused = Some(why.to_string());
                }
            }
        }
        let now = self.clock.now();
        for key in call.take_strays(now) {
            self.free_stray(&key).await;
        }
        if call.due(now) {
            self.bus.append(&call.settlement(now), None).await.map_err(|error| error.to_string())?;
            call.settled = true;
        }
        Ok(refused)
    }

    async fn close(
        &self,
        leg: &mut CallLeg,
        ending: Option<Ending>,
        expired: Option<Option<Timestamp>>,
    ) -> Result<(), NotPosted> {
        let (id, wallet) = (leg.hold.leg.clone(), leg.hold.wallet.clone());
        if !leg.placed {
            self.ledger.post(&wallet, Intent::Place(Box::new(leg.hold.clone()))).await?;
            leg.placed = true;
        }
        let posted = match (ending, expired) {
            (Some(Ending { ended, .. }), _) => {
                match self.ledger.post(&wallet, Intent::Settle { leg: id.clone(), ended }).await {
                    // More than an amount can be: what was held is kept as an estimate.
                    Err(NotPosted::Refused(why)) => {
                        tracing::error!(%why, leg = %id, "a charge is not posted, the hold is kept in its place");
                        self.ledger.post(&wallet, Intent::Expire { leg: id, answered_at: Some(ended.at) }).await?
                    }
                    posted => posted?,
                }
            }
            (None, Some(answered_at)) => self.ledger.post(&wallet, Intent::Expire { leg: id, answered_at }).await?,
            (None, None) => return Ok(()),
        };
        leg.note(posted.charged.unwrap_or_default(), ending);
        Ok(())
    }

    /// Frees a hold whose decision was never recorded: the ingress had answered by fallback. The decision goes as well,
    /// so that a later ask places a hold of its own. Best effort: the hold frees itself at its expiry.
    async fn free_stray(&self, key: &DecisionKey) {
        let memory_key = key.memory_key();
        let Ok(Some(stored)) = self.cache.get(&memory_key).await else { return };
        let Ok(Decided { wallet: Some(wallet), hold: Some(_), .. }) = serde_json::from_slice(&stored) else { return };
        let freed = self.admission.free(&wallet, key).await.map_err(|error| error.to_string());
        let forgotten = self.cache.delete(&memory_key).await.map_err(|error| error.to_string());
        if let Err(error) = freed.and(forgotten) {
            tracing::warn!(error, "a stray hold frees itself at its expiry");
        }
    }

    async fn sweep_until(&self, stop: CancellationToken) {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut kept, mut steady_since, mut expiries) = (None, None, Expiries::default());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            self.ledger.catch_up_admission().await;
            if let Err(why) = self.expire_grants(&mut expiries).await {
                tracing::warn!(why, "grants expire later");
            }
            let oldest = match self.sweep(&mut steady_since).await {
                Ok(oldest) => oldest,
                Err(why) => {
                    tracing::warn!(why, "sweep not finished");
                    steady_since = None;
                    continue;
                }
            };
            if oldest.is_some() && oldest != kept {
                match self.bus.set_checkpoint(CONSUMER, oldest.unwrap_or_default()).await {
                    Ok(()) => kept = oldest,
                    Err(error) => tracing::warn!(%error, "checkpoint not moved"),
                }
            }
        }
    }

    /// Takes what is left of grants whose time is over. What holds stand on is tried again. Those who stand by do it too:
    /// without calls the broker lets nobody work, and the expected sequence makes it happen once.
    async fn expire_grants(&self, expiries: &mut Expiries) -> Result<(), String> {
        expiries.catch_up(&self.bus).await.map_err(|error| error.to_string())?;
        let now = self.clock.now();
        for due in expiries.due(now) {
            let (_, wallet, grant) = &due;
            match self.ledger.post(wallet, Intent::ExpireGrant { grant: grant.clone(), now }).await {
                Ok(posted) if posted.grants.iter().any(|lot| lot.grant == *grant) => {}
                Ok(_) => expiries.done(&due),
                Err(NotPosted::Unavailable(why)) => return Err(why),
                Err(why @ (NotPosted::Refused(_) | NotPosted::Unreadable(_))) => {
                    tracing::error!(%why, %wallet, "a grant is not expired");
                    expiries.done(&due);
                }
            }
        }
        Ok(())
    }

    /// Expires, settles and forgets what it is time for. Answers where the oldest call still needed begins; nothing
    /// while another process works.
    async fn sweep(&self, steady_since: &mut Option<Timestamp>) -> Result<Option<u64>, String> {
        let unreachable = |error: Unavailable| error.to_string();
        let end = self.bus.last_seq(&CALLS).await.map_err(unreachable)?;
        let standing = self.bus.consumer_standing(&CALLS, CONSUMER).await.map_err(unreachable)?;
        if !standing.ours {
            *steady_since = None;
            return Ok(None);
        }
        let now = self.clock.now();
        // Once level, a busy log that is a moment ahead again is no reason to doubt.
        let steady = match *steady_since {
            Some(since) => now.duration_since(since) >= STEADY_FOR,
            None => {
                *steady_since = (standing.floor >= end).then_some(now);
                false
            }
        };
        let (mut oldest, mut unavailable) = (standing.floor.saturating_add(1), None);
        for lane in &self.lanes {
            let mut lane = lane.lock().await;
            for call in lane.calls.values_mut() {
                if let Err(why) = self.settle(call, steady).await {
                    unavailable = Some(why);
                }
            }
            let now = self.clock.now();
            lane.calls.retain(|_, call| !call.over(now));
            oldest = lane.calls.values().map(|call| call.first_seq).fold(oldest, u64::min);
        }
        unavailable.map_or(Ok(Some(oldest)), Err)
    }
}

impl Lane {
    fn take(
        &mut self,
        kind: Kind,
        key: &(AppName, CallId),
        recorded: &Recorded,
        now: Timestamp,
    ) -> Result<&mut Call, String> {
        self.newest = self.newest.max(recorded.event.time);
        let new = || Call::new(key.0.clone(), key.1.clone(), recorded, now);
        let call = self.calls.entry(key.clone()).or_insert_with(new);
        call.apply(kind, &recorded.event, now)?;
        Ok(call)
    }
}

fn lane_of(recorded: &Recorded) -> usize {
    usize::from(recorded.event.subject.lane().index())
}

/// Which call an event belongs to; `None` for the few without a call id, which nobody is billed for.
fn key_of(recorded: &Recorded) -> Option<(Kind, (AppName, CallId))> {
    match &recorded.event.subject {
        // A policy's own event has no bearing on money.
        Subject::Call { kind: Kind::Emitted, .. }
        | Subject::Wallet(_)
        | Subject::List(_)
        | Subject::Policy(_)
        | Subject::Deck(_) => None,
        Subject::Call { kind, app, .. } => {
            let call = CallId::new(recorded.event.about.as_str()).ok()?;
            Some((*kind, (app.clone(), call)))
        }
    }
}
