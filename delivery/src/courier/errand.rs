//! What runs beside a courier: it writes down, sends, reads, and reports back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Appended, Recorded, Unavailable};
use bytes::Bytes;
use futures::future::join_all;
use proto::event::json;
use proto::{
    Delivery, DeliveryNoted, DestinationName, Event, EventId, Partition, ProfileChanged, ProfileId, Share, Stream,
    Subject,
};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Tools;
use crate::crm::Written;
use crate::in_force::{InForce, Ready};
use crate::lane::{Answer, GONE, Judgement, Start};
use crate::order::Again;
use crate::profiles::{ProfileError, Profiles};
use crate::route::{Body, call_of, deliveries_to};
use crate::{telling, webhook};

/// The log cannot be written: wait, and try again.
const NOTE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Deliveries taken from the log in one go by a lane that reads on, and events looked at for them.
const READ_ON_DELIVERIES: usize = 500;
const READ_ON_EVENTS: usize = 10_000;
/// Of the events of one reading, so much is kept for when they are sent; the others are fetched again.
const AT_HAND_BYTES_MAX: usize = 1024 * 1024;
/// Pause before a reading that failed is tried again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What came of an errand.
#[derive(Debug)]
pub(super) enum Errand {
    /// It is written down that deliveries wait, each at its place.
    Queued(Vec<(EventId, u64)>),
    /// An attempt was not taken.
    Refused {
        start: Start,
        answer: Answer,
    },
    /// What became of a delivery is written down.
    Settled {
        id: EventId,
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

/// What the tasks of one courier share.
#[derive(Debug)]
pub(super) struct Bag {
    pub tools: Tools,
    pub group: Share,
    pub destination: DestinationName,
    /// It is told under plain addresses.
    pub is_origin: bool,
    pub stop: CancellationToken,
    /// What a CRM has.
    pub written: Written,
    /// Events of the two newest readings, by their places: most of those that wait are among them.
    pub at_hand: Mutex<[HashMap<u64, Arc<Recorded>>; 2]>,
}

impl Bag {
    /// One attempt: written down, made, and where it was taken that, too.
    pub(super) async fn attempt(
        self: Arc<Self>,
        start: Start,
        to: Arc<InForce>,
        recorded: Option<Arc<Recorded>>,
        durable: Option<oneshot::Sender<()>>,
    ) -> Errand {
        let Start { delivery, call, attempt, probe, useless } = start.clone();
        if !useless {
            let id = EventId::of(&["attempted", delivery.id.as_str(), &attempt.to_string()]);
            let noted = DeliveryNoted::Attempted { delivery: delivery.clone(), attempt, probe };
            if self.note(id, Partition::of_text(&call), &call, &noted).await.is_none() {
                return Errand::Nothing;
            }
        }
        // One that is useless comes again until it is written down that it is given up.
        if let (Some(durable), false) = (durable, useless) {
            let _ = durable.send(());
        }
        let answer = if useless {
            Answer::Hopeless { status: None, cause: "it is too old to be of use".to_owned() }
        } else {
            self.send(&delivery, attempt, &to, recorded).await
        };
        let Answer::Taken { .. } = answer else { return Errand::Refused { start, answer } };
        self.settle(start, answer, Judgement::Delivered).await
    }

    async fn send(&self, delivery: &Delivery, attempt: u32, to: &InForce, recorded: Option<Arc<Recorded>>) -> Answer {
        let recorded = match recorded {
            Some(recorded) => recorded,
            None => match self.fetch(delivery.seq).await {
                Some(Some(recorded)) => recorded,
                Some(None) => {
                    return Answer::Hopeless { status: None, cause: "its event is not in the log any more".to_owned() };
                }
                None => return Answer::refused("it was interrupted"),
            },
        };
        let now = self.tools.clock.now();
        let sent = match &to.ready {
            Ready::Destination(to) => {
                if let Some(crm) = &to.crm {
                    return crm.deliver(&self.tools, &self.written, to, delivery, &recorded).await;
                }
                let request = webhook::request(to, &recorded, delivery.id.as_str(), attempt, now);
                self.tools.outbound.send(request).await.map_err(|error| Answer::refused(&error.to_string()))
            }
            Ready::Profile(_) | Ready::Origin => {
                telling::send(&self.tools, to, &recorded, delivery, attempt, now).await
            }
        };
        match sent {
            Ok(reply) if (200..300).contains(&reply.status) => {
                Answer::Taken { status: reply.status, took: reply.took, wrote: None }
            }
            // It speaks for one address, and its lane has all of a host.
            Ok(reply) if reply.status == GONE && self.is_origin => {
                Answer::Hopeless { status: Some(GONE), cause: "it answers 410".to_owned() }
            }
            Ok(reply) => Answer::Refused {
                status: Some(reply.status),
                cause: format!("it answers {}", reply.status),
                retry_after: reply
                    .header("retry-after")
                    .filter(|_| matches!(reply.status, 429 | 503))
                    .and_then(|value| webhook::retry_after(value, now)),
            },
            Err(answer) => answer,
        }
    }

    /// The lane has caught up: what comes has its event with it.
    pub(super) fn forget_read(&self) {
        *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }

    /// The event of a delivery. The outer `None`: asked to stop while the log could not be read.
    async fn fetch(&self, seq: u64) -> Option<Option<Arc<Recorded>>> {
        let find = |at_hand: &[HashMap<_, Arc<_>>; 2]| at_hand.iter().find_map(|read| read.get(&seq).cloned());
        let found = find(&self.at_hand.lock().unwrap_or_else(PoisonError::into_inner));
        if found.is_some() {
            return Some(found);
        }
        loop {
            match self.tools.bus.event(Stream::Calls, seq).await {
                Ok(found) => return Some(found.map(Arc::new)),
                Err(error) => {
                    tracing::warn!(%error, destination = %self.destination, "an event is fetched again");
                    self.stop.run_until_cancelled(sleep(NOTE_AGAIN_AFTER)).await?;
                }
            }
        }
    }

    /// Writes down what became of an attempt.
    pub(super) async fn settle(self: Arc<Self>, start: Start, answer: Answer, judgement: Judgement) -> Errand {
        let Start { delivery, call, attempt, .. } = start;
        let (what, noted) = match (&answer, judgement) {
            (Answer::Taken { status, took, wrote }, _) => {
                let took_millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let (delivery, wrote) = (delivery.id.clone(), wrote.clone());
                ("delivered", DeliveryNoted::Delivered { delivery, attempt, status: *status, took_millis, wrote })
            }
            (_, Judgement::Failed { used, next_at }) => {
                let (delivery, status, cause) = (delivery.id.clone(), answer.status(), answer.cause());
                ("failed", DeliveryNoted::Failed { delivery, attempt, status, cause, used, next_at })
            }
            (_, Judgement::Dead | Judgement::Delivered) => {
                let (delivery, status, cause) = (delivery.id.clone(), answer.status(), answer.cause());
                ("dead", DeliveryNoted::Dead { delivery, attempt, status, cause })
            }
        };
        self.count(what, 1);
        let id = EventId::of(&[what, delivery.id.as_str(), &attempt.to_string()]);
        match self.note(id, Partition::of_text(&call), &call, &noted).await {
            Some(seq) => Errand::Settled { id: delivery.id, answer, judgement, seq },
            None => Errand::Nothing,
        }
    }

    pub(super) fn count(&self, outcome: &'static str, attempts: u64) {
        // One series for each host somebody names would be too many.
        let destination = if self.is_origin { "url".to_owned() } else { self.destination.to_string() };
        let labels = [("destination", destination), ("outcome", outcome.to_owned())];
        metrics::counter!("callbus_deliveries_total", &labels).increment(attempts);
    }

    /// Reads the log of the calls on from a place.
    pub(super) async fn read_on(self: Arc<Self>, from: u64, to: Arc<InForce>) -> Errand {
        let read = async {
            let mut events = self.tools.bus.events(&self.group.filter(), from.saturating_sub(1));
            let (mut deliveries, mut looked) = (Vec::new(), 0);
            let (mut at_hand, mut bytes) = (HashMap::new(), 0);
            while deliveries.len() < READ_ON_DELIVERIES && looked < READ_ON_EVENTS {
                let Some(recorded) = events.next().await? else { break };
                looked += 1;
                let new = deliveries_to(&recorded, &to, &Body::of(&recorded));
                if new.is_empty() {
                    continue;
                }
                deliveries.extend(new.into_iter().map(|delivery| (delivery, call_of(&recorded).to_owned())));
                bytes += recorded.event.data.len();
                if bytes <= AT_HAND_BYTES_MAX {
                    at_hand.insert(recorded.seq, Arc::new(recorded));
                }
            }
            let mut kept = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
            kept.rotate_right(1);
            kept[0] = at_hand;
            drop(kept);
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

    /// Writes down that what was read waits: calls side by side, and of a call nothing before what it waits for.
    pub(super) async fn note_read(self: Arc<Self>, read: Vec<(Delivery, String)>, next: u64) -> Errand {
        let mut calls: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
        for (delivery, call) in read {
            calls.entry(call).or_default().push(delivery);
        }
        let noting = calls.into_iter().map(async |(call, deliveries)| {
            let mut queued = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                let id = delivery.id.clone();
                queued.push((id, self.note_queued(delivery, &call).await?));
            }
            Some(queued)
        });
        match join_all(noting).await.into_iter().collect::<Option<Vec<_>>>() {
            Some(queued) => Errand::ReadOn { queued: queued.concat(), next },
            None => Errand::Nothing,
        }
    }

    /// Writes down what an operator asked for.
    pub(super) async fn note_again(
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

    pub(super) async fn note_queued(&self, delivery: Delivery, call: &str) -> Option<u64> {
        let id = EventId::of(&["queued", delivery.id.as_str()]);
        self.note(id, Partition::of_text(call), call, &DeliveryNoted::Queued { delivery }).await
    }

    /// Says of a profile whether it answers, however long it takes.
    pub(super) async fn tell_profile(self: Arc<Self>, id: ProfileId, changed: ProfileChanged) -> Errand {
        let profiles = Profiles::new(self.tools.bus.clone(), self.tools.clock.clone());
        loop {
            match profiles.tell(&id, changed.clone()).await {
                Ok(_) | Err(ProfileError::Unknown(_)) => return Errand::Nothing,
                Err(error) => {
                    tracing::warn!(%error, destination = %self.destination, "its profile is told later");
                    if self.stop.run_until_cancelled(sleep(NOTE_AGAIN_AFTER)).await.is_none() {
                        return Errand::Nothing;
                    }
                }
            }
        }
    }

    /// What is about the whole lane lies under the group's first partition, and is about no call.
    pub(super) async fn note_of_lane(&self, noted: &DeliveryNoted) -> Option<u64> {
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
