//! The dialer: where the calls that we place are looked after.
//!
//! The calls are shared out among groups by partition, as deliveries are; of several processes one works a group's
//! *booth*. It begins by folding its calls from the oldest that is not over. Callbacks and CDRs of legs, which are
//! calls of the platform and so anywhere, are relayed to the call they are a leg of by whoever reads them. What is
//! about to be done is written down first, and what came of it after, so that a crash anywhere loses nothing and no
//! number is dialled twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{Asked, Bus, Clock, Groups, Recorded, ServeSpec, Unavailable, Verdict};
use bytes::Bytes;
use jiff::Timestamp;
use outbound::Platform;
use proto::event::json;
use proto::signature::AppSecret;
use proto::{AppKey, AppName, CallId, Event, Kind, Placed, Progressed, Share, Step, Subject};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use workers::Till;

use crate::dial::{Dial, Do};
use crate::hangup;
use crate::role::DispatchError;

mod act;
mod relay;

/// Events handled at the same time, by one group.
const IN_FLIGHT_MAX: usize = 64;
/// Calls for which something is done at the same time, by one group.
const ACTING_MAX: usize = 32;
/// Who wants to end calls, at the same time.
const ASKS_MAX: usize = 8;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A call is told again to end, should it still be up; after twice as long each time.
const HANG_UP_AGAIN_AFTER: Duration = Duration::from_secs(5);
const HANG_UP_DOUBLES_MAX: u32 = 5;
const TEND_EVERY: Duration = Duration::from_secs(5);

/// A call may be due also while nothing happens.
pub(crate) const ONE: Groups = Groups { role: "dialer", of: 1, max_in_flight: IN_FLIGHT_MAX, always_worked: true };

/// What calls are placed with.
#[derive(Debug)]
pub struct Telephone {
    pub bus: Bus,
    pub clock: Clock,
    pub platform: Platform,
    /// Credit is held before anybody is called.
    pub till: Till,
    pub apps: HashMap<AppName, Caller>,
}

/// One Sinch application, as far as it calls.
#[derive(Debug, Clone)]
pub struct Caller {
    pub key: AppKey,
    pub secret: AppSecret,
    /// Name of the price list its calls are rated by.
    pub deck: String,
}

/// Works all groups until asked to stop.
///
/// # Errors
/// When the log can no longer be consumed.
pub(crate) async fn run(groups: u8, telephone: Telephone, stop: CancellationToken) -> Result<(), DispatchError> {
    let groups = ONE.with(groups);
    let telephone = Arc::new(telephone);
    // A new group begins where the first of the old ones was, whose calls are found by the checkpoint.
    let bus = &telephone.bus;
    let carry = async |before: Groups, floor: u64| {
        let mut from = floor.saturating_add(1);
        for group in before.all() {
            from = from.min(bus.checkpoint(&before.name(group)).await?.unwrap_or_default());
        }
        for group in groups.all() {
            bus.set_checkpoint(&groups.name(group), from).await?;
        }
        Ok(())
    };
    if !groups.put_in_force(bus, &stop, carry).await? {
        return Ok(());
    }
    let (stop, mut parts) = (stop.child_token(), JoinSet::new());
    let booth = |group| Arc::new(Booth::new(group, groups, Arc::clone(&telephone)));
    let booths: Arc<[Arc<Booth>]> = groups.all().map(booth).collect();
    for booth in booths.iter().cloned() {
        parts.spawn(booth.run(stop.clone()));
    }
    parts.spawn(serve(telephone.bus.clone(), booths, stop.clone()));
    let (following, stopped) = (Arc::clone(&telephone), stop.clone());
    parts.spawn(async move {
        following.till.follow_until(&following.bus, &following.clock, stopped).await;
        Ok(())
    });
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if ended.is_err() {
            stop.cancel();
            outcome = outcome.and(ended);
        }
    }
    Ok(outcome?)
}

