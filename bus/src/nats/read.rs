//! Events out of JetStream, up to where a stream ends now.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use proto::event::NotAnEvent;
use proto::{Event, Filter, Stream};

use super::Broker;
use crate::bus::Recorded;
use crate::error::{ReadError, Unavailable};

const WHAT: &str = "read the log";
/// Longest pause between two events of a replay before the broker counts as gone.
const NEXT_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn read(broker: Broker, filter: &Filter, after_seq: u64) -> BoxStream<'static, Result<Recorded, ReadError>> {
    let (stream_name, subjects) = (filter.stream().name(), filter.patterns());
    let opened = async move {
        let messages = replay(&broker, stream_name, subjects, after_seq).await?;
        Ok::<_, ReadError>(messages.map(|message| recorded(&message?)))
    };
    stream::once(opened).try_flatten().boxed()
}

/// All messages after `after_seq` that are there now, in order.
pub(super) async fn replay(
    broker: &Broker,
    stream_name: &str,
    subjects: Vec<String>,
    after_seq: u64,
) -> Result<BoxStream<'static, Result<Message, Unavailable>>, Unavailable> {
    let config = pull::OrderedConfig {
        filter_subjects: subjects,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after_seq.saturating_add(1) },
        ..pull::OrderedConfig::default()
    };
    let consumer =
        broker.call(WHAT, broker.jetstream.create_consumer_on_stream(config, stream_name.to_owned())).await?;
    // What was published before the consumer was made counts as pending on it: that is "now".
    let count = consumer.cached_info().num_pending;
    let replayed = Replayed {
        broker: broker.clone(),
        stream_name: stream_name.to_owned(),
        consumer: consumer.cached_info().name.clone(),
    };
    if count == 0 {
        replayed.forget().await;
        return Ok(stream::empty().boxed());
    }
    let messages = broker.call(WHAT, consumer.messages()).await?;
    let bounded = stream::unfold(Some((messages, count, replayed)), |state| async move {
        let (mut messages, left, replayed) = state?;
        let next = match tokio::time::timeout(NEXT_TIMEOUT, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Some((Err(Unavailable::new(WHAT, error)), None)),
            Ok(None) => return Some((Err(Unavailable::new(WHAT, "the broker ended the replay")), None)),
            Err(_) => return Some((Err(Unavailable::new(WHAT, "the broker fell silent")), None)),
        };
        // Events erased meanwhile never come, so the broker's own count of what is left ends it too.
        let pending = next.info().map_or(0, |info| info.pending);
        if left > 1 && pending > 0 {
            return Some((Ok(next), Some((messages, left - 1, replayed))));
        }
        drop(messages);
        replayed.forget().await;
        Some((Ok(next), None))
    });
    Ok(bounded.boxed())
}

/// The broker's side of a replay.
struct Replayed {
    broker: Broker,
    stream_name: String,
    consumer: String,
}

impl Replayed {
    /// Frees it at once; the broker itself would wait until it has been idle for a while.
    async fn forget(self) {
        let delete = self.broker.jetstream.delete_consumer_from_stream(&self.consumer, &self.stream_name);
        if let Err(error) = self.broker.call(WHAT, delete).await {
            tracing::debug!(%error, "a replay's consumer is left to the broker");
        }
    }
}

pub(super) async fn last_seq(broker: &Broker, filter: &Filter) -> Result<u64, Unavailable> {
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(filter.stream().name())).await?;
    let mut last_seq = 0;
    for pattern in filter.patterns() {
        let last = broker.bounded(WHAT, stream.get_last_raw_message_by_subject(&pattern)).await?;
        match last {
            Ok(message) => last_seq = message.sequence.max(last_seq),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => {}
                LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::Other => return Err(Unavailable::new(WHAT, error)),
            },
        }
    }
    Ok(last_seq)
}

pub(super) async fn event(broker: &Broker, stream: Stream, seq: u64) -> Result<Option<Recorded>, Unavailable> {
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(stream.name())).await?;
    match broker.bounded(WHAT, stream.direct_get(seq)).await? {
        Ok(found) => event_of(&found.headers, found.subject.as_str(), found.payload)
            .map(|event| Some(Recorded { seq, event }))
            .map_err(|error| Unavailable::new(WHAT, error)),
        Err(error) => match error.kind() {
            DirectGetErrorKind::NotFound => Ok(None),
            DirectGetErrorKind::InvalidSubject
            | DirectGetErrorKind::Request
            | DirectGetErrorKind::ErrorResponse(..)
            | DirectGetErrorKind::TimedOut
            | DirectGetErrorKind::Other => Err(Unavailable::new(WHAT, error)),
        },
    }
}

pub(super) fn recorded(message: &Message) -> Result<Recorded, ReadError> {
    let info = message.info().map_err(|error| Unavailable::new(WHAT, error))?;
    let seq = info.stream_sequence;
    let none = HeaderMap::new();
    let headers = message.headers.as_ref().unwrap_or(&none);
    let event = event_of(headers, message.subject.as_str(), message.payload.clone());
    Ok(Recorded { seq, event: event.map_err(|error| ReadError::NotAnEvent { seq, why: error.to_string() })? })
}

pub(super) fn event_of(headers: &HeaderMap, subject: &str, payload: Bytes) -> Result<Event, NotAnEvent> {
    let pairs = pairs_of(headers);
    Event::from_headers(subject, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())), payload)
}

/// Headers by name: the client keeps them in no order at all.
pub(super) fn pairs_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())))
        .collect();
    pairs.sort_unstable();
    pairs
}
