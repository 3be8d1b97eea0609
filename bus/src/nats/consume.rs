//! A durable consumer of JetStream.
//!
//! Of all processes that consume under one name the broker *pins* one; the others stand by. Order matters, and a
//! broker hands out new events while those a dead process held still wait for their time-out. So whoever is newly
//! pinned first ends its work under an earlier pin, sets the consumer back to its acknowledged floor and starts from
//! there; events beyond it that were done come twice.
//!
//! One pin is one turn of work ([`Post::work`]). Pulling goes on through all of it, since who does not pull loses the
//! pin: what comes before the work has begun, or faster than it goes, waits here, bounded by the acknowledgements the
//! broker waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::MessagesErrorKind;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, Info, PriorityPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use futures::StreamExt;
use proto::{Filter, Stream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Broker;
use super::dead::put_aside;
use super::read::recorded;
use super::settle::NatsSettle;
use crate::bus::{ConsumerSpec, Recorded, Verdict};
use crate::error::{ReadError, Unavailable};
use crate::lanes::{self, Delivery, HELD_MAX, Receipt, Settle};
use crate::standing::{self, Standing, Works};

const WHAT: &str = "consume";
const PIN_GROUP: &str = "callbus";
const PIN_ID: &str = "Nats-Pin-Id";
/// A pinned process that does not pull for this long is taken for dead; another takes over.
const PIN_TTL: Duration = Duration::from_secs(6);
/// How long a pull waits at the broker; well below [`PIN_TTL`], since each pull keeps the pin.
const PULL_EXPIRES: Duration = Duration::from_secs(2);
/// How often a process to which nothing comes looks who is pinned.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long events that were on their way when the consumer was set back may still arrive.
const REWIND_MAX: Duration = Duration::from_secs(2);
const PULL_HEARTBEAT: Duration = Duration::from_secs(1);
const PULL_EVENTS: usize = 256;
/// An event neither settled nor said to be in progress for this long is handed out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Heartbeats that are late one after the other until the delivery is taken for broken.
const LATE_MAX: u8 = 3;
const RESTART_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn consume<B, G, H, F>(
    broker: &Broker,
    works: &Works,
    spec: ConsumerSpec,
    begin: B,
    handler: H,
    stop: CancellationToken,
) -> Result<(), Unavailable>
where
    B: Fn(CancellationToken) -> G + Send + Sync + 'static,
    G: Future<Output = Result<(), Unavailable>> + Send + 'static,
    H: Fn(Recorded) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    // Fails early and plainly when the consumer cannot be made; later trouble is waited out.
    make(broker, &spec).await?;
    let (broker, works) = (broker.clone(), works.clone());
    let post = Post { broker, works, spec, begin, handler: Arc::new(handler), stop };
    Turns { post: Arc::new(post), turn: None, working: JoinSet::new(), outcome: Ok(()) }.take().await
}

pub(super) async fn standing(
    broker: &Broker,
    works: &Works,
    filter: &Filter,
    name: &str,
) -> Result<Standing, Unavailable> {
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(filter.stream().name())).await?;
    // Before the consumer is looked at, so that what it has done by then counts up to here.
    let end = broker.call(WHAT, stream.get_info()).await?.state.last_sequence;
    let Some(info) = find(broker, filter.stream(), name).await? else {
        return Ok(Standing { floor: 0, ours: false, worked: false });
    };
    let (pin, done) = (pin_of(&info), info.ack_floor.stream_sequence);
    // With nothing left to do, what is beyond its last event is not for this consumer.
    let level = info.num_pending == 0 && info.num_ack_pending == 0;
    Ok(Standing {
        floor: if level { done.max(end) } else { done },
        ours: pin.is_some_and(|pin| works.has(name, Some(pin))),
        worked: pin.is_some(),
    })
}