/// Answers who wants to end a call, for the groups this process works.
async fn serve(bus: Bus, booths: Arc<[Arc<Booth>]>, stop: CancellationToken) -> Result<(), Unavailable> {
    let spec = ServeSpec {
        name: "callbus-dialer".to_owned(),
        // A group of its own, so that every process is asked.
        group: format!("delivery-{:016x}", fastrand::u64(..)),
        subjects: vec![hangup::SUBJECT.to_owned()],
        concurrency_max: ASKS_MAX,
    };
    let answer = move |asked: Asked| {
        let booths = Arc::clone(&booths);
        async move {
            let Ok(hangup::Wanted { call, by }) = serde_json::from_slice(&asked.data) else { return Bytes::new() };
            let mut taken = false;
            for booth in &*booths {
                taken |=
                    booth.note(&call, Step::HangupAsked { by: by.clone() }).await.is_ok_and(|noted| noted.is_some());
            }
            Bytes::from(json(&hangup::Taken { taken }))
        }
    };
    bus.serve(spec, answer, stop).await
}

/// Where one group's calls are looked after.
#[derive(Debug)]
struct Booth {
    group: Share,
    groups: Groups,
    telephone: Arc<Telephone>,
    /// Those that are not over.
    calls: Mutex<Calls>,
    changed: Notify,
    tending: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Calls {
    /// What is up to here in `CALLS` was folded when this turn began, and is not taken again.
    folded_seq: u64,
    open: BTreeMap<CallId, Dial>,
    /// Those of which something is new.
    changed: BTreeSet<CallId>,
}

/// What an event says of the calls that we place.
enum News {
    /// At this place in `CALLS`.
    Placed(u64, Box<Placed>),
    Progressed(CallId, Step),
    Nothing,
}

/// # Errors
/// When it was written by a newer callbus.
fn read(recorded: &Recorded) -> Result<News, String> {
    let event = &recorded.event;
    let unreadable = |error: serde_json::Error| error.to_string();
    match event.subject.kind() {
        Some(Kind::Placed) => Ok(News::Placed(recorded.seq, serde_json::from_slice(&event.data).map_err(unreadable)?)),
        Some(Kind::Progressed) => {
            let progressed: Progressed = serde_json::from_slice(&event.data).map_err(unreadable)?;
            let call = CallId::new(event.about.as_str()).map_err(|error| error.to_string())?;
            Ok(News::Progressed(call, progressed.step))
        }
        Some(_) | None => Ok(News::Nothing),
    }
}

impl Booth {
    fn new(group: Share, groups: Groups, telephone: Arc<Telephone>) -> Self {
        let (calls, changed, tending) = (Mutex::default(), Notify::new(), Mutex::default());
        Self { group, groups, telephone, calls, changed, tending }
    }

    async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Unavailable> {
        let (bus, spec) = (self.telephone.bus.clone(), self.groups.consumer(self.group));
        let (beginning, handling) = (Arc::clone(&self), Arc::clone(&self));
        let begin = move |turn| Arc::clone(&beginning).begin(turn);
        let handle = move |recorded| {
            let booth = Arc::clone(&handling);
            async move { booth.handle(recorded).await }
        };
        let outcome = bus.consume(spec, begin, handle, stop).await;
        let mut tending = std::mem::take(&mut *lock(&self.tending));
        while tending.join_next().await.is_some() {}
        outcome
    }

    /// Folds the calls that are not over, from the oldest on, with all that is written down by now. What the consumer has
    /// not done is among it, and comes once more: that somebody is being dialled must be known before it is thought of.
    async fn begin(self: Arc<Self>, turn: CancellationToken) -> Result<(), Unavailable> {
        // What is left of an earlier turn would do what this one does, and forget what this one knows.
        let mut before = std::mem::take(&mut *lock(&self.tending));
        before.shutdown().await;
        *self.calls() = Calls::default();
        let (bus, name, filter) = (&self.telephone.bus, self.groups.name(self.group), self.group.filter());
        let from = bus.checkpoint(&name).await?.unwrap_or_default();
        let mut events = bus.events(&filter, from.saturating_sub(1));
        while let Some(next) = events.next().await? {
            // What cannot be read is a dead letter, or will be when it comes.
            if let Ok(news) = read(&next) {
                self.take(next.event.time, news);
            }
        }
        self.calls().folded_seq = events.passed_seq();
        lock(&self.tending).spawn(Arc::clone(&self).tend(turn));
        Ok(())
    }

