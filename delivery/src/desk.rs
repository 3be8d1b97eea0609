//! A desk: where one group's events come in and are handed to couriers, one for each destination.
//!
//! Of several processes one works a group's desk. It begins by reading what became of the deliveries so far, from each
//! lane's checkpoint on; it ends when the broker lets another work, whose couriers then try again what was on its way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{AppendError, Groups, Recorded, Unavailable, Verdict};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use proto::event::json;
use proto::{DeliveryNoted, DestinationName, Event, EventId, Filter, Partition, Share, Subject};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::courier::{Courier, Told, Tools, checkpoint};
use crate::in_force::{Destinations, InForce};
use crate::lane::past::Past;
use crate::order::{AskedAgain, LaneStanding};
use crate::origins::{self, Origins};
use crate::route::{Body, deliveries_to};

/// How often checkpoints are moved, and what failed is tried again.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// Nobody works the desk yet, or a courier is being replaced.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Lanes read from the log at the same time.
const OPENED_AT_ONCE: usize = 8;

/// Lanes of plain addresses that are to be opened.
const OPENING_MAX: usize = 64;

/// The lines to the couriers, by their lanes.
type Lines = BTreeMap<DestinationName, Line>;

/// Where one group's events come in.
#[derive(Debug)]
pub(crate) struct Desk {
    pub group: Share,
    groups: Groups,
    tools: Tools,
    in_force: watch::Receiver<Arc<Destinations>>,
    lines: Mutex<Arc<Lines>>,
    tending: Mutex<JoinSet<()>>,
    /// Where this turn's tender is told to open a lane of plain addresses.
    opener: Mutex<Option<mpsc::Sender<ToOpen>>>,
}

/// A lane of plain addresses to be opened; whoever asks hears when that is done.
type ToOpen = (DestinationName, oneshot::Sender<()>);

/// The line to one courier.
#[derive(Debug, Clone)]
struct Line {
    to: Arc<InForce>,
    tell: mpsc::Sender<Told>,
    stop: CancellationToken,
}

