//! A courier: carries the deliveries of one lane. It alone has the lane; all that waits for something runs beside it and
//! reports back, so that what is decided is decided in one place.
//!
//! What is about to happen is written down before it happens: that a delivery waits, that it is attempted, what became
//! of it. While the log cannot be written nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use bus::{Appended, Bus, Clock, Recorded, Unavailable};
use bytes::Bytes;
use futures::future::pending;
use jiff::Timestamp;
use outbound::Outbound;
use proto::event::json;
use proto::{Delivery, DeliveryNoted, DestinationName, Event, EventId, Group, Partition, Stream, Subject};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::in_force::InForce;
use crate::lane::{Answer, Change, Judgement, Lane, Offered, Start, Wanted};
use crate::order::{Again, LaneStanding};
use crate::route::{Body, call_of, delivery_to};
use crate::webhook;

/// The log cannot be written: wait, and try again.
const NOTE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Deliveries taken from the log in one go by a lane that reads on, and events looked at for them.
const READ_ON_DELIVERIES: usize = 250;
const READ_ON_EVENTS: usize = 10_000;
/// Pause before a reading that failed is tried again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A cause stands in the log and on screens.
const CAUSE_CHARS_MAX: usize = 200;
/// Said to a courier and not heard yet.
const TOLD_MAX: usize = 64;

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
}

/// What the tasks of one courier share.
#[derive(Debug)]
struct Bag {
    tools: Tools,
    group: Group,
    destination: DestinationName,
    stop: CancellationToken,
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
}

