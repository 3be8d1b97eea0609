//! Events a consumer has put aside: a small stream, one subject per consumer, visible to everybody. Of consumers that
//! are not ours the broker says it: events nobody acknowledged in so many deliveries, or that were refused for good.

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::message::PublishMessage;
use futures::stream::StreamExt;
use jiff::Timestamp;
use proto::{EventId, Stream, Subject};
use serde::Deserialize;

use super::Broker;
use super::broker::{ADVISORIES, DEAD_STREAM};
use super::read::{event_of, replay};
use crate::bus::DeadLetter;
use crate::error::Unavailable;

const SEQ: &str = "callbus-seq";
const SUBJECT: &str = "callbus-subject";
const REASON: &str = "callbus-reason";
const AT: &str = "callbus-at";

/// The consumer itself said that it never wants the event again.
const TERMINATED: &str = "io.nats.jetstream.advisory.v1.terminated";

/// The message as it came, with where it stood and why it was put aside.
pub(super) async fn put_aside(
    broker: &Broker,
    consumer: &str,
    seq: u64,
    subject: &str,
    headers: HeaderMap,
    payload: bytes::Bytes,
    reason: &str,
) -> Result<(), Unavailable> {
    let mut headers = headers;
    headers.insert(SEQ, seq.to_string());
    headers.insert(SUBJECT, subject);
    headers.insert(REASON, proto::subject::token(reason));
    headers.insert(AT, broker.clock.now().to_string());
    let message = PublishMessage::build()
        .headers(headers)
        .payload(payload)
        .message_id(format!("{consumer}:{}:{seq}", subject.split('.').next().unwrap_or_default()));
    let publish = async { broker.jetstream.send_publish(format!("dead.v1.{consumer}"), message).await?.await };
    broker.call("write a dead letter", publish).await.map(drop)
}

pub(super) async fn letters(broker: &Broker, consumer: &str) -> Result<Vec<DeadLetter>, Unavailable> {
    let mut messages = replay(broker, DEAD_STREAM, vec![format!("dead.v1.{consumer}")], 0).await?;
    let mut letters = Vec::new();
    while let Some(message) = messages.next().await {
        letters.push(letter(&message?));
    }
    let mut advisories = replay(broker, ADVISORIES, vec![advisories_of(consumer)], 0).await?;
    while let Some(message) = advisories.next().await {
        if let Ok(advisory) = serde_json::from_slice::<Advisory>(&message?.payload) {
            letters.push(given_up(broker, advisory).await?);
        }
    }
    Ok(letters)
}

fn advisories_of(consumer: &str) -> String {
    format!("$JS.EVENT.ADVISORY.CONSUMER.*.{}.{consumer}", Stream::Calls.name())
}

/// What the broker gave up on for a consumer, from this place of the calls on, is no dead letter any more: the consumer
/// is handed it again, or is gone.
pub(super) async fn forget(broker: &Broker, consumer: &str, from_seq: u64) -> Result<(), Unavailable> {
    const WHAT: &str = "forget dead letters";
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(ADVISORIES)).await?;
    let mut advisories = replay(broker, ADVISORIES, vec![advisories_of(consumer)], 0).await?;
    while let Some(message) = advisories.next().await {
        let message = message?;
        let of_event = serde_json::from_slice::<Advisory>(&message.payload).map(|advisory| advisory.stream_seq);
        if of_event.is_ok_and(|seq| seq >= from_seq)
            && let Ok(place) = message.info()
        {
            broker.call(WHAT, stream.delete_message(place.stream_sequence)).await?;
        }
    }
    Ok(())
}

/// The broker gives up on an event.
#[derive(Debug, Deserialize)]
struct Advisory {
    #[serde(rename = "type")]
    kind: String,
    stream_seq: u64,
    timestamp: Timestamp,
    #[serde(default)]
    deliveries: u64,
    /// What the consumer said when it refused the event.
    #[serde(default)]
    reason: Option<String>,
}

async fn given_up(broker: &Broker, advisory: Advisory) -> Result<DeadLetter, Unavailable> {
    const WHAT: &str = "find a dead letter's event";
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(Stream::Calls.name())).await?;
    // Erased meanwhile, it is nameless.
    let event = broker.bounded(WHAT, stream.get_raw_message(advisory.stream_seq)).await?.ok();
    let event = event.and_then(|raw| event_of(&raw.headers, raw.subject.as_str(), raw.payload).ok());
    let reason = advisory.reason.unwrap_or_else(|| match advisory.kind.as_str() {
        TERMINATED => "refused".to_owned(),
        _ => format!("not acknowledged in {} deliveries", advisory.deliveries),
    });
    Ok(DeadLetter {
        seq: advisory.stream_seq,
        id: event.as_ref().map(|event| event.id.clone()),
        subject: event.map(|event| event.subject),
        reason,
        at: advisory.timestamp,
    })
}

fn letter(message: &Message) -> DeadLetter {
    let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    DeadLetter {
        seq: header(SEQ).and_then(|text| text.parse().ok()).unwrap_or(0),
        id: header("ce-id").and_then(|text| EventId::try_from(text.to_owned()).ok()),
        subject: header(SUBJECT).and_then(Subject::parse),
        reason: percent_encoding::percent_decode_str(header(REASON).unwrap_or_default())
            .decode_utf8_lossy()
            .into_owned(),
        at: header(AT).and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}
