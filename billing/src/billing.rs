//! The billing role: reads the calls, posts to wallets, writes CDRs.
//!
//! It keeps the calls it still needs in memory. Its consumer says how far it is; its checkpoint says where the oldest
//! of those calls began, and a start reads them again from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Asked, Bus, Cache, Clock, Recorded, ServeSpec, Unavailable, Verdict, trace};
use jiff::{SignedDuration, Timestamp};
use money::Micros;
use proto::event::TRACEPARENT;
use proto::{AppName, CallId, Decided, DecisionKey, Filter, Kind, Partition, Stream, Subject};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use crate::admission::Admission;
use crate::call::{Call, CallLeg, Ending};
use crate::expiry::Expiries;
use crate::group::{self, Group};
use crate::ledger::{Intent, Ledger, NotPosted};
use crate::{order, rebuild, tombstone, verify};

const CALLS: Filter = Filter::All(Stream::Calls);

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
pub enum BillingError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(
        "go on with {groups} groups: {in_force} are in force, by another process; set [billing] groups to the same \
         number for all billing processes"
    )]
    Groups { groups: u8, in_force: u8 },
}

/// The role.
#[derive(Debug)]
pub struct Billing {
    groups: u8,
    office: Office,
}

/// What all groups share.
#[derive(Debug, Clone)]
struct Office {
    bus: Bus,
    admission: Admission,
    cache: Cache,
    clock: Clock,
    ledger: Arc<Ledger>,
}

/// What the handlers of a group share.
#[derive(Debug)]
struct Books {
    group: Group,
    bus: Bus,
    admission: Admission,
    cache: Cache,
    clock: Clock,
    ledger: Arc<Ledger>,
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

impl Billing {
    /// One process works, the others stand by, unless there are more groups.
    pub fn new(bus: Bus, admission: Admission, cache: Cache, clock: Clock) -> Self {
        let ledger = Arc::new(Ledger::new(bus.clone(), admission.clone(), clock.clone()));
        Self { groups: 1, office: Office { bus, admission, cache, clock, ledger } }
    }

    /// The calls are shared out among so many groups, one of [`GROUPS`](crate::GROUPS). All billing processes have the
    /// same number.
    #[must_use]
    pub fn in_groups(self, groups: u8) -> Self {
        Self { groups, ..self }
    }

    /// Works until asked to stop, then finishes what it has begun. Of several processes one works each group, the others
    /// stand by.
    ///
    /// # Errors
    /// When the log can no longer be consumed, or another number of groups was put in force.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BillingError> {
        let Self { groups, office } = self;
        if !group::put_in_force(&office.bus, groups, &stop).await? {
            return Ok(());
        }
        // Should one part fail, the others end with it.
        let (stop, mut parts) = (stop.child_token(), JoinSet::new());
        for group in Group::all(groups) {
            let books = Arc::new(Books::new(group, &office));
            parts.spawn(Arc::clone(&books).consume(stop.clone()));
            let stop = stop.clone();
            parts.spawn(async move {
                books.sweep_until(stop).await;
                Ok(())
            });
        }
        parts.spawn(office.clone().serve(stop.clone()));
        parts.spawn(office.tend(groups, stop.clone()));
        let mut outcome = Ok(());
        while let Some(ended) = parts.join_next().await {
            let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            if ended.is_err() {
                stop.cancel();
                outcome = outcome.and(ended);
            }
        }
        outcome
    }
}

impl Office {
    /// Answers those who want something posted, or to know.
    async fn serve(self, stop: CancellationToken) -> Result<(), BillingError> {
        let till = ServeSpec {
            name: "billing".to_owned(),
            group: "billing".to_owned(),
            subjects: vec![order::SUBJECT.to_owned(), verify::SUBJECT.to_owned(), rebuild::SUBJECT.to_owned()],
            concurrency_max: ORDERS_MAX,
        };
        let bus = self.bus.clone();
        let answer = move |asked: Asked| {
            let Self { bus, admission, clock, ledger, .. } = self.clone();
            async move {
                match asked.subject.as_str() {
                    verify::SUBJECT => verify::take(&bus, &admission, &asked.data).await,
                    rebuild::SUBJECT => rebuild::take(&bus, &admission, &clock, &asked.data).await,
                    _ => order::take(&ledger, &asked.data).await,
                }
            }
        };
        Ok(bus.serve(till, answer, stop).await?)
    }