/// What came of an errand.
#[derive(Debug)]
enum Errand {
    /// It is written down that deliveries wait, each at its place.
    Queued(Vec<(EventId, u64)>),
    /// An attempt, written down at this place, was not taken.
    Refused {
        start: Start,
        noted_seq: u64,
        answer: Answer,
    },
    /// What became of a delivery is written down.
    Settled {
        id: EventId,
        noted_seq: u64,
        answer: Answer,
        judgement: Judgement,
        seq: u64,
    },
    Read {
        deliveries: Vec<(Delivery, String)>,
        next: u64,
    },
    NotRead,
    /// It is written down that what was read waits; `next` is where to read on.
    ReadOn {
        queued: Vec<(EventId, u64)>,
        next: u64,
    },
    Kept {
        after: u64,
    },
    /// It was given up on the way out.
    Nothing,
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
        group: Group,
        to: Arc<InForce>,
        lane: Lane,
        backlog: Option<u64>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Sender<Told>) {
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let bag = Bag { tools, group, destination: to.name().clone(), stop };
        (Self { bag: Arc::new(bag), to, lane, told, errands: JoinSet::new(), backlog, kept: 0 }, tell)
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
                () = until(wake_at, &self.bag.tools.clock) => {}
            }
        }
        while self.errands.join_next().await.is_some() {}
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
                let anew = to.destination.tried_anew_at > self.to.destination.tried_anew_at;
                self.lane.set(to.rules(self.bag.group.of));
                self.to = to;
                if anew && self.lane.mend(now) {
                    self.note_breaker(DeliveryNoted::Mended { group: self.bag.group }).await;
                }
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
                self.keep(floor, checkpoint);
            }
        }
    }

    async fn take(&mut self, errand: Errand) {
        let now = self.bag.tools.clock.now();
        match errand {
            Errand::Queued(queued) => queued.iter().for_each(|(id, seq)| self.lane.noted(id, *seq, now)),
            Errand::Refused { start, noted_seq, answer } => {
                self.lane.attempted(&start.delivery.id, noted_seq);
                let judgement = self.lane.judge(&start.delivery.id, &answer, now, fastrand::u16(0..=1000));
                self.errands.spawn(Arc::clone(&self.bag).settle(start, noted_seq, answer, judgement));
            }
            Errand::Settled { id, noted_seq, answer, judgement, seq } => {
                self.lane.attempted(&id, noted_seq);
                let group = self.bag.group;
                match self.lane.settle(&id, &answer, judgement, seq, now) {
                    Some(Change::Mended) => {
                        tracing::info!(destination = %self.bag.destination, "it can be reached again");
                        self.note_breaker(DeliveryNoted::Mended { group }).await;
                    }
                    Some(Change::Broke { gone }) => {
                        let cause = cause_of(&answer);
                        tracing::warn!(destination = %self.bag.destination, cause, gone, "deliveries are parked");
                        self.note_breaker(DeliveryNoted::Broke { group, cause, gone }).await;
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

    #[expect(clippy::disallowed_types, reason = "gauges are floats; no amount is near")]
    fn count(&self) {
        let (standing, destination) = (self.lane.standing(self.bag.group), self.bag.destination.to_string());
        let group = self.bag.group.index.to_string();
        let labels = [("destination", destination), ("group", group)];
        metrics::gauge!("callbus_deliveries_open", &labels)
            .set(u32::try_from(standing.open).map_or(f64::MAX, f64::from));
        metrics::gauge!("callbus_destination_broken", &labels).set(f64::from(u8::from(standing.broken)));
        metrics::gauge!("callbus_destination_behind", &labels).set(f64::from(u8::from(standing.behind_from.is_some())));
    }
}

impl Bag {
    /// One attempt: written down, made, and where it was taken that, too.
    async fn attempt(
        self: Arc<Self>,
        start: Start,
        to: Arc<InForce>,
        recorded: Option<Arc<Recorded>>,
        durable: Option<oneshot::Sender<()>>,
    ) -> Errand {
        let Start { delivery, call, attempt, probe, useless } = start.clone();
        let noted_seq = if useless {
            0
        } else {
            let id = EventId::of(&["attempted", delivery.id.as_str(), &attempt.to_string()]);
            let noted = DeliveryNoted::Attempted { delivery: delivery.clone(), attempt, probe };
            let Some(seq) = self.note(id, Partition::of_text(&call), &call, &noted).await else {
                return Errand::Nothing;
            };
            seq
        };
        // One that is useless comes again until it is written down that it is given up.
        if let (Some(durable), false) = (durable, useless) {
            let _ = durable.send(());
        }
        let answer = if useless {
            Answer::Hopeless { cause: "it is too old to be of use".to_owned() }
        } else {
            self.send(&delivery, attempt, &to, recorded).await
        };
        let Answer::Taken { .. } = answer else { return Errand::Refused { start, noted_seq, answer } };
        self.settle(start, noted_seq, answer, Judgement::Delivered).await
    }

    async fn send(&self, delivery: &Delivery, attempt: u32, to: &InForce, recorded: Option<Arc<Recorded>>) -> Answer {
        let recorded = match recorded {
            Some(recorded) => recorded,
            None => match self.fetch(delivery.seq).await {
                Some(Some(recorded)) => Arc::new(recorded),
                Some(None) => return Answer::Hopeless { cause: "its event is not in the log any more".to_owned() },
                None => return refused("it was interrupted"),
            },
        };
        let now = self.tools.clock.now();
        let request = webhook::request(to, &recorded, delivery.id.as_str(), attempt, now);
        match self.tools.outbound.send(request).await {
            Ok(reply) if (200..300).contains(&reply.status) => Answer::Taken { status: reply.status, took: reply.took },
            Ok(reply) => Answer::Refused {
                status: Some(reply.status),
                cause: format!("it answers {}", reply.status),
                retry_after: reply
                    .header("retry-after")
                    .filter(|_| matches!(reply.status, 429 | 503))
                    .and_then(|value| webhook::retry_after(value, now)),
            },
            Err(error) => refused(&error.to_string()),
        }
    }

    /// The event of a delivery. The outer `None`: asked to stop while the log could not be read.
    async fn fetch(&self, seq: u64) -> Option<Option<Recorded>> {
        loop {
            match self.tools.bus.event(Stream::Calls, seq).await {
                Ok(found) => return Some(found),
                Err(error) => {
                    tracing::warn!(%error, destination = %self.destination, "an event is fetched again");
                    self.stop.run_until_cancelled(sleep(NOTE_AGAIN_AFTER)).await?;
                }
            }
        }
    }

    /// Writes down what became of an attempt.
    async fn settle(self: Arc<Self>, start: Start, noted_seq: u64, answer: Answer, judgement: Judgement) -> Errand {
        let Start { delivery, call, attempt, .. } = start;
        let (what, noted) = match (&answer, judgement) {
            (Answer::Taken { status, took }, _) => {
                let took_millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let delivery = delivery.id.clone();
                ("delivered", DeliveryNoted::Delivered { delivery, attempt, status: *status, took_millis })
            }
            (_, Judgement::Failed { used, next_at }) => {
                let (delivery, status, cause) = (delivery.id.clone(), status_of(&answer), cause_of(&answer));
                ("failed", DeliveryNoted::Failed { delivery, attempt, status, cause, used, next_at })
            }
            (_, Judgement::Dead | Judgement::Delivered) => {
                let (delivery, status, cause) = (delivery.id.clone(), status_of(&answer), cause_of(&answer));
                ("dead", DeliveryNoted::Dead { delivery, attempt, status, cause })
            }
        };
        self.count(what, 1);
        let id = EventId::of(&[what, delivery.id.as_str(), &attempt.to_string()]);
        match self.note(id, Partition::of_text(&call), &call, &noted).await {
            Some(seq) => Errand::Settled { id: delivery.id, noted_seq, answer, judgement, seq },
            None => Errand::Nothing,
        }
    }

    fn count(&self, outcome: &'static str, attempts: u64) {
        let labels = [("destination", self.destination.to_string()), ("outcome", outcome.to_owned())];
        metrics::counter!("callbus_deliveries_total", &labels).increment(attempts);
    }

    /// Reads the log of the calls on from a place.
    async fn read_on(self: Arc<Self>, from: u64, to: Arc<InForce>) -> Errand {
        let read = async {
            let mut events = self.tools.bus.events(&self.group.filter(), from.saturating_sub(1));
            let (mut deliveries, mut looked) = (Vec::new(), 0);
            while deliveries.len() < READ_ON_DELIVERIES && looked < READ_ON_EVENTS {
                let Some(recorded) = events.next().await? else { break };
                looked += 1;
                let delivery = delivery_to(&recorded, &to, &Body::of(&recorded));
                deliveries.extend(delivery.map(|delivery| (delivery, call_of(&recorded).to_owned())));
            }
            Ok::<_, Unavailable>(Errand::Read { deliveries, next: events.passed_seq().saturating_add(1) })
        };
        match read.await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, destination = %self.destination, "the log is read on later");
                self.stop.run_until_cancelled(sleep(READ_AGAIN_AFTER)).await;
                Errand::NotRead
            }
        }
    }

    /// Writes down that what was read waits.
    async fn note_read(self: Arc<Self>, read: Vec<(Delivery, String)>, next: u64) -> Errand {
        let mut queued = Vec::new();
        for (delivery, call) in read {
            let id = delivery.id.clone();
            let Some(seq) = self.note_queued(delivery, &call).await else { return Errand::Nothing };
            queued.push((id, seq));
        }
        Errand::ReadOn { queued, next }
    }

    /// Writes down what an operator asked for.
    async fn note_again(
        self: Arc<Self>,
        mut known: Vec<EventId>,
        queue: Vec<Again>,
        taken: oneshot::Sender<Vec<EventId>>,
    ) -> Errand {
        let mut queued = Vec::new();
        for Again { delivery, call, attempts } in queue {
            // More attempts each time, so that it is another event each time.
            let id = EventId::of(&["retried", delivery.id.as_str(), &attempts.to_string()]);
            let asked = delivery.id.clone();
            let noted = DeliveryNoted::Retried { delivery, attempts };
            let Some(seq) = self.note(id, Partition::of_text(&call), &call, &noted).await else {
                return Errand::Nothing;
            };
            queued.push((asked, seq));
        }
        known.extend(queued.iter().map(|(id, _)| id.clone()));
        let _ = taken.send(known);
        Errand::Queued(queued)
    }

    async fn note_queued(&self, delivery: Delivery, call: &str) -> Option<u64> {
        let id = EventId::of(&["queued", delivery.id.as_str()]);
        self.note(id, Partition::of_text(call), call, &DeliveryNoted::Queued { delivery }).await
    }

    /// What is about the whole lane lies under the group's first partition, and is about no call.
    async fn note_of_lane(&self, noted: &DeliveryNoted) -> Option<u64> {
        let now = self.tools.clock.now().to_string();
        let id = EventId::of(&["lane", self.destination.as_str(), &now, &json(noted)]);
        self.note(id, self.group.first(), "", noted).await
    }

    /// Writes an event down, however long it takes; `None` when asked to stop first.
    async fn note(&self, id: EventId, partition: Partition, call: &str, noted: &DeliveryNoted) -> Option<u64> {
        let event = Event {
            id,
            subject: Subject::Delivery { destination: self.destination.clone(), partition },
            about: call.to_owned(),
            source: "delivery".to_owned(),
            time: self.tools.clock.now(),
            extra: Vec::new(),
            data: Bytes::from(json(noted)),
        };
        loop {
            match self.tools.bus.append(&event, None).await {
                Ok(Appended { seq, .. }) => return Some(seq),
                Err(error) => {
                    tracing::warn!(%error, destination = %self.destination, "nothing is sent while it cannot be recorded");
                    self.stop.run_until_cancelled(sleep(NOTE_AGAIN_AFTER)).await?;
                }
            }
        }
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

fn refused(cause: &str) -> Answer {
    Answer::Refused { status: None, cause: cause.chars().take(CAUSE_CHARS_MAX).collect(), retry_after: None }
}

fn status_of(answer: &Answer) -> Option<u16> {
    match answer {
        Answer::Taken { status, .. } => Some(*status),
        Answer::Refused { status, .. } => *status,
        Answer::Hopeless { .. } => None,
    }
}

fn cause_of(answer: &Answer) -> String {
    match answer {
        Answer::Taken { .. } => String::new(),
        Answer::Refused { cause, .. } | Answer::Hopeless { cause } => cause.clone(),
    }
}
