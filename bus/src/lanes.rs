//! Handing events to a consumer's handler: within a lane one after another, lanes side by side.
//!
//! Both arms feed this through a channel and settle through [`Settle`]; the order is decided here alone. An event that
//! waits for its retry holds its lane and no hand. What is held is bounded by [`HELD_MAX`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::Partition;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bus::{Recorded, Verdict};
use crate::embedded::EmbeddedSettle;
use crate::error::Unavailable;
use crate::nats::{NatsReceipt, NatsSettle};

/// Events of a consumer in memory at most, running and waiting for their lane.
pub(crate) const HELD_MAX: usize = 1024;
/// How often the consumer's progress is kept.
const KEEP_EVERY: Duration = Duration::from_millis(250);
/// Pause before a dead letter is written again when that failed.
const DEAD_RETRY: Duration = Duration::from_secs(1);

/// An event handed over, and what to settle it with.
pub(crate) struct Delivery {
    pub(crate) recorded: Recorded,
    pub(crate) receipt: Receipt,
}

#[derive(Clone)]
pub(crate) enum Receipt {
    Embedded,
    Nats(NatsReceipt),
}

/// Where a consumer's progress is written down.
#[derive(Clone)]
pub(crate) enum Settle {
    Embedded(EmbeddedSettle),
    Nats(Box<NatsSettle>),
}

impl Settle {
    async fn done(&self, receipt: &Receipt) {
        match (self, receipt) {
            (Self::Nats(settle), Receipt::Nats(receipt)) => settle.done(receipt).await,
            // The embedded log keeps only the floor, see `keep`.
            (Self::Embedded(_) | Self::Nats(_), Receipt::Embedded | Receipt::Nats(_)) => {}
        }
    }

    async fn dead(&self, recorded: &Recorded, reason: &str) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(settle) => settle.dead(recorded, reason).await,
            Self::Nats(settle) => settle.dead(recorded, reason).await,
        }
    }

    /// Everything up to `floor` is done, as of now.
    fn note(&self, floor: u64) {
        match self {
            Self::Embedded(settle) => settle.note(floor),
            // Each event is acknowledged by itself; the broker knows.
            Self::Nats(_) => {}
        }
    }

    /// Everything up to `floor` is done; `held` is in work or waits.
    async fn keep(&mut self, floor: u64, held: &BTreeMap<u64, Receipt>) {
        match self {
            Self::Embedded(settle) => settle.keep(floor).await,
            Self::Nats(settle) => settle.keep(held).await,
        }
    }
}

/// Runs until `stop`, or until the feed ends. Then nothing new is begun, what runs is finished, and progress is kept.
pub(crate) async fn run<H, F>(
    mut deliveries: mpsc::Receiver<Delivery>,
    settle: Settle,
    max_in_flight: usize,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), Unavailable>
where
    H: Fn(Recorded) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let worker = Arc::new(Worker { handler, hands: Semaphore::new(max_in_flight.max(1)), settle: settle.clone() });
    let mut lanes = Lanes::default();
    let mut running = JoinSet::new();
    let mut settle = settle;
    let mut keep = tokio::time::interval(KEEP_EVERY);
    keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = true;
    let mut outcome = Ok(());
    while open || !running.is_empty() {
        tokio::select! {
            // Bound before new work: a finished event frees its place first.
            biased;
            () = stop.cancelled(), if open => open = false,
            Some(finished) = running.join_next(), if !running.is_empty() => match finished {
                Ok((lane, seq, is_settled)) => {
                    let next = lanes.finished(lane, seq, is_settled);
                    settle.note(lanes.floor());
                    if let Some(next) = next.filter(|_| open) {
                        running.spawn(Arc::clone(&worker).work(lane, next, stop.clone()));
                    }
                }
                Err(error) => {
                    // The event stays unsettled and comes again with the next start.
                    outcome = Err(Unavailable::new("handle an event", error));
                    open = false;
                }
            },
            _ = keep.tick() => settle.keep(lanes.floor(), &lanes.held).await,
            delivery = deliveries.recv(), if open && lanes.held.len() < HELD_MAX => match delivery {
                Some(delivery) => {
                    if let Some((lane, first)) = lanes.arrived(delivery) {
                        running.spawn(Arc::clone(&worker).work(lane, first, stop.clone()));
                    }
                }
                None => open = false,
            },
        }
    }
    settle.keep(lanes.floor(), &lanes.held).await;
    outcome
}

#[derive(Default)]
struct Lanes {
    /// Per busy lane, what waits behind the event in work.
    waiting: HashMap<Partition, VecDeque<Delivery>>,
    /// All that is not settled, in order.
    held: BTreeMap<u64, Receipt>,
    highest: u64,
}

impl Lanes {
    /// Takes an event in; gives it back when its lane is free.
    fn arrived(&mut self, delivery: Delivery) -> Option<(Partition, Delivery)> {
        let seq = delivery.recorded.seq;
        // A broker may hand over again what is still in work here; the newer receipt counts.
        if self.held.insert(seq, delivery.receipt.clone()).is_some() {
            return None;
        }
        self.highest = self.highest.max(seq);
        let lane = delivery.recorded.event.subject.lane();
        if let Some(waiting) = self.waiting.get_mut(&lane) {
            waiting.push_back(delivery);
            return None;
        }
        self.waiting.insert(lane, VecDeque::new());
        Some((lane, delivery))
    }

    /// Ends an event's work; gives the next one of its lane.
    fn finished(&mut self, lane: Partition, seq: u64, is_settled: bool) -> Option<Delivery> {
        if is_settled {
            self.held.remove(&seq);
        }
        let next = self.waiting.get_mut(&lane).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.waiting.remove(&lane);
        }
        next
    }

    /// Everything up to here is settled.
    fn floor(&self) -> u64 {
        self.held.first_key_value().map_or(self.highest, |(first, _)| first.saturating_sub(1))
    }
}

struct Worker<H> {
    handler: Arc<H>,
    hands: Semaphore,
    settle: Settle,
}

impl<H, F> Worker<H>
where
    H: Fn(Recorded) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    /// Handles one event to its end, or until `stop` finds it waiting.
    async fn work(
        self: Arc<Self>,
        lane: Partition,
        delivery: Delivery,
        stop: CancellationToken,
    ) -> (Partition, u64, bool) {
        let seq = delivery.recorded.seq;
        loop {
            let pause = match self.attempt(delivery.recorded.clone(), &stop).await {
                None => return (lane, seq, false),
                Some(Verdict::Done) => break,
                Some(Verdict::Retry(pause)) => pause,
                Some(Verdict::Dead(reason)) => match self.settle.dead(&delivery.recorded, &reason).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, seq, "a dead letter was not written; the event is handed over again");
                        DEAD_RETRY
                    }
                },
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return (lane, seq, false),
            }
        }
        self.settle.done(&delivery.receipt).await;
        (lane, seq, true)
    }

    async fn attempt(&self, recorded: Recorded, stop: &CancellationToken) -> Option<Verdict> {
        let _hand = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            hand = self.hands.acquire() => hand.ok()?,
        };
        Some((self.handler)(recorded).await)
    }
}
