//! A courier: carries the deliveries of one lane. It alone has the lane; all that waits for something runs beside it and
//! reports back, so that what is decided is decided in one place.
//!
//! What is about to happen is written down before it happens: that a delivery waits, that it is attempted, what became
//! of it. While the log cannot be written nothing is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, Clock, Recorded};
use futures::future::pending;
use jiff::Timestamp;
use outbound::Outbound;
use proto::{Delivery, DeliveryNoted, DestinationName, EventId, ProfileChanged, Share};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::crm::Written;
use crate::in_force::{InForce, Ready};
use crate::lane::{Change, Lane, Offered, Wanted};
use crate::order::{Again, LaneStanding};
use crate::profile::Status;
use crate::route::call_of;
use crate::tokens::Tokens;

mod errand;

use errand::{Bag, Errand};

/// Said to a courier and not heard yet.
const TOLD_MAX: usize = 64;
/// A lane of plain addresses ends when it was empty so often that its group looked, every five seconds.
const IDLE_LOOKS: u32 = 12;

/// What a courier is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// An event for its destination. `durable` hears when it need not come again.
    Offer {
        delivery: Delivery,
        recorded: Arc<Recorded>,
        durable: oneshot::Sender<()>,
    },
    /// The destination was changed.
    Set(Arc<InForce>),
    /// All events of the calls up to here are done.
    Floor(u64),
    /// An operator wants these again. Those that are taken are told when it is written down.
    Again {
        wanted: Vec<Again>,
        taken: oneshot::Sender<Vec<EventId>>,
    },
    Standing(oneshot::Sender<LaneStanding>),
}

/// What couriers work with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub bus: Bus,
    pub outbound: Outbound,
    pub clock: Clock,
    pub tokens: Tokens,
}

/// The courier of one lane.
#[derive(Debug)]
pub(crate) struct Courier {
    bag: Arc<Bag>,
    to: Arc<InForce>,
    lane: Lane,
    told: mpsc::Receiver<Told>,
    /// What runs beside it.
    errands: JoinSet<Errand>,
    backlog: Option<u64>,
    /// Where its checkpoint stands.
    kept: u64,
    /// How often in a row it was found empty.
    idle_looks: u32,
}

/// Name of the checkpoint of one lane: the place in `DELIVERIES` after which its events begin.
pub(crate) fn checkpoint(group: &str, destination: &DestinationName) -> String {
    format!("{group}.{destination}")
}

impl Courier {
    /// A courier for a lane, and where it is told things. `backlog`: where in `CALLS` something waits, to be written down
    /// as this group's.
    pub(crate) fn new(
        tools: Tools,
        group: Share,
        to: Arc<InForce>,
        lane: Lane,
        backlog: Option<u64>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Sender<Told>) {
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let written = Written::new(group);
        let (destination, is_origin) = (to.name().clone(), to.is_origin());
        let bag = Bag { tools, group, destination, is_origin, stop, written, at_hand: Mutex::default() };
        (Self { bag: Arc::new(bag), to, lane, told, errands: JoinSet::new(), backlog, kept: 0, idle_looks: 0 }, tell)
    }

