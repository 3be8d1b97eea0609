//! A durable consumer of JetStream.
//!
//! Of all processes that consume under one name the broker *pins* one; the others stand by. Order matters, and a
//! broker hands out new events while those a dead process held still wait for their time-out. So whoever is newly
//! pinned first sets the consumer back to its acknowledged floor and starts from there; events beyond it that were
//! done come twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, PriorityPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt;
use proto::{Filter, Stream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Broker;
use super::append::headers_of;
use super::dead::put_aside;
use super::read::recorded;
use crate::bus::{ConsumerSpec, Recorded, Verdict};
use crate::error::{ReadError, Unavailable};
use crate::lanes::{self, Delivery, HELD_MAX, Receipt, Settle};

const WHAT: &str = "consume";
const PIN_GROUP: &str = "callbus";
const PIN_ID: &str = "Nats-Pin-Id";
/// A pinned process that does not pull for this long is taken for dead; another takes over.
const PIN_TTL: Duration = Duration::from_secs(6);
/// How long a pull waits at the broker; well below [`PIN_TTL`], since each pull keeps the pin.
const PULL_EXPIRES: Duration = Duration::from_secs(2);
/// How often who stands by looks whether it should take over.
const STANDBY_LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long events that were on their way when the consumer was set back may still arrive.
const REWIND_MAX: Duration = Duration::from_secs(2);
const PULL_HEARTBEAT: Duration = Duration::from_secs(1);
const PULL_EVENTS: usize = 256;
/// An event neither settled nor said to be in progress for this long is handed out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How often an acknowledgement is tried; after that the event comes again.
const ACK_ATTEMPTS: u32 = 3;
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What acknowledges one event.
pub(crate) type NatsReceipt = Arc<Acker>;

pub(super) async fn consume<H, F>(
    broker: &Broker,
    spec: ConsumerSpec,
    handler: H,
    stop: CancellationToken,
) -> Result<(), Unavailable>
where
    H: Fn(Recorded) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    // Fails early and plainly when the consumer cannot be made; later trouble is waited out.
    make(broker, &spec).await?;
    let settle = NatsSettle { broker: broker.clone(), consumer: spec.name.clone(), progressed: Instant::now() };
    let (deliver, deliveries) = mpsc::channel(PULL_EVENTS);
    let mut feeding = JoinSet::new();
    let max_in_flight = spec.max_in_flight;
    let (name, stream) = (spec.name.clone(), spec.filter.stream());
    let (pin, pinned) = watch::channel(None);
    feeding.spawn(feed(broker.clone(), spec, deliver, pin));
    let ended = lanes::run(deliveries, Settle::Nats(Box::new(settle)), max_in_flight, handler, stop).await;
    feeding.shutdown().await;
    let pin = pinned.borrow().clone();
    if let Some(pin) = pin {
        unpin(broker, stream, &name, &pin).await;
    }
    ended
}

pub(super) async fn floor(broker: &Broker, filter: &Filter, name: &str) -> Result<u64, Unavailable> {
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(filter.stream().name())).await?;
    match broker.bounded(WHAT, stream.consumer_info(name)).await? {
        Ok(info) => Ok(info.ack_floor.stream_sequence),
        Err(error) => match error.kind() {
            ConsumerInfoErrorKind::NotFound => Ok(0),
            ConsumerInfoErrorKind::InvalidName
            | ConsumerInfoErrorKind::Offline
            | ConsumerInfoErrorKind::StreamNotFound
            | ConsumerInfoErrorKind::Request
            | ConsumerInfoErrorKind::JetStream(_)
            | ConsumerInfoErrorKind::TimedOut
            | ConsumerInfoErrorKind::NoResponders => Err(Unavailable::new(WHAT, error)),
        },
    }
}