    /// What is to be done for all wallets, whoever works: tells admission what it missed, takes grants whose time is over
    /// and keeps snapshots.
    async fn tend(self, groups: u8, stop: CancellationToken) -> Result<(), BillingError> {
        let (mut ticks, mut expiries) = (sweep_ticks(), None);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.ledger.catch_up_admission().await;
            self.ledger.tidy().await;
            if let Err(why) = self.expire_grants(&mut expiries).await {
                tracing::warn!(why, "grants expire later");
            }
            match group::in_force(&self.bus).await {
                Ok(in_force) if in_force != groups => return Err(BillingError::Groups { groups, in_force }),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the number of groups is looked up later"),
            }
        }
        Ok(())
    }

    /// Takes what is left of grants whose time is over. What holds stand on is tried again. Those who stand by do it too:
    /// without calls the broker lets nobody work, and the expected sequence makes it happen once.
    async fn expire_grants(&self, expiries: &mut Option<Expiries>) -> Result<(), String> {
        let unreachable = |error: Unavailable| error.to_string();
        let expiries = match expiries {
            Some(expiries) => expiries,
            None => expiries.insert(Expiries::open(&self.bus).await.map_err(unreachable)?),
        };
        let now = self.clock.now();
        expiries.catch_up(&self.bus, now).await.map_err(unreachable)?;
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
        expiries.keep(&self.bus, now).await;
        Ok(())
    }
}

fn sweep_ticks() -> Interval {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Books {
    fn new(group: Group, office: &Office) -> Self {
        let Office { bus, admission, cache, clock, ledger } = office.clone();
        let lanes = (0..Partition::COUNT).map(|_| Mutex::default()).collect();
        Self { group, bus, admission, cache, clock, ledger, lanes }
    }

    async fn consume(self: Arc<Self>, stop: CancellationToken) -> Result<(), BillingError> {
        let (bus, consumer, beginning) = (self.bus.clone(), self.group.consumer(), Arc::clone(&self));
        let begin = move || {
            let books = Arc::clone(&beginning);
            async move { books.begin().await }
        };
        let handle = move |recorded| {
            let books = Arc::clone(&self);
            async move { books.handle(recorded).await }
        };
        Ok(bus.consume(consumer, begin, handle, stop).await?)
    }

    /// This process works from here on: it reads the calls that are still needed, from the oldest to what is done.
    /// Nothing is posted, it was.
    async fn begin(&self) -> Result<(), Unavailable> {
        let (name, filter) = (self.group.name(), self.group.filter());
        let done = self.bus.consumer_floor(&filter, &name).await?;
        let from = self.bus.checkpoint(&name).await?.unwrap_or_default();
        let mut lanes = Vec::new();
        for lane in &self.lanes {
            lanes.push(lane.lock().await);
        }
        lanes.iter_mut().for_each(|lane| **lane = Lane::default());
        let mut events = self.bus.events(&filter, from.saturating_sub(1));
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
        let (mut ticks, mut kept, mut steady_since) = (sweep_ticks(), None, None);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let oldest = match self.sweep(&mut steady_since).await {
                Ok(oldest) => oldest,
                Err(why) => {
                    tracing::warn!(why, "sweep not finished");
                    steady_since = None;
                    continue;
                }
            };
            if oldest.is_some() && oldest != kept {
                match self.bus.set_checkpoint(&self.group.name(), oldest.unwrap_or_default()).await {
                    Ok(()) => kept = oldest,
                    Err(error) => tracing::warn!(%error, "checkpoint not moved"),
                }
            }
        }
    }

    /// Expires, settles and forgets what it is time for. Answers where the oldest call still needed begins; nothing
    /// while another process works.
    async fn sweep(&self, steady_since: &mut Option<Timestamp>) -> Result<Option<u64>, String> {
        let unreachable = |error: Unavailable| error.to_string();
        let end = self.bus.last_seq(&CALLS).await.map_err(unreachable)?;
        let standing =
            self.bus.consumer_standing(&self.group.filter(), &self.group.name()).await.map_err(unreachable)?;
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
