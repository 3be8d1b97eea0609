//! The billing role: reads the calls, posts to wallets, writes CDRs.
//!
//! It keeps the calls it still needs in memory. Its consumer says how far it is; its checkpoint says where the oldest
//! of those calls began, and a start reads them again from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Cache, Clock, Recorded, ServeSpec, Unavailable, Verdict, trace};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use proto::event::TRACEPARENT;
use proto::{AppName, Asked, CallId, Filter, Group, Kind, Partition, Stream, Subject};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use crate::admission::Admission;
use crate::call::Call;
use crate::enquiry::{Enquiries, Question};
use crate::expiry::Expiries;
use crate::group;
use crate::ledger::{Intent, Ledger, NotPosted};
use crate::{order, rebuild, tombstone, verify};

mod settle;

const CALLS: Filter = Filter::All(Stream::Calls);

/// Orders and questions answered at the same time.
const ORDERS_MAX: usize = 64;

/// The log or the broker is away: wait, and go on where we were.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often holds are expired, silent calls settled and the checkpoint moved.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Nothing expires until billing has been level with the log for this long: an end may still lie in an ingress's spool.
const STEADY_FOR: SignedDuration = SignedDuration::from_secs(120);

/// A decision this much older than what its partition has seen was held up on its way; its call's end may be behind us.
const HELD_UP: SignedDuration = SignedDuration::from_secs(60);

/// Calls the platform is asked about at the same time.
const ENQUIRIES_MAX: usize = 32;

/// Looking calls up in a long log takes a while: this many times as long nothing is looked up after it.
const LOOK_SHARE: u32 = 20;

/// Between two looks, however short they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// None: nobody is asked how a call ended.
    enquiries: Option<Arc<Enquiries>>,
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
    enquiries: Option<Arc<Enquiries>>,
    /// By partition: one lane of the log is worked on at a time, so these locks are hardly ever waited for.
    lanes: Vec<Mutex<Lane>>,
}

/// An app's call.
type CallKey = (AppName, CallId);

/// The calls of one partition.
#[derive(Debug, Default)]
struct Lane {
    calls: BTreeMap<CallKey, Call>,
    /// Time of the newest event seen.
    newest: Timestamp,
}

impl Billing {
    /// With one group: of several processes one works, the others stand by.
    pub fn new(bus: Bus, admission: Admission, cache: Cache, clock: Clock) -> Self {
        let ledger = Arc::new(Ledger::new(bus.clone(), admission.clone(), clock.clone()));
        Self { groups: 1, office: Office { bus, admission, cache, clock, ledger, enquiries: None } }
    }

    /// Has the platform asked how a call ended, where nobody told it.
    #[must_use]
    pub fn asking(mut self, enquiries: Enquiries) -> Self {
        self.office.enquiries = Some(Arc::new(enquiries));
        self
    }

    /// The calls are shared out among so many groups, one of [`GROUPS`](crate::GROUPS). All billing processes have the
    /// same number.
    #[must_use]
    pub fn in_groups(self, groups: u8) -> Self {
        Self { groups, ..self }
    }