async fn find(broker: &Broker, stream: Stream, name: &str) -> Result<Option<Info>, Unavailable> {
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(stream.name())).await?;
    match broker.bounded(WHAT, stream.consumer_info(name)).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) => match error.kind() {
            ConsumerInfoErrorKind::NotFound => Ok(None),
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

/// Where a consumer begins cannot be changed, so it is made anew.
pub(super) async fn restart(broker: &Broker, spec: &ConsumerSpec, after_seq: u64) -> Result<(), Unavailable> {
    let stream = spec.filter.stream();
    if find(broker, stream, &spec.name).await?.is_some() {
        broker.call(WHAT, broker.jetstream.delete_consumer_from_stream(&spec.name, stream.name())).await?;
    }
    let begin = DeliverPolicy::ByStartSequence { start_sequence: after_seq.saturating_add(1) };
    create(broker, spec, begin).await.map(drop)
}

fn pin_of(info: &Info) -> Option<&str> {
    info.priority_groups.iter().find_map(|group| group.pinned_client_id.as_deref())
}

/// What all turns of one call share.
struct Post<B, H> {
    broker: Broker,
    works: Works,
    spec: ConsumerSpec,
    begin: B,
    handler: Arc<H>,
    stop: CancellationToken,
}

impl<B, G, H, F> Post<B, H>
where
    B: Fn(CancellationToken) -> G,
    G: Future<Output = Result<(), Unavailable>>,
    H: Fn(Recorded) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    /// One turn: begins, then works until the pin is lost or the consumer is stopped.
    async fn work(
        self: Arc<Self>,
        pin: String,
        lost: CancellationToken,
        deliveries: mpsc::Receiver<Delivery>,
    ) -> Result<(), Unavailable> {
        let name = &self.spec.name;
        if !standing::begun(&self.begin, name, &lost).await {
            return Ok(());
        }
        let _work = self.works.enter(name, Some(&pin));
        let settle = Settle::Nats(Box::new(NatsSettle::new(self.broker.clone(), name.clone())));
        lanes::run(deliveries, settle, self.spec.max_in_flight, Arc::clone(&self.handler), lost).await
    }
}

/// The turns of this process, one after another.
struct Turns<B, H> {
    post: Arc<Post<B, H>>,
    turn: Option<Turn>,
    /// The work of `turn`, or what is left of the one before.
    working: JoinSet<Result<(), Unavailable>>,
    outcome: Result<(), Unavailable>,
}

/// The broker has pinned this process.
struct Turn {
    pin: String,
    lost: CancellationToken,
    /// The sequences that came before the work was started; they come again.
    came: BTreeSet<u64>,
    /// Where the work takes events from; `None` until what is left of the turn before has ended.
    deliver: Option<mpsc::Sender<Delivery>>,
}

