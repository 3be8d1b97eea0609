//! The billing role: reads the calls, posts to wallets, writes CDRs.
//!
//! It keeps the calls it still needs in memory. Its consumer says how far it is; its checkpoint says where the oldest
//! of those calls began, and a start reads them again from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Cache, Clock, Recorded, Unavailable, Verdict, trace};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::SignedDuration;
use proto::event::TRACEPARENT;
use proto::{Asked, Filter, Kind, Partition, Share, Stream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use crate::admission::Admission;
use crate::call::Call;
use crate::enquiry::{Enquiries, Question};
use crate::group;
use crate::ledger::Ledger;
use crate::steady::Steady;
use crate::tombstone;

mod lane;
mod office;
mod settle;

use lane::{CallKey, Lane, key_of, lane_of};
use office::Office;

const CALLS: Filter = Filter::All(Stream::Calls);

/// The log or the broker is away: wait, and go on where we were.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often holds are expired, silent calls settled and the checkpoint moved.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

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

/// What the handlers of a group share.
#[derive(Debug)]
struct Books {
    group: Share,
    bus: Bus,
    admission: Admission,
    cache: Cache,
    clock: Clock,
    ledger: Arc<Ledger>,
    enquiries: Option<Arc<Enquiries>>,
    /// By partition: one lane of the log is worked on at a time, so these locks are hardly ever waited for.
    lanes: Vec<Mutex<Lane>>,
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
        for group in Share::all(groups) {
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

fn sweep_ticks() -> Interval {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Books {
    fn new(group: Share, office: &Office) -> Self {
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
            Kind::Emitted | Kind::Placed | Kind::Dialled | Kind::Progressed | Kind::Settled => Span::none(),
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
        let (mut ticks, mut kept, mut steady) = (sweep_ticks(), None, Steady::default());
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
            let oldest = match self.sweep(&mut steady).await {
                Ok(oldest) => oldest,
                Err(why) => {
                    tracing::warn!(why, "sweep not finished");
                    steady.lost();
                    continue;
                }
            };
            if let Some(enquiries) = self.enquiries.as_ref().filter(|_| steady.is_level()) {
                let (may_expire, room) = (steady.may_expire(), ENQUIRIES_MAX.saturating_sub(asking.len()));
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
    async fn sweep(&self, steady: &mut Steady) -> Result<Option<u64>, String> {
        let unreachable = |error: Unavailable| error.to_string();
        let end = self.bus.last_seq(&CALLS).await.map_err(unreachable)?;
        let standing = self
            .bus
            .consumer_standing(&self.group.filter(), &group::ONE.name(self.group))
            .await
            .map_err(unreachable)?;
        if !standing.ours {
            steady.lost();
            return Ok(None);
        }
        steady.look(&self.clock);
        if standing.floor >= end {
            steady.level();
        }
        let (mut oldest, mut unavailable) = (standing.floor.saturating_add(1), None);
        for lane in &self.lanes {
            let mut lane = lane.lock().await;
            for call in lane.calls.values_mut() {
                if let Err(why) = self.settle(call, steady.may_expire()).await {
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