impl Desk {
    pub(crate) fn new(
        group: Share,
        groups: Groups,
        tools: Tools,
        in_force: watch::Receiver<Arc<Destinations>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            group,
            groups,
            tools,
            in_force,
            lines: Mutex::default(),
            tending: Mutex::default(),
            opener: Mutex::default(),
        })
    }

    /// Consumes until asked to stop, then waits for what was begun.
    ///
    /// # Errors
    /// When the log cannot be consumed.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Unavailable> {
        let (bus, spec) = (self.tools.bus.clone(), self.groups.consumer(self.group));
        let (beginning, handling) = (Arc::clone(&self), Arc::clone(&self));
        let begin = move |turn| Arc::clone(&beginning).begin(turn);
        let handle = move |recorded| {
            let desk = Arc::clone(&handling);
            async move { desk.handle(Arc::new(recorded)).await }
        };
        let outcome = bus.consume(spec, begin, handle, stop).await;
        let mut tending = std::mem::take(&mut *lock(&self.tending));
        while tending.join_next().await.is_some() {}
        outcome
    }

    async fn begin(self: Arc<Self>, turn: CancellationToken) -> Result<(), Unavailable> {
        // What is left of an earlier turn would do what this one does, and write while this one reads.
        let mut before = std::mem::take(&mut *lock(&self.tending));
        before.shutdown().await;
        let (open, opening) = mpsc::channel(OPENING_MAX);
        let mut tender = Tender {
            desk: Arc::clone(&self),
            turn,
            in_force: self.in_force.clone(),
            lines: Lines::new(),
            couriers: JoinSet::new(),
            opening,
            origins: self.origins().await?,
        };
        tender.look().await?;
        *lock(&self.opener) = Some(open);
        lock(&self.tending).spawn(tender.tend());
        Ok(())
    }

    /// Hands an event to all it is for. It is done when each of them has it, or has written down that it waits.
    async fn handle(&self, recorded: Arc<Recorded>) -> Verdict {
        let told: Vec<DestinationName> =
            Body::of(&recorded).told(&recorded).iter().map(|(lane, _)| lane.clone()).collect();
        for lane in &told {
            if origins::is_of_url(lane) && self.courier(lane).is_none() && !self.open_origin(lane).await {
                return Verdict::Retry(RETRY_AFTER);
            }
        }
        let lines = Arc::clone(&lock(&self.lines));
        for lane in told.iter().filter(|lane| !lines.contains_key(*lane)) {
            // One that is new reads on from where it began. Of one that is long gone nobody hears.
            tracing::debug!(%lane, seq = recorded.seq, "there is no such profile here");
        }
        let offers: Vec<_> = {
            let body = Body::of(&recorded);
            let offer = |line: &Line| (line.tell.clone(), deliveries_to(&recorded, &line.to, &body));
            lines.values().map(offer).filter(|(_, deliveries)| !deliveries.is_empty()).collect()
        };
        let durable = join_all(offers.into_iter().map(|(tell, deliveries)| {
            let recorded = Arc::clone(&recorded);
            async move {
                let mut waits = Vec::new();
                for delivery in deliveries {
                    let (durable, heard) = oneshot::channel();
                    let recorded = Arc::clone(&recorded);
                    if tell.send(Told::Offer { delivery, recorded, durable }).await.is_err() {
                        return false;
                    }
                    waits.push(heard);
                }
                join_all(waits).await.into_iter().all(|heard| heard.is_ok())
            }
        }));
        if durable.await.into_iter().all(|durable| durable) { Verdict::Done } else { Verdict::Retry(RETRY_AFTER) }
    }

    /// Whether there is a lane of plain addresses now.
    async fn open_origin(&self, lane: &DestinationName) -> bool {
        let opener = lock(&self.opener).clone();
        let (opened, heard) = oneshot::channel();
        match opener {
            Some(opener) => opener.send((lane.clone(), opened)).await.is_ok() && heard.await.is_ok(),
            None => false,
        }
    }
}

/// What operators ask.
impl Desk {
    /// Delivers again what is wanted and this group's; answers what was taken.
    pub(crate) async fn again(&self, asked: &AskedAgain) -> Vec<EventId> {
        let ours = asked.wanted.iter().filter(|again| self.group.has(Partition::of_text(&again.call)));
        let wanted: Vec<_> = ours.cloned().collect();
        if !wanted.is_empty() && origins::is_of_url(&asked.destination) && self.courier(&asked.destination).is_none() {
            self.open_origin(&asked.destination).await;
        }
        let Some(tell) = self.courier(&asked.destination) else { return Vec::new() };
        let (taken, heard) = oneshot::channel();
        let told = tell.send(Told::Again { wanted, taken }).await;
        if told.is_ok() { heard.await.unwrap_or_default() } else { Vec::new() }
    }

    /// How the lane of a destination stands, where this process works the group.
    pub(crate) async fn standing(&self, destination: &DestinationName) -> Option<LaneStanding> {
        let (tell, heard) = oneshot::channel();
        self.courier(destination)?.send(Told::Standing(tell)).await.ok()?;
        heard.await.ok()
    }

    fn courier(&self, destination: &DestinationName) -> Option<mpsc::Sender<Told>> {
        lock(&self.lines).get(destination).map(|line| line.tell.clone()).filter(|tell| !tell.is_closed())
    }
}

/// Keeps one turn's couriers: one for each destination and profile, and one for each origin that is told.
struct Tender {
    desk: Arc<Desk>,
    turn: CancellationToken,
    in_force: watch::Receiver<Arc<Destinations>>,
    lines: Lines,
    couriers: JoinSet<()>,
    opening: mpsc::Receiver<ToOpen>,
    origins: Origins,
}

