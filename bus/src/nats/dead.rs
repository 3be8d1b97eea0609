//! Events a consumer has put aside: a small stream, one subject per consumer, visible to everybody.

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::message::PublishMessage;
use futures::stream::StreamExt;
use jiff::Timestamp;
use proto::{EventId, Subject};

use super::Broker;
use super::broker::DEAD_STREAM;
use super::read::replay;
use crate::bus::DeadLetter;
use crate::error::Unavailable;

const SEQ: &str = "callbus-seq";
const SUBJECT: &str = "callbus-subject";
const REASON: &str = "callbus-reason";
const AT: &str = "callbus-at";

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
    Ok(letters)
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