impl<B, G, H, F> Turns<B, H>
where
    B: Fn(CancellationToken) -> G + Send + Sync + 'static,
    G: Future<Output = Result<(), Unavailable>> + Send + 'static,
    H: Fn(Recorded) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    /// Until the consumer is stopped or a handler panics; trouble with the broker is waited out.
    async fn take(mut self) -> Result<(), Unavailable> {
        let (post, stop) = (Arc::clone(&self.post), self.post.stop.clone());
        while let Err(error) = self.follow().await {
            tracing::warn!(%error, consumer = post.spec.name, "consuming was interrupted and starts again");
            self.lose();
            if stop.run_until_cancelled(tokio::time::sleep(RESTART_PAUSE)).await.is_none() {
                break;
            }
        }
        while let Some(ended) = self.working.join_next().await {
            self.ended(ended);
        }
        if let Some(turn) = &self.turn {
            unpin(&post.broker, &post.spec, &turn.pin).await;
        }
        self.outcome
    }

    async fn follow(&mut self) -> Result<(), Unavailable> {
        let post = Arc::clone(&self.post);
        let mut consumer = make(&post.broker, &post.spec).await?;
        let pulling = consumer
            .stream()
            .group(PIN_GROUP)
            .max_messages_per_batch(PULL_EVENTS)
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT)
            .messages();
        let mut messages = post.broker.call(WHAT, pulling).await?;
        // By sequence: the broker hands out again what has waited too long.
        let mut waiting = BTreeMap::new();
        let mut rewound = None;
        let (mut late, mut late_at) = (0, Instant::now());
        self.look(&mut consumer).await?;
        loop {
            let message = tokio::select! {
                biased;
                () = post.stop.cancelled(), if self.working.is_empty() => return Ok(()),
                Some(ended) = self.working.join_next() => {
                    self.ended(ended);
                    if post.stop.is_cancelled() || self.outcome.is_err() {
                        return Ok(());
                    }
                    rewound = self.start(&mut consumer).await?;
                    continue;
                }
                Some(room) = room(self.turn.as_ref()), if !waiting.is_empty() => {
                    if let Some((_, delivery)) = waiting.pop_first() {
                        room.send(delivery);
                    }
                    continue;
                }
                message = tokio::time::timeout(LOOK_EVERY, messages.next()) => message,
            };
            let Ok(message) = message else {
                self.look(&mut consumer).await?;
                continue;
            };
            let message = match message.ok_or_else(|| Unavailable::new(WHAT, "the broker ended the delivery"))? {
                Ok(message) => message,
                // A busy broker is late with its heartbeat; the delivery goes on. To give up the turn would be to read
                // again all that it begins with, and the busier the broker, the more often.
                Err(error) if matches!(error.kind(), MessagesErrorKind::MissingHeartbeat) => {
                    late = if late_at.elapsed() < LOOK_EVERY * 2 { late + 1 } else { 1 };
                    late_at = Instant::now();
                    if late > LATE_MAX {
                        return Err(Unavailable::new(WHAT, error));
                    }
                    self.look(&mut consumer).await?;
                    continue;
                }
                Err(error) => return Err(Unavailable::new(WHAT, error)),
            };
            let seq = message.info().map_err(|error| Unavailable::new(WHAT, error))?.stream_sequence;
            if self.pinned(&message, seq) {
                waiting.clear();
                rewound = self.start(&mut consumer).await?;
                continue;
            }
            if self.turn.as_ref().is_some_and(|turn| turn.deliver.is_none())
                || rewound.is_some_and(|rewound: Rewound| rewound.is_behind(seq))
            {
                continue;
            }
            rewound = None;
            if let Some(delivery) = delivery_of(&post.broker, &post.spec, message).await? {
                waiting.insert(seq, delivery);
            }
        }
    }

    /// Whether the message brings a new pin; then the turn before ends.
    fn pinned(&mut self, message: &Message, seq: u64) -> bool {
        let pin = message.headers.as_ref().and_then(|headers| headers.get(PIN_ID)).map_or("", |pin| pin.as_str());
        match &mut self.turn {
            Some(turn) if turn.pin == pin => {
                if turn.deliver.is_none() {
                    turn.came.insert(seq);
                }
                false
            }
            Some(_) | None => {
                self.lose();
                let lost = self.post.stop.child_token();
                self.turn = Some(Turn { pin: pin.to_owned(), lost, came: BTreeSet::from([seq]), deliver: None });
                true
            }
        }
    }

    /// Starts the turn's work from the floor, unless there is no turn, or work of an earlier one still runs: what that
    /// acknowledges must be under the floor before the new work begins.
    async fn start(&mut self, consumer: &mut Consumer<pull::Config>) -> Result<Option<Rewound>, Unavailable> {
        let Some(turn) = self.turn.as_mut().filter(|_| self.working.is_empty()) else { return Ok(None) };
        let reset = self.post.broker.call(WHAT, consumer.reset(None)).await?;
        let (deliver, deliveries) = mpsc::channel(1);
        turn.deliver = Some(deliver);
        self.working.spawn(Arc::clone(&self.post).work(turn.pin.clone(), turn.lost.clone(), deliveries));
        // What came comes again, but for what the turn before has acknowledged since.
        let first = turn.came.range(reset.reset_seq..).next().copied().unwrap_or(reset.reset_seq);
        Ok(Some(Rewound { first, at: Instant::now() }))
    }

    /// The turn is over; what runs is finished.
    fn lose(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.lost.cancel();
        }
    }

    fn ended(&mut self, ended: Result<Result<(), Unavailable>, JoinError>) {
        let ended = ended.unwrap_or_else(|error| Err(Unavailable::new("begin to consume", error)));
        if self.outcome.is_ok() {
            self.outcome = ended;
        }
    }

    /// Nothing has come for a while. Another may be pinned by now. Or nobody is, yet events are held: a process died
    /// with them. Nothing would come until their time-out, unless something new is published; set back, they are there
    /// at once. Where somebody is always to work, the last event comes again, since a pin is given with an event.
    async fn look(&mut self, consumer: &mut Consumer<pull::Config>) -> Result<(), Unavailable> {
        let broker = &self.post.broker;
        let info = broker.call(WHAT, consumer.get_info()).await?;
        let pin = pin_of(&info);
        let done = info.ack_floor.stream_sequence;
        if pin.is_none() && info.num_ack_pending > 0 {
            broker.call(WHAT, consumer.reset(None)).await?;
        } else if pin.is_none() && self.post.spec.always_worked && done > 0 && info.num_pending == 0 {
            broker.call(WHAT, consumer.reset(Some(done))).await?;
        }
        if self.turn.as_ref().is_some_and(|turn| pin != Some(&turn.pin)) {
            self.lose();
        }
        Ok(())
    }
}

