//! A desk: where one group's events come in and are handed to couriers, one for each destination.
//!
//! Of several processes one works a group's desk. It begins by reading what became of the deliveries so far, from each
//! lane's checkpoint on; it ends when the broker lets another work, whose couriers then try again what was on its way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Groups, Recorded, Unavailable, Verdict};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use proto::{DeliveryNoted, DestinationName, EventId, Filter, Partition, Share, Subject};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::courier::{Courier, Told, Tools, checkpoint};
use crate::in_force::{Destinations, InForce};
use crate::lane::past::Past;
use crate::order::{AskedAgain, LaneStanding};
use crate::route::{Body, delivery_to};

/// How often checkpoints are moved, and what failed is tried again.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// Nobody works the desk yet, or a courier is being replaced.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Lanes read from the log at the same time.
const OPENED_AT_ONCE: usize = 8;

/// Where one group's events come in.
#[derive(Debug)]
pub(crate) struct Desk {
    pub group: Share,
    groups: Groups,
    tools: Tools,
    in_force: watch::Receiver<Arc<Destinations>>,
    lines: Mutex<Arc<Vec<Line>>>,
    tending: Mutex<JoinSet<()>>,
}

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
        Arc::new(Self { group, groups, tools, in_force, lines: Mutex::default(), tending: Mutex::default() })
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
        // What is left of an earlier turn would do what this one does.
        lock(&self.tending).abort_all();
        let mut tender = Tender {
            desk: Arc::clone(&self),
            turn,
            in_force: self.in_force.clone(),
            lines: Vec::new(),
            couriers: JoinSet::new(),
        };
        tender.look().await?;
        lock(&self.tending).spawn(tender.tend());
        Ok(())
    }

    /// Hands an event to all it is for. It is done when each of them has it, or has written down that it waits.
    async fn handle(&self, recorded: Arc<Recorded>) -> Verdict {
        let lines = Arc::clone(&lock(&self.lines));
        let offers: Vec<_> = {
            let body = Body::of(&recorded);
            let offer = |line: &Line| Some((line.tell.clone(), delivery_to(&recorded, &line.to, &body)?));
            lines.iter().filter_map(offer).collect()
        };
        let durable = join_all(offers.into_iter().map(|(tell, delivery)| {
            let recorded = Arc::clone(&recorded);
            async move {
                let (durable, heard) = oneshot::channel();
                tell.send(Told::Offer { delivery, recorded, durable }).await.is_ok() && heard.await.is_ok()
            }
        }));
        if durable.await.into_iter().all(|durable| durable) { Verdict::Done } else { Verdict::Retry(RETRY_AFTER) }
    }
}

/// What operators ask.
impl Desk {
    /// Delivers again what is wanted and this group's; answers what was taken.
    pub(crate) async fn again(&self, asked: &AskedAgain) -> Vec<EventId> {
        let Some(tell) = self.courier(&asked.destination) else { return Vec::new() };
        let ours = asked.wanted.iter().filter(|again| self.group.has(Partition::of_text(&again.call)));
        let (taken, heard) = oneshot::channel();
        let told = tell.send(Told::Again { wanted: ours.cloned().collect(), taken }).await;
        if told.is_ok() { heard.await.unwrap_or_default() } else { Vec::new() }
    }

    /// How the lane of a destination stands, where this process works the group.
    pub(crate) async fn standing(&self, destination: &DestinationName) -> Option<LaneStanding> {
        let (tell, heard) = oneshot::channel();
        self.courier(destination)?.send(Told::Standing(tell)).await.ok()?;
        heard.await.ok()
    }

    fn courier(&self, destination: &DestinationName) -> Option<mpsc::Sender<Told>> {
        let lines = Arc::clone(&lock(&self.lines));
        lines.iter().find(|line| line.to.name() == destination).map(|line| line.tell.clone())
    }
}