impl Tender {
    async fn tend(mut self) {
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turn = self.turn.clone();
        loop {
            tokio::select! {
                biased;
                () = turn.cancelled() => break,
                Some(_) = self.couriers.join_next() => {
                    self.miss_couriers().await;
                }
                Some((lane, opened)) = self.opening.recv() => {
                    match self.open_origin(&lane).await {
                        Ok(true) => {
                            let _ = opened.send(());
                        }
                        Ok(false) => tracing::warn!(%lane, "it waits: {} origins are told already", origins::OPEN_MAX),
                        Err(error) => tracing::warn!(%error, %lane, "it is opened later"),
                    }
                    continue;
                }
                Ok(()) = self.in_force.changed() => {}
                _ = ticks.tick() => self.tell_floor().await,
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "destinations are taken later");
            }
        }
        while self.couriers.join_next().await.is_some() {}
    }

    async fn tell_floor(&self) {
        let Desk { group, groups, tools, .. } = &*self.desk;
        match tools.bus.consumer_floor(&group.filter(), &groups.name(*group)).await {
            Ok(floor) => drop(join_all(self.lines.values().map(|line| line.tell.send(Told::Floor(floor)))).await),
            Err(error) => tracing::warn!(%error, "checkpoints are moved later"),
        }
    }

    /// Makes the couriers those of the destinations in force.
    async fn look(&mut self) -> Result<(), Unavailable> {
        let in_force = Arc::clone(&self.in_force.borrow_and_update());
        // Removed, or removed and put again since.
        let is_gone = |name: &DestinationName, line: &mut Line| {
            !line.to.is_origin() && in_force.get(name).is_none_or(|to| to.began() != line.to.began())
        };
        for (_, gone) in self.lines.extract_if(.., is_gone) {
            gone.stop.cancel();
        }
        for line in self.lines.values_mut() {
            if let Some(to) = in_force.get(line.to.name()).filter(|to| !Arc::ptr_eq(to, &line.to)) {
                line.to = Arc::clone(to);
                // Closed: it is replaced the next time.
                let _ = line.tell.send(Told::Set(Arc::clone(to))).await;
            }
        }
        let told = self.origins.lanes().map(|lane| Arc::new(InForce::origin(lane.clone())));
        let is_new = |to: &Arc<InForce>| !self.lines.contains_key(to.name());
        let new: Vec<_> = in_force.values().cloned().chain(told).filter(is_new).collect();
        let mut opening =
            stream::iter(new.into_iter().map(|to| self.desk.open(to, &self.turn))).buffer_unordered(OPENED_AT_ONCE);
        let mut opened = Vec::new();
        while let Some(next) = opening.next().await {
            opened.push(next?);
        }
        drop(opening);
        for (line, courier) in opened {
            self.begin(line, courier);
        }
        self.publish();
        Ok(())
    }

    fn begin(&mut self, line: Line, courier: Courier) {
        self.couriers.spawn(courier.run(self.desk.checkpoint(line.to.name())));
        self.lines.insert(line.to.name().clone(), line);
    }

    fn publish(&self) {
        *lock(&self.desk.lines) = Arc::new(self.lines.clone());
    }

    /// Opens a lane of plain addresses, which is written down first; false while there are too many.
    async fn open_origin(&mut self, lane: &DestinationName) -> Result<bool, AppendError> {
        if self.lines.get(lane).is_some_and(|line| !line.tell.is_closed()) {
            return Ok(true);
        }
        if !self.origins.has(lane) {
            if self.origins.lanes().count() >= origins::OPEN_MAX {
                return Ok(false);
            }
            self.note(DeliveryNoted::Opened { group: self.desk.group, lane: lane.clone() }).await?;
        }
        let (line, courier) = self.desk.open(Arc::new(InForce::origin(lane.clone())), &self.turn).await?;
        self.begin(line, courier);
        self.publish();
        Ok(true)
    }

    /// Couriers have ended: of plain addresses when there was nothing left to do.
    async fn miss_couriers(&mut self) {
        let ended: Vec<_> = self.lines.extract_if(.., |_, line| line.tell.is_closed()).collect();
        for (lane, line) in ended {
            if !line.to.is_origin() {
                // Only when something in it broke.
                tracing::error!(destination = %lane, "its courier has ended; another is sent");
                continue;
            }
            let noted = self.note(DeliveryNoted::Closed { group: self.desk.group, lane }).await;
            let checkpoint = self.desk.checkpoint(&origins::directory());
            let kept = match noted {
                Ok(()) => {
                    let needed_after = self.origins.needed_after();
                    self.desk.tools.bus.set_checkpoint(&checkpoint, needed_after).await.map_err(AppendError::from)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                tracing::warn!(%error, "a lane of plain addresses is closed later");
            }
        }
    }

    /// Writes down in the directory which lanes are open.
    async fn note(&mut self, noted: DeliveryNoted) -> Result<(), AppendError> {
        let (tools, group) = (&self.desk.tools, self.desk.group);
        let (time, data) = (tools.clock.now(), json(&noted));
        let event = Event {
            id: EventId::of(&["lane", origins::directory().as_str(), &time.to_string(), &data]),
            subject: Subject::Delivery { destination: origins::directory(), partition: group.first() },
            about: String::new(),
            source: "delivery".to_owned(),
            time,
            extra: Vec::new(),
            data: Bytes::from(data),
        };
        let appended = tools.bus.append(&event, None).await?;
        self.origins.apply(appended.seq, &noted);
        Ok(())
    }
}