/// The consumer was set back: events behind this one were on their way already and come again in order, all within a
/// moment (the one it waits for may have been erased).
#[derive(Clone, Copy)]
struct Rewound {
    first: u64,
    at: Instant,
}

impl Rewound {
    fn is_behind(self, seq: u64) -> bool {
        seq > self.first && self.at.elapsed() < REWIND_MAX
    }
}

/// Waits until the work takes one more; `None` when there is no work.
fn room(turn: Option<&Turn>) -> impl Future<Output = Option<mpsc::OwnedPermit<Delivery>>> + use<> {
    let deliver = turn.and_then(|turn| turn.deliver.clone());
    async move { deliver?.reserve_owned().await.ok() }
}

/// `None` when it is not an event; then it is put aside.
async fn delivery_of(broker: &Broker, spec: &ConsumerSpec, message: Message) -> Result<Option<Delivery>, Unavailable> {
    match recorded(&message) {
        Ok(recorded) => {
            let (_, acker) = message.split();
            Ok(Some(Delivery { recorded, receipt: Receipt::Nats(Arc::new(acker)) }))
        }
        Err(ReadError::Unavailable(error)) => Err(error),
        Err(ReadError::NotAnEvent { seq, why }) => {
            let headers = message.headers.clone().unwrap_or_default();
            let (subject, payload) = (message.subject.to_string(), message.payload.clone());
            put_aside(broker, &spec.name, seq, &subject, headers, payload, &why).await?;
            broker.call(WHAT, message.double_ack()).await?;
            Ok(None)
        }
    }
}

/// Lets another process take over at once, if this one is still pinned.
async fn unpin(broker: &Broker, spec: &ConsumerSpec, pin: &str) {
    let (stream, name) = (spec.filter.stream(), &spec.name);
    let unpin = async {
        let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(stream.name())).await?;
        let info = broker.call(WHAT, stream.consumer_info(name)).await?;
        if pin_of(&info) == Some(pin) {
            broker.call(WHAT, stream.unpin_consumer(name, PIN_GROUP)).await?;
        }
        Ok::<_, Unavailable>(())
    };
    if let Err(error) = unpin.await {
        tracing::debug!(%error, consumer = name, "the consumer was not given free; another takes over in seconds");
    }
}

/// Finds the consumer, or makes it where that is this process's to do. Where it begins cannot be changed.
async fn make(broker: &Broker, spec: &ConsumerSpec) -> Result<Consumer<pull::Config>, Unavailable> {
    let stream = spec.filter.stream();
    match find(broker, stream, &spec.name).await? {
        Some(_) if !broker.provisions => {
            broker.call(WHAT, broker.jetstream.get_consumer_from_stream(&spec.name, stream.name())).await
        }
        None if !broker.provisions => {
            broker.must_provision(&format!("the consumer {}", spec.name))?;
            Err(Unavailable::new(WHAT, format!("there is no consumer {}", spec.name)))
        }
        found => create(broker, spec, found.map_or(DeliverPolicy::All, |info| info.config.deliver_policy)).await,
    }
}

async fn create(
    broker: &Broker,
    spec: &ConsumerSpec,
    begin: DeliverPolicy,
) -> Result<Consumer<pull::Config>, Unavailable> {
    let config = pull::Config { deliver_policy: begin, ..config(spec) };
    broker.call(WHAT, broker.jetstream.create_consumer_on_stream(config, spec.filter.stream().name())).await
}

/// What a durable consumer is to the broker.
pub(super) fn config(spec: &ConsumerSpec) -> pull::Config {
    let mut patterns = spec.filter.patterns();
    let one = if patterns.len() == 1 { patterns.remove(0) } else { String::new() };
    pull::Config {
        durable_name: Some(spec.name.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        filter_subject: one,
        filter_subjects: patterns,
        max_ack_pending: i64::try_from(HELD_MAX + 2 * PULL_EVENTS).unwrap_or(i64::MAX),
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec![PIN_GROUP.to_owned()],
        priority_timeout: PIN_TTL,
        ..pull::Config::default()
    }
}