    async fn handle(&self, recorded: Recorded) -> Verdict {
        match read(&recorded) {
            Ok(news) if recorded.seq > self.calls().folded_seq => self.take(recorded.event.time, news),
            Ok(_) => {}
            Err(why) => return Verdict::Dead(why),
        }
        match relay::relay(&self.telephone, &recorded).await {
            Ok(()) => Verdict::Done,
            Err(why) => {
                tracing::warn!(why, "what became of a leg is relayed later");
                Verdict::Retry(RETRY_AFTER)
            }
        }
    }

    /// Folds what is about a call that we place.
    fn take(&self, time: Timestamp, news: News) {
        match news {
            News::Placed(seq, placed) => {
                let call = placed.call.clone();
                self.calls().open.entry(call.clone()).or_insert_with(|| Dial::new(seq, *placed, time));
                self.tell(call);
            }
            News::Progressed(call, step) => self.apply(&call, time, &step),
            News::Nothing => {}
        }
    }

    fn apply(&self, call: &CallId, time: Timestamp, step: &Step) {
        let mut calls = self.calls();
        let Some(dial) = calls.open.get_mut(call) else { return };
        dial.apply(time, step);
        if dial.is_over() {
            calls.open.remove(call);
        }
        drop(calls);
        self.tell(call.clone());
    }

    /// Something of the call is new.
    fn tell(&self, call: CallId) {
        self.calls().changed.insert(call);
        self.changed.notify_one();
    }

    /// Does what is due, for as long as this process works the group.
    async fn tend(self: Arc<Self>, turn: CancellationToken) {
        let mut tender = Tender {
            booth: Arc::clone(&self),
            looks: Looks::default(),
            busy: BTreeSet::new(),
            hung_up: HashMap::new(),
            acting: JoinSet::new(),
        };
        let mut kept = None;
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look_at = tender.looks.next_at().unwrap_or_else(|| Instant::now() + TEND_EVERY);
            tokio::select! {
                biased;
                () = turn.cancelled() => break,
                Some(done) = tender.acting.join_next() => {
                    let (call, failed) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                    tender.busy.remove(&call);
                    let pause = if failed { RETRY_AFTER } else { Duration::ZERO };
                    tender.looks.at(Instant::now() + pause, call);
                }
                () = self.changed.notified() => {}
                () = sleep_until(look_at) => {}
                _ = ticks.tick() => {
                    tender.hung_up.retain(|_, hung_up| hung_up.last.elapsed() < 2 * hung_up.pause());
                    self.keep_checkpoint(&mut kept).await;
                }
            }
            tender.look();
        }
        // A callout that has left is waited for: what comes of it would be guessed at else.
        while tender.acting.join_next().await.is_some() {}
        *self.calls() = Calls::default();
    }