    /// Works until asked to stop, then finishes what it has begun. Of several processes one works each group, the
    /// others stand by.
    ///
    /// # Errors
    /// When the log can no longer be consumed, or another number of groups was put in force.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BillingError> {
        let Self { groups, office } = self;
        if !group::put_in_force(group::ONE.with(groups), &office.bus, &stop).await? {
            return Ok(());
        }
        // Should one part fail, the others end with it.
        let (stop, mut parts) = (stop.child_token(), JoinSet::new());
        for group in Group::all(groups) {
            let books = Arc::new(Books::new(group, &office));
            parts.spawn(Arc::clone(&books).consume(stop.clone()));
            let stop = stop.clone();
            parts.spawn(async move {
                tokio::join!(books.sweep_until(stop.clone()), books.look_until(stop));
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
        let answer = move |asked: bus::Asked| {
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

    /// What is to be done for all wallets, whoever works: tells admission what it missed, takes grants whose time is
    /// over and keeps snapshots.
    async fn tend(self, groups: u8, stop: CancellationToken) -> Result<(), BillingError> {
        let (mut ticks, mut expiries) = (sweep_ticks(), None);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.ledger.catch_up_admission().await;
            self.ledger.tidy().await;
            if let Err(why) = self.expire_grants(&mut expiries).await {
                tracing::warn!(why, "grants expire later");
            }
            match group::ONE.in_force(&self.bus).await {
                Ok(in_force) if in_force.of != groups => {
                    return Err(BillingError::Groups { groups, in_force: in_force.of });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the number of groups is looked up later"),
            }
        }
        Ok(())
    }

    /// Takes what is left of grants whose time is over. What holds stand on is tried again. Those who stand by do it
    /// too: without calls the broker lets nobody work, and the expected sequence makes it happen once.
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
        let Office { bus, admission, cache, clock, ledger, enquiries } = office.clone();
        let lanes = (0..Partition::COUNT).map(|_| Mutex::default()).collect();
        Self { group, bus, admission, cache, clock, ledger, enquiries, lanes }
    }

    async fn consume(self: Arc<Self>, stop: CancellationToken) -> Result<(), BillingError> {
        let (bus, consumer, beginning) = (self.bus.clone(), group::ONE.consumer(self.group), Arc::clone(&self));
        let begin = move |_| {
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
        let (name, filter) = (group::ONE.name(self.group), self.group.filter());
        let done = self.bus.consumer_floor(&filter, &name).await?;
        let from = self.bus.checkpoint(&name).await?.unwrap_or_default();
        let mut lanes = Vec::new();
        for lane in &self.lanes {
            lanes.push(lane.lock().await);
        }
        lanes.iter_mut().for_each(|lane| **lane = Lane::default());
        let mut events = self.bus.events(&filter, from.saturating_sub(1));
        while let Some(next) = events.next().await?.filter(|next| next.seq <= done) {
            if let Some((kind, key)) = key_of(&next)
                && lanes[lane_of(&next)].wants(kind, &key)
            {
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
            Kind::Ice
            | Kind::Ace
            | Kind::Pie
            | Kind::Dice
            | Kind::Notify
            | Kind::Decided
            | Kind::Asked
            | Kind::Unknown => {
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

    async fn take(&self, kind: Kind, key: CallKey, recorded: Recorded) -> Verdict {
        let lane = &mut *self.lanes[lane_of(&recorded)].lock().await;
        if !lane.wants(kind, &key) {
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
                let wanted = BTreeSet::from([key.clone()]);
                if let Some(found) = self.recall(recorded.event.subject.lane(), &wanted).await?.remove(&key) {
                    *call = found;
                }
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

    /// Folds calls of a partition anew from the beginning of the log: something of them came so late that the rest may
    /// be forgotten.
    async fn recall(&self, lane: Partition, wanted: &BTreeSet<CallKey>) -> Result<BTreeMap<CallKey, Call>, String> {
        let mut found = Lane::default();
        let mut events = self.bus.events(&Filter::Partition(lane), 0);
        while let Some(next) = events.next().await.map_err(|error| error.to_string())? {
            if let Some((kind, key)) =
                key_of(&next).filter(|(kind, key)| wanted.contains(key) && found.wants(*kind, key))
            {
                // What could not be read is a dead letter already.
                let _ = found.take(kind, &key, &next, self.clock.now());
            }
        }
        Ok(found.calls)
    }

    async fn look_until(&self, stop: CancellationToken) {
        loop {
            let began = Instant::now();
            if let Err(why) = self.look_up().await {
                tracing::warn!(why, "calls are looked up later");
            }
            tokio::select! {
                () = sleep(LOOK_EVERY.max(began.elapsed() * LOOK_SHARE)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks for the decisions about calls that ended, and were perhaps settled and forgotten long ago.
    async fn look_up(&self) -> Result<(), String> {
        for lane in &self.lanes {
            let now = self.clock.now();
            let wanted = lane.lock().await.to_be_looked_up(now);
            let Some(partition) = wanted.iter().next().map(|(_, call)| Partition::of(call)) else { continue };
            let mut found = self.recall(partition, &wanted).await?;
            let mut lane = lane.lock().await;
            for key in &wanted {
                let (Some(call), Some(mut whole)) = (lane.calls.get_mut(key), found.remove(key)) else { continue };
                // What came meanwhile is looked up the next time.
                if whole.last_seq >= call.last_seq {
                    whole.looked = true;
                    *call = whole;
                }
            }
        }
        Ok(())
    }

    /// What the platform is to be asked, as far as there is room for it.
    async fn questions(&self, may_expire: bool, mut room: usize) -> Vec<Question> {
        let mut questions = Vec::new();
        for lane in &self.lanes {
            let (mut lane, now) = (lane.lock().await, self.clock.now());
            for call in lane.calls.values_mut() {
                if let Some(question) = call.question(now, may_expire, room > 0) {
                    room -= 1;
                    questions.push(question);
                }
            }
        }
        questions
    }

    /// Records what the platform said; nothing else comes of it before it is read back from the log.
    async fn answered(&self, question: Question, asked: Option<Asked>) {
        let now = self.clock.now();
        if let Some(asked) = asked {
            match self.bus.append(&question.event(&asked, now), None).await {
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "the platform is asked again how a call ended"),
            }
        }
        let mut lane = self.lanes[usize::from(Partition::of(&question.call).index())].lock().await;
        if let Some(call) = lane.calls.get_mut(&(question.app, question.call)) {
            call.unanswered(now);
        }
    }

    async fn sweep_until(&self, stop: CancellationToken) {
        let (mut ticks, mut kept, mut steady_since) = (sweep_ticks(), None, None);
        let mut asking = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some((question, asked)) = asking.next() => {
                    self.answered(question, asked).await;
                    continue;
                }
                () = stop.cancelled() => return,
            }
            let oldest = match self.sweep(&mut steady_since).await {
                Ok(oldest) => oldest,
                Err(why) => {
                    tracing::warn!(why, "sweep not finished");
                    steady_since = None;
                    continue;
                }
            };
            if let (Some(enquiries), Some(_)) = (&self.enquiries, steady_since) {
                let (may_expire, room) =
                    (steady(steady_since, self.clock.now()), ENQUIRIES_MAX.saturating_sub(asking.len()));
                for question in self.questions(may_expire, room).await {
                    let now = self.clock.now();
                    asking.push(async move {
                        let asked = enquiries.ask(&question, now).await;
                        (question, asked)
                    });
                }
            }
            if oldest.is_some() && oldest != kept {
                match self.bus.set_checkpoint(&group::ONE.name(self.group), oldest.unwrap_or_default()).await {
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
        let standing = self
            .bus
            .consumer_standing(&self.group.filter(), &group::ONE.name(self.group))
            .await
            .map_err(unreachable)?;
        if !standing.ours {
            *steady_since = None;
            return Ok(None);
        }
        let now = self.clock.now();
        // Once level, a busy log that is a moment ahead again is no reason to doubt.
        if steady_since.is_none() && standing.floor >= end {
            *steady_since = Some(now);
        }
        let steady = steady(*steady_since, now);
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

/// Billing has been level with the log for long enough.
fn steady(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|since| now.duration_since(since) >= STEADY_FOR)
}

impl Lane {
    /// Our own events are about calls that are here; they bring none back.
    fn wants(&self, kind: Kind, key: &CallKey) -> bool {
        !matches!(kind, Kind::Asked | Kind::Settled) || self.calls.contains_key(key)
    }

    fn to_be_looked_up(&self, now: Timestamp) -> BTreeSet<CallKey> {
        let wanted = self.calls.iter().filter(|(_, call)| call.to_be_looked_up(now));
        wanted.map(|(key, _)| key.clone()).collect()
    }

    fn take(&mut self, kind: Kind, key: &CallKey, recorded: &Recorded, now: Timestamp) -> Result<&mut Call, String> {
        self.newest = self.newest.max(recorded.event.time);
        let new = || Call::new(key.0.clone(), key.1.clone(), recorded, now);
        let call = self.calls.entry(key.clone()).or_insert_with(new);
        call.apply(kind, recorded, now)?;
        Ok(call)
    }
}

fn lane_of(recorded: &Recorded) -> usize {
    usize::from(recorded.event.subject.lane().index())
}

/// Which call an event belongs to; `None` for the few without a call id, which nobody is billed for.
fn key_of(recorded: &Recorded) -> Option<(Kind, CallKey)> {
    match &recorded.event.subject {
        // A policy's own event has no bearing on money.
        Subject::Call { kind: Kind::Emitted, .. }
        | Subject::Wallet(_)
        | Subject::List(_)
        | Subject::Policy(_)
        | Subject::Deck(_)
        | Subject::Destination(_)
        | Subject::Delivery { .. } => None,
        Subject::Call { kind, app, .. } => {
            let call = CallId::new(recorded.event.about.as_str()).ok()?;
            Some((*kind, (app.clone(), call)))
        }
    }
}