impl Desk {
    fn checkpoint(&self, destination: &DestinationName) -> String {
        checkpoint(&self.groups.name(self.group), destination)
    }

    /// Which lanes of plain addresses are open.
    async fn origins(&self) -> Result<Origins, Unavailable> {
        let (bus, directory) = (&self.tools.bus, origins::directory());
        let mut open = Origins::new(self.group);
        let kept = bus.checkpoint(&self.checkpoint(&directory)).await?.unwrap_or_default();
        let mut events = bus.events(&Filter::Deliveries(directory), kept);
        while let Some(Recorded { seq, event }) = events.next().await? {
            if let Ok(noted) = serde_json::from_slice(&event.data) {
                open.apply(seq, &noted);
            }
        }
        Ok(open)
    }

    /// A courier for a destination, with the lane as its events make it.
    async fn open(&self, to: Arc<InForce>, turn: &CancellationToken) -> Result<(Line, Courier), Unavailable> {
        let (bus, name) = (&self.tools.bus, to.name());
        let mut past = Past::new(self.group, to.rules(self.group.count())).beginning_after(to.begins_after());
        // One of the same name, removed since, has nothing to do with this one, nor has its checkpoint.
        let before = to.deliveries_seq();
        let kept = bus.checkpoint(&self.checkpoint(name)).await?.filter(|kept| *kept > before);
        let mut events = bus.events(&Filter::Deliveries(name.clone()), kept.unwrap_or(before));
        while let Some(Recorded { seq, event }) = events.next().await? {
            let Subject::Delivery { partition, .. } = event.subject else { continue };
            match serde_json::from_slice(&event.data) {
                Ok(DeliveryNoted::Broke { .. }) if event.time < to.tried_anew_at() => {}
                Ok(noted) => past.apply(seq, partition, &event.about, noted),
                Err(error) => tracing::warn!(%error, seq, "an event of a newer callbus is passed over"),
            }
        }
        // What happened between its being put and its being known here waits in the log, as all that a lane has not seen.
        // A lane of plain addresses is opened by the first event there is for it.
        let from = to.begins_after().map(|from_seq| from_seq.saturating_add(1)).filter(|_| kept.is_none());
        let end = bus.last_seq(&self.group.filter()).await?;
        let (lane, backlog) = past.into_lane(end, from);
        let stop = turn.child_token();
        let (courier, tell) =
            Courier::new(self.tools.clone(), self.group, Arc::clone(&to), lane, backlog, stop.clone());
        Ok((Line { to, tell, stop }, courier))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