    /// Where the oldest call stands that is not over.
    async fn keep_checkpoint(&self, kept: &mut Option<u64>) {
        let (bus, name) = (&self.telephone.bus, self.groups.name(self.group));
        let floor = match bus.consumer_floor(&self.group.filter(), &name).await {
            Ok(floor) => floor,
            Err(error) => return tracing::warn!(%error, "the checkpoint is moved later"),
        };
        let oldest = self.calls().open.values().map(|dial| dial.placed_seq).min();
        let from = oldest.unwrap_or(u64::MAX).min(floor.saturating_add(1));
        if *kept == Some(from) {
            return;
        }
        match bus.set_checkpoint(&name, from).await {
            Ok(()) => *kept = Some(from),
            Err(error) => tracing::warn!(%error, "the checkpoint is moved later"),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }
}

/// Keeps one turn's work.
struct Tender {
    booth: Arc<Booth>,
    looks: Looks,
    /// Those for which something is being done.
    busy: BTreeSet<CallId>,
    /// Calls of the platform that were told to end.
    hung_up: HashMap<CallId, HungUp>,
    /// Answers the call, and whether it is to be tried again after a pause.
    acting: JoinSet<(CallId, bool)>,
}

/// Which calls are to be looked at when: each once.
#[derive(Default)]
struct Looks {
    by_time: BTreeSet<(Instant, CallId)>,
    of: HashMap<CallId, Instant>,
}

impl Looks {
    fn next_at(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// At the earlier of this time and the one that was said before.
    fn at(&mut self, at: Instant, call: CallId) {
        match self.of.get(&call) {
            Some(before) if *before <= at => return,
            Some(before) => drop(self.by_time.remove(&(*before, call.clone()))),
            None => {}
        }
        self.of.insert(call.clone(), at);
        self.by_time.insert((at, call));
    }

    fn forget(&mut self, call: &CallId) {
        if let Some(at) = self.of.remove(call) {
            self.by_time.remove(&(at, call.clone()));
        }
    }

    fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        let (_, call) = self.by_time.first().filter(|(at, _)| *at <= now)?.clone();
        self.forget(&call);
        Some(call)
    }
}

struct HungUp {
    last: Instant,
    times: u32,
}

impl HungUp {
    fn pause(&self) -> Duration {
        HANG_UP_AGAIN_AFTER * 2_u32.pow(self.times.saturating_sub(1).min(HANG_UP_DOUBLES_MAX))
    }
}

impl Tender {
    /// Begins what is due. For one call one thing is done at a time: what it leads to is seen before the next.
    fn look(&mut self) {
        let now = Instant::now();
        let mut calls = std::mem::take(&mut self.booth.calls().changed);
        while let Some(call) = self.looks.pop_due(now) {
            calls.insert(call);
        }
        let time = self.booth.telephone.clock.now();
        for call in calls {
            if self.busy.contains(&call) {
                continue;
            }
            if self.busy.len() >= ACTING_MAX {
                self.looks.at(now + Duration::from_millis(50), call);
                continue;
            }
            // What was said of it before is what this look finds anew.
            self.looks.forget(&call);
            let Some(next) = self.booth.calls().open.get(&call).map(|dial| dial.next(time)) else { continue };
            let waits = |leg| self.hung_up.get(leg).is_some_and(|hung_up| hung_up.last.elapsed() < hung_up.pause());
            let what = next.now.iter().find(|what| !matches!(what, Do::HangUp(leg) if waits(leg))).cloned();
            let look_at = match (&what, next.look_at) {
                (None, Some(at)) => {
                    let wait_ms = u64::try_from(at.duration_since(time).as_millis()).unwrap_or(0);
                    Some(now + Duration::from_millis(wait_ms.saturating_add(1)).min(TEND_EVERY))
                }
                // Something was told to end that has not yet.
                (None, None) if !next.now.is_empty() => Some(now + HANG_UP_AGAIN_AFTER),
                (Some(_), _) | (None, None) => None,
            };
            if let Some(at) = look_at {
                self.looks.at(at, call.clone());
            }
            let Some(what) = what else { continue };
            if let Do::HangUp(leg) = &what {
                let hung_up = self.hung_up.entry(leg.clone()).or_insert(HungUp { last: now, times: 0 });
                (hung_up.last, hung_up.times) = (now, hung_up.times + 1);
            }
            self.busy.insert(call.clone());
            let booth = Arc::clone(&self.booth);
            self.acting.spawn(async move {
                let done = booth.act(&call, what).await;
                if let Err(why) = &done {
                    tracing::warn!(%call, why, "what is due is done later");
                }
                (call, done.is_err())
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event that says so. The same step is the same event, whoever writes it.
fn progressed_event(app: &AppName, call: &CallId, progressed: &Progressed, time: Timestamp) -> Event {
    Event {
        id: act::id_of(call, &progressed.step),
        subject: subject_of(Kind::Progressed, app, call),
        about: call.to_string(),
        source: "delivery".to_owned(),
        time,
        extra: Vec::new(),
        data: json(progressed).into(),
    }
}

/// An event about a call.
fn subject_of(kind: Kind, app: &AppName, call: &CallId) -> Subject {
    Subject::Call { kind, app: app.clone(), partition: proto::Partition::of(call) }
}