async fn make(broker: &Broker, spec: &ConsumerSpec) -> Result<Consumer<pull::Config>, Unavailable> {
    let config = pull::Config {
        durable_name: Some(spec.name.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        filter_subject: spec.filter.to_string(),
        max_ack_pending: i64::try_from(HELD_MAX + 2 * PULL_EVENTS).unwrap_or(i64::MAX),
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec![PIN_GROUP.to_owned()],
        priority_timeout: PIN_TTL,
        ..pull::Config::default()
    };
    broker.call(WHAT, broker.jetstream.create_consumer_on_stream(config, spec.filter.stream().name())).await
}

/// Feeds the lanes for as long as somebody listens; trouble with the broker is waited out.
async fn feed(broker: Broker, spec: ConsumerSpec, deliver: mpsc::Sender<Delivery>, pin: watch::Sender<Option<String>>) {
    loop {
        match follow(&broker, &spec, &deliver, &pin).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, consumer = spec.name, "consuming was interrupted and starts again"),
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

async fn follow(
    broker: &Broker,
    spec: &ConsumerSpec,
    deliver: &mpsc::Sender<Delivery>,
    pin: &watch::Sender<Option<String>>,
) -> Result<(), Unavailable> {
    pin.send_replace(None);
    let mut consumer = make(broker, spec).await?;
    let pulling = consumer
        .stream()
        .group(PIN_GROUP)
        .max_messages_per_batch(PULL_EVENTS)
        .expires(PULL_EXPIRES)
        .heartbeat(PULL_HEARTBEAT)
        .messages();
    let mut messages = broker.call(WHAT, pulling).await?;
    // Set back: events behind this one were on their way already and come again in order, all within a moment (the one
    // it waits for may have been erased).
    let mut rewound: Option<(u64, Instant)> = None;
    free_abandoned(broker, &mut consumer).await?;
    loop {
        let Ok(message) = tokio::time::timeout(STANDBY_LOOK_EVERY, messages.next()).await else {
            if pin.borrow().is_none() {
                free_abandoned(broker, &mut consumer).await?;
            }
            continue;
        };
        let message = message.ok_or_else(|| Unavailable::new(WHAT, "the broker ended the delivery"))?;
        let message = message.map_err(|error| Unavailable::new(WHAT, error))?;
        let seq = message.info().map_err(|error| Unavailable::new(WHAT, error))?.stream_sequence;
        let pinned = message.headers.as_ref().and_then(|headers| headers.get(PIN_ID)).map(|id| id.as_str().to_owned());
        if pin.send_if_modified(|pin| std::mem::replace(pin, pinned.clone()) != pinned) {
            broker.call(WHAT, consumer.reset(None)).await?;
            rewound = Some((seq, Instant::now()));
            continue;
        }
        if rewound.is_some_and(|(first, at)| seq > first && at.elapsed() < REWIND_MAX) {
            continue;
        }
        rewound = None;
        if !hand_over(broker, spec, message, deliver).await? {
            return Ok(());
        }
    }
}

/// Nobody is pinned, yet events are held: a process died with them. Nothing would come until their time-out, unless
/// something new is published; set back, they are there at once.
async fn free_abandoned(broker: &Broker, consumer: &mut Consumer<pull::Config>) -> Result<(), Unavailable> {
    let info = broker.call(WHAT, consumer.get_info()).await?;
    let is_pinned = info.priority_groups.iter().any(|group| group.pinned_client_id.is_some());
    if info.num_ack_pending > 0 && !is_pinned {
        broker.call(WHAT, consumer.reset(None)).await?;
    }
    Ok(())
}

/// `false` when nobody listens any more.
async fn hand_over(
    broker: &Broker,
    spec: &ConsumerSpec,
    message: Message,
    deliver: &mpsc::Sender<Delivery>,
) -> Result<bool, Unavailable> {
    match recorded(&message) {
        Ok(recorded) => {
            let (_, acker) = message.split();
            let receipt = Receipt::Nats(Arc::new(acker));
            Ok(deliver.send(Delivery { recorded, receipt }).await.is_ok())
        }
        Err(ReadError::Unavailable(error)) => Err(error),
        Err(ReadError::NotAnEvent { seq, why }) => {
            let headers = message.headers.clone().unwrap_or_default();
            let (subject, payload) = (message.subject.to_string(), message.payload.clone());
            put_aside(broker, &spec.name, seq, &subject, headers, payload, &why).await?;
            broker.call(WHAT, message.double_ack()).await?;
            Ok(true)
        }
    }
}

/// Lets another process take over at once, if this one is still pinned.
async fn unpin(broker: &Broker, stream: Stream, name: &str, pin: &str) {
    let unpin = async {
        let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(stream.name())).await?;
        let info = broker.call(WHAT, stream.consumer_info(name)).await?;
        if info.priority_groups.iter().any(|group| group.pinned_client_id.as_deref() == Some(pin)) {
            broker.call(WHAT, stream.unpin_consumer(name, PIN_GROUP)).await?;
        }
        Ok::<_, Unavailable>(())
    };
    if let Err(error) = unpin.await {
        tracing::debug!(%error, consumer = name, "the consumer was not given free; another takes over in seconds");
    }
}

/// Settles with the broker.
#[derive(Clone)]
pub(crate) struct NatsSettle {
    broker: Broker,
    consumer: String,
    progressed: Instant,
}

impl NatsSettle {
    /// Acknowledges and waits until the broker has it: a lost acknowledgement would repeat a settled event.
    pub(crate) async fn done(&self, receipt: &NatsReceipt) {
        for _ in 0..ACK_ATTEMPTS {
            match self.broker.call("acknowledge an event", receipt.double_ack()).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, consumer = self.consumer, "an event may come again"),
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    pub(crate) async fn dead(&self, recorded: &Recorded, reason: &str) -> Result<(), Unavailable> {
        let event = &recorded.event;
        let headers = headers_of(&event.headers()).map_err(|error| Unavailable::new("write a dead letter", error))?;
        let subject = event.subject.to_string();
        put_aside(&self.broker, &self.consumer, recorded.seq, &subject, headers, event.data.clone(), reason).await
    }

    /// Tells the broker that what is held is not forgotten.
    pub(crate) async fn keep(&mut self, held: &BTreeMap<u64, Receipt>) {
        if self.progressed.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.progressed = Instant::now();
        let tell = async {
            for receipt in held.values() {
                if let Receipt::Nats(acker) = receipt {
                    acker.ack_with(AckKind::Progress).await.map_err(|error| Unavailable::new(WHAT, error))?;
                }
            }
            Ok::<_, Unavailable>(())
        };
        if let Err(error) = self.broker.bounded(WHAT, tell).await.and_then(|told| told) {
            tracing::warn!(%error, consumer = self.consumer, "events in work may be handed out again");
        }
    }
}