/// Keeps one turn's couriers: as many as there are destinations.
struct Tender {
    desk: Arc<Desk>,
    turn: CancellationToken,
    in_force: watch::Receiver<Arc<Destinations>>,
    lines: Vec<Line>,
    couriers: JoinSet<()>,
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
                    // Of a destination in force only when something in it broke; another is sent.
                    for line in self.lines.extract_if(.., |line| line.tell.is_closed()) {
                        tracing::error!(destination = %line.to.name(), "its courier has ended; another is sent");
                    }
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
            Ok(floor) => drop(join_all(self.lines.iter().map(|line| line.tell.send(Told::Floor(floor)))).await),
            Err(error) => tracing::warn!(%error, "checkpoints are moved later"),
        }
    }

    /// Makes the couriers those of the destinations in force.
    async fn look(&mut self) -> Result<(), Unavailable> {
        let in_force = Arc::clone(&self.in_force.borrow_and_update());
        for gone in self.lines.extract_if(.., |line| !in_force.contains_key(line.to.name())) {
            gone.stop.cancel();
        }
        for line in &mut self.lines {
            if let Some(to) = in_force.get(line.to.name()).filter(|to| !Arc::ptr_eq(to, &line.to)) {
                line.to = Arc::clone(to);
                // Closed: it is replaced the next time.
                let _ = line.tell.send(Told::Set(Arc::clone(to))).await;
            }
        }
        let is_new = |to: &&Arc<InForce>| !self.lines.iter().any(|line| line.to.name() == to.name());
        let new: Vec<_> = in_force.values().filter(is_new).cloned().collect();
        let mut opening =
            stream::iter(new.into_iter().map(|to| self.desk.open(to, &self.turn))).buffer_unordered(OPENED_AT_ONCE);
        let mut opened = Vec::new();
        while let Some(next) = opening.next().await {
            opened.push(next?);
        }
        drop(opening);
        for (line, courier) in opened {
            self.couriers.spawn(courier.run(self.desk.checkpoint(line.to.name())));
            self.lines.push(line);
        }
        *lock(&self.desk.lines) = Arc::new(self.lines.clone());
        Ok(())
    }
}

impl Desk {
    fn checkpoint(&self, destination: &DestinationName) -> String {
        checkpoint(&self.groups.name(self.group), destination)
    }

    /// A courier for a destination, with the lane as its events make it.
    async fn open(&self, to: Arc<InForce>, turn: &CancellationToken) -> Result<(Line, Courier), Unavailable> {
        let (bus, name) = (&self.tools.bus, to.name());
        let mut past = Past::new(self.group, to.rules(self.group.count()));
        let kept = bus.checkpoint(&self.checkpoint(name)).await?;
        let mut events = bus.events(&Filter::Deliveries(name.clone()), kept.unwrap_or_default());
        while let Some(Recorded { seq, event }) = events.next().await? {
            let Subject::Delivery { partition, .. } = event.subject else { continue };
            // One of the same name, removed since, has nothing to do with this one.
            if event.time < to.destination.since {
                continue;
            }
            match serde_json::from_slice(&event.data) {
                Ok(DeliveryNoted::Broke { .. }) if event.time < to.destination.tried_anew_at => {}
                Ok(noted) => past.apply(seq, partition, &event.about, noted),
                Err(error) => tracing::warn!(%error, seq, "an event of a newer callbus is passed over"),
            }
        }
        // What happened between its being put and its being known here waits in the log, as all that a lane has not seen.
        let from = to.destination.from_seq.saturating_add(1);
        let end = bus.last_seq(&self.group.filter()).await?;
        let (lane, backlog) = past.into_lane(end, Some(from).filter(|_| kept.is_none()));
        let stop = turn.child_token();
        let (courier, tell) =
            Courier::new(self.tools.clone(), self.group, Arc::clone(&to), lane, backlog, stop.clone());
        Ok((Line { to, tell, stop }, courier))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
