//! Consumers of programs that are not callbus, in any language: made here by name, so that no one else needs the right
//! to make one. They pull and acknowledge; what they cannot handle becomes a dead letter.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, pull};
use async_nats::jetstream::stream::{ConsumerErrorKind, ConsumerResetErrorKind};
use futures::TryStreamExt;
use proto::subject::calls_pattern;
use proto::{Filter, Kind, Share, Stream};

use super::{Broker, dead};
use crate::error::Unavailable;

/// An event that is not acknowledged comes again after these pauses, and after the last no more.
const AGAIN_AFTER: [Duration; 5] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
    Duration::from_secs(7_200),
];
const DELIVERIES_MAX: i64 = AGAIN_AFTER.len() as i64 + 1;
/// Events handed out and not acknowledged at most.
const UNACKNOWLEDGED_MAX: i64 = 1_000;

/// What somebody subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Empty: all of them.
    pub kinds: Vec<Kind>,
    /// Of the calls.
    pub share: Share,
    pub begin: Begin,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the first event of the log.
    Beginning,
    /// With what comes after it was made.
    Now,
    /// At this sequence of the calls.
    At(u64),
}

/// How far a consumer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The consumer's durable name.
    pub name: String,
    /// What it reads.
    pub stream: Stream,
    /// The subjects it is handed.
    pub filters: Vec<String>,
    /// All up to this sequence of the stream is done.
    pub floor: u64,
    /// Not handed out yet.
    pub pending: u64,
    /// Handed out, and not acknowledged yet.
    pub unacknowledged: u64,
    /// Of those, the ones that came again.
    pub redelivered: u64,
}

/// What came of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscribed {
    Made,
    /// One of this name is there and reads the same; it stays where it is.
    Was,
    /// One of this name is there and reads these subjects instead; it stays as it is.
    ReadsOther(Vec<String>),
}

pub(super) async fn add(broker: &Broker, subscription: &Subscription) -> Result<Subscribed, Unavailable> {
    add_filtered(broker, &subscription.name, filters(subscription), subscription.begin).await
}

/// As [`add`], by the broker's own spelling of what it is handed.
pub(super) async fn add_filtered(
    broker: &Broker,
    name: &str,
    filters: Vec<String>,
    begin: Begin,
) -> Result<Subscribed, Unavailable> {
    const WHAT: &str = "add a consumer";
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: match begin {
            Begin::Beginning => DeliverPolicy::All,
            Begin::Now => DeliverPolicy::New,
            Begin::At(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        },
        ack_policy: AckPolicy::Explicit,
        max_deliver: DELIVERIES_MAX,
        backoff: AGAIN_AFTER.to_vec(),
        max_ack_pending: UNACKNOWLEDGED_MAX,
        filter_subjects: filters.clone(),
        ..pull::Config::default()
    };
    let stream = Stream::Calls.name();
    let found = broker.bounded(WHAT, broker.jetstream.get_consumer_from_stream::<pull::Config, _, _>(name, stream));
    match found.await? {
        Ok(there) => {
            let there = lag(Stream::Calls, there.cached_info().clone()).filters;
            let same = BTreeSet::from_iter(&there) == BTreeSet::from_iter(&or_all(Stream::Calls, filters));
            return Ok(if same { Subscribed::Was } else { Subscribed::ReadsOther(there) });
        }
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
            ConsumerErrorKind::TimedOut
            | ConsumerErrorKind::Request
            | ConsumerErrorKind::InvalidConsumerType
            | ConsumerErrorKind::InvalidName
            | ConsumerErrorKind::JetStream(_)
            | ConsumerErrorKind::Other => return Err(Unavailable::new(WHAT, error)),
        },
    }
    broker.call(WHAT, broker.jetstream.create_consumer_on_stream(config, stream)).await.map(|_| Subscribed::Made)
}

/// None: everything.
fn filters(subscription: &Subscription) -> Vec<String> {
    let Subscription { kinds, share, .. } = subscription;
    if *share == Share::WHOLE {
        return kinds.iter().flat_map(|kind| Filter::Kind(*kind).patterns()).collect();
    }
    let kinds = if kinds.is_empty() { vec![None] } else { kinds.iter().copied().map(Some).collect() };
    share.partitions().flat_map(|partition| kinds.iter().map(move |kind| calls_pattern(*kind, partition))).collect()
}

/// False when there was none.
pub(super) async fn remove(broker: &Broker, name: &str) -> Result<bool, Unavailable> {
    const WHAT: &str = "remove a consumer";
    if !lags(broker).await?.iter().any(|lag| lag.stream == Stream::Calls && lag.name == name) {
        return Ok(false);
    }
    let delete = broker.jetstream.delete_consumer_from_stream(name, Stream::Calls.name());
    broker.call(WHAT, delete).await?;
    dead::forget(broker, name, 0).await?;
    Ok(true)
}

/// Everything from `seq` on comes again, so that none of it is a dead letter any more. False when the broker refuses:
/// the consumer began later.
pub(super) async fn rewind(broker: &Broker, name: &str, seq: u64) -> Result<bool, Unavailable> {
    const WHAT: &str = "set a consumer back";
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(Stream::Calls.name())).await?;
    match broker.bounded(WHAT, stream.reset_consumer(name, Some(seq.max(1)))).await? {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ConsumerResetErrorKind::InvalidReset) => return Ok(false),
        Err(error) => return Err(Unavailable::new(WHAT, error)),
    }
    dead::forget(broker, name, seq).await?;
    Ok(true)
}

/// All durable consumers.
pub(super) async fn lags(broker: &Broker) -> Result<Vec<Lag>, Unavailable> {
    const WHAT: &str = "list consumers";
    let mut lags = Vec::new();
    for stream in Stream::ALL {
        let found = broker.call(WHAT, broker.jetstream.get_stream_no_info(stream.name())).await?;
        let infos: Vec<Info> = broker.call(WHAT, found.consumers().try_collect()).await?;
        lags.extend(infos.into_iter().filter(|info| info.config.durable_name.is_some()).map(|info| lag(stream, info)));
    }
    Ok(lags)
}

fn lag(stream: Stream, info: Info) -> Lag {
    let one = Some(info.config.filter_subject).filter(|filter| !filter.is_empty());
    let filters: Vec<String> = info.config.filter_subjects.into_iter().chain(one).collect();
    Lag {
        name: info.name,
        stream,
        filters: or_all(stream, filters),
        floor: info.ack_floor.stream_sequence,
        pending: info.num_pending,
        unacknowledged: info.num_ack_pending as u64,
        redelivered: info.num_redelivered as u64,
    }
}

/// No filter is all of the stream.
fn or_all(stream: Stream, filters: Vec<String>) -> Vec<String> {
    if filters.is_empty() { vec![stream.subjects().to_owned()] } else { filters }
}