    /// Works until asked to stop; then begins nothing, and finishes what is on its way.
    pub(crate) async fn run(mut self, checkpoint: String) {
        let stop = self.bag.stop.clone();
        for outcome in ["delivered", "failed", "dead"] {
            self.bag.count(outcome, 0);
        }
        self.count();
        if let Some(from) = self.backlog {
            self.note_backlog(from).await;
        }
        self.agree_with_profile();
        loop {
            let wake_at = self.begin();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.errands.join_next() => match done {
                    Ok(errand) => self.take(errand).await,
                    // What it was about is lost to this courier; the next one reads it from the log.
                    Err(_) => break,
                },
                told = self.told.recv() => match told {
                    Some(told) => self.hear(told, &checkpoint).await,
                    None => break,
                },
                () = async {}, if self.idle_looks >= IDLE_LOOKS && self.errands.is_empty() => break,
                () = until(wake_at, &self.bag.tools.clock) => {}
            }
        }
        while self.errands.join_next().await.is_some() {}
        // Whoever works the group now says how it stands.
        self.gauge(LaneStanding {
            open: 0,
            broken: false,
            gone: false,
            waits: false,
            behind_from: None,
            group: self.bag.group,
        });
    }

    /// Begins all that is to be done now; says when to look again.
    fn begin(&mut self) -> Option<Timestamp> {
        let next = self.lane.next(self.bag.tools.clock.now());
        for start in next.starts {
            self.errands.spawn(Arc::clone(&self.bag).attempt(start, Arc::clone(&self.to), None, None));
        }
        if let Some(from) = next.read_from {
            self.errands.spawn(Arc::clone(&self.bag).read_on(from, Arc::clone(&self.to)));
        }
        next.wake_at
    }

    async fn hear(&mut self, told: Told, checkpoint: &str) {
        let now = self.bag.tools.clock.now();
        match told {
            Told::Offer { delivery, recorded, durable } => {
                let call = call_of(&recorded);
                match self.lane.offer(delivery.clone(), call, now) {
                    // Whoever no longer waits does not mind.
                    Offered::Known | Offered::Behind => {
                        let _ = durable.send(());
                    }
                    Offered::FellBehind { from } => {
                        if self.note_backlog(from).await {
                            let _ = durable.send(());
                        }
                    }
                    Offered::Queue => {
                        let (bag, call) = (Arc::clone(&self.bag), call.to_owned());
                        self.errands.spawn(async move {
                            let id = delivery.id.clone();
                            let Some(seq) = bag.note_queued(delivery, &call).await else { return Errand::Nothing };
                            let _ = durable.send(());
                            Errand::Queued(vec![(id, seq)])
                        });
                    }
                    Offered::Start(start) => {
                        let to = Arc::clone(&self.to);
                        self.errands.spawn(Arc::clone(&self.bag).attempt(start, to, Some(recorded), Some(durable)));
                    }
                }
            }
            Told::Set(to) => {
                let anew = to.tried_anew_at() > self.to.tried_anew_at();
                self.lane.set(to.rules(self.bag.group.count()));
                self.to = to;
                if anew && self.lane.mend(now) {
                    self.note_breaker(DeliveryNoted::Mended { group: self.bag.group }).await;
                }
                self.agree_with_profile();
            }
            Told::Again { wanted, taken } => {
                let (mut known, mut queue) = (Vec::new(), Vec::new());
                for again in wanted {
                    match self.lane.retry(again.delivery.clone(), &again.call, again.attempts) {
                        Wanted::Known => known.push(again.delivery.id),
                        Wanted::Queue => queue.push(again),
                        Wanted::Full => {}
                    }
                }
                self.errands.spawn(Arc::clone(&self.bag).note_again(known, queue, taken));
            }
            Told::Standing(tell) => {
                let _ = tell.send(self.lane.standing(self.bag.group));
            }
            Told::Floor(floor) => {
                self.lane.forget(floor);
                self.count();
                if self.lane.standing(self.bag.group).behind_from.is_none() {
                    self.bag.forget_read();
                }
                self.keep(floor, checkpoint);
                let idle = self.to.is_origin() && self.lane.is_idle(floor);
                self.idle_looks = if idle { self.idle_looks + 1 } else { 0 };
            }
        }
    }

    async fn take(&mut self, errand: Errand) {
        let now = self.bag.tools.clock.now();
        match errand {
            Errand::Queued(queued) => queued.iter().for_each(|(id, seq)| self.lane.noted(id, *seq, now)),
            Errand::Refused { start, answer } => {
                let judgement = self.lane.judge(&start.delivery.id, &answer, now, fastrand::u16(0..=1000));
                self.errands.spawn(Arc::clone(&self.bag).settle(start, answer, judgement));
            }
            Errand::Settled { id, answer, judgement, seq } => {
                let group = self.bag.group;
                match self.lane.settle(&id, &answer, judgement, seq, now) {
                    Some(Change::Mended) => {
                        tracing::info!(destination = %self.bag.destination, "it can be reached again");
                        self.note_breaker(DeliveryNoted::Mended { group }).await;
                        self.tell_profile(None);
                    }
                    Some(Change::Broke { gone }) => {
                        let cause = answer.cause();
                        tracing::warn!(destination = %self.bag.destination, cause, gone, "deliveries are parked");
                        self.note_breaker(DeliveryNoted::Broke { group, cause: cause.clone(), gone }).await;
                        self.tell_profile(Some(cause));
                    }
                    None => {}
                }
            }
            Errand::Read { deliveries, next } => {
                let new = self.lane.read_on(deliveries, next);
                self.errands.spawn(Arc::clone(&self.bag).note_read(new, next));
            }
            Errand::NotRead => self.lane.not_read(),
            Errand::ReadOn { queued, next } => {
                queued.iter().for_each(|(id, seq)| self.lane.noted(id, *seq, now));
                self.note_backlog(next).await;
            }
            Errand::Kept { after } => self.kept = after,
            Errand::Nothing => {}
        }
    }

    /// What is about the whole lane is written down here and not beside: in its order, and before anything is done on
    /// the strength of it.
    async fn note_breaker(&mut self, noted: DeliveryNoted) {
        if let Some(seq) = self.bag.note_of_lane(&noted).await {
            self.lane.breaker_noted(seq);
        }
    }

    /// What is said of it may be old, by another group, or have been lost on the way. That it answers only its own group
    /// knows.
    fn agree_with_profile(&mut self) {
        if self.lane.is_broken() || self.bag.group == Share::WHOLE {
            self.tell_profile(None);
        }
    }

    /// Whoever looks at a profile sees whether it answers. `cause`: why it does not.
    fn tell_profile(&mut self, cause: Option<String>) {
        let Ready::Profile(to) = &self.to.ready else { return };
        let changed = match (self.lane.is_broken(), to.profile.status) {
            (true, Status::Active) => {
                ProfileChanged::AutoDisabled { cause: cause.unwrap_or_else(|| "it does not answer".to_owned()) }
            }
            (false, Status::AutoDisabled) => ProfileChanged::Recovered,
            (true, Status::AutoDisabled | Status::Disabled) | (false, Status::Active | Status::Disabled) => return,
        };
        let profile = to.profile.id.clone();
        self.errands.spawn(Arc::clone(&self.bag).tell_profile(profile, changed));
    }

    /// The same of where something waits in the log; false when asked to stop first.
    async fn note_backlog(&mut self, from: u64) -> bool {
        let group = self.bag.group;
        let Some(seq) = self.bag.note_of_lane(&DeliveryNoted::FellBehind { group, from }).await else { return false };
        if self.lane.backlog_noted(seq)
            && let Some(seq) = self.bag.note_of_lane(&DeliveryNoted::CaughtUp { group }).await
        {
            self.lane.saw(seq);
        }
        true
    }

    /// Writes down where a takeover has to begin to read, where that has moved.
    fn keep(&mut self, floor: u64, checkpoint: &str) {
        let Some(after) = self.lane.oldest_needed(floor).map(|oldest| oldest - 1).filter(|after| *after > self.kept)
        else {
            return;
        };
        let (bus, name) = (self.bag.tools.bus.clone(), checkpoint.to_owned());
        self.errands.spawn(async move {
            match bus.set_checkpoint(&name, after).await {
                Ok(()) => Errand::Kept { after },
                Err(error) => {
                    tracing::warn!(%error, "a checkpoint was not moved");
                    Errand::Nothing
                }
            }
        });
    }

    fn count(&self) {
        self.gauge(self.lane.standing(self.bag.group));
    }

    #[expect(clippy::disallowed_types, reason = "gauges are floats; no amount is near")]
    fn gauge(&self, standing: LaneStanding) {
        // One series for each host somebody names would be too many.
        if self.bag.is_origin {
            return;
        }
        let labels = [("destination", self.bag.destination.to_string()), ("group", self.bag.group.nth().to_string())];
        metrics::gauge!("callbus_deliveries_open", &labels)
            .set(u32::try_from(standing.open).map_or(f64::MAX, f64::from));
        metrics::gauge!("callbus_destination_broken", &labels).set(f64::from(u8::from(standing.broken)));
        metrics::gauge!("callbus_destination_behind", &labels).set(f64::from(u8::from(standing.behind_from.is_some())));
    }
}

async fn until(wake_at: Option<Timestamp>, clock: &Clock) {
    match wake_at {
        Some(at) => {
            let pause = Duration::try_from(at.duration_since(clock.now())).unwrap_or_default();
            // Never early: what is due at a millisecond is due behind it.
            sleep(pause + Duration::from_millis(1)).await;
        }
        None => pending().await,
    }
}
