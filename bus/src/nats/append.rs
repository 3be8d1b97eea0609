//! Events into JetStream.

use std::error::Error;
use std::str::FromStr;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use proto::Event;

use super::Broker;
use crate::bus::Appended;
use crate::error::{AppendError, Unavailable};

const WHAT: &str = "publish";

impl Broker {
    /// Publishes and waits for the acknowledgement.
    pub(crate) async fn publish(&self, event: &Event, expected: Option<u64>) -> Result<Appended, AppendError> {
        let mut message = PublishMessage::build()
            .headers(headers_of(&event.headers())?)
            .payload(event.data.clone())
            .message_id(event.id.as_str());
        if let Some(expected) = expected {
            message = message.expected_last_subject_sequence(expected);
        }
        let subject = event.subject.to_string();
        let published =
            self.bounded(WHAT, async { self.jetstream.send_publish(subject, message).await?.await }).await?;
        match published {
            Ok(ack) => Ok(Appended { seq: ack.sequence, duplicate: ack.duplicate }),
            Err(error) => Err(refusal(&error)),
        }
    }
}

/// Headers as the broker's client wants them.
pub(super) fn headers_of(pairs: &[(String, String)]) -> Result<HeaderMap, AppendError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let bad = |why: &dyn Error| AppendError::Refused(format!("header {name:?}: {why}"));
        let header = HeaderName::from_str(name).map_err(|error| bad(&error))?;
        headers.append(header, HeaderValue::from_str(value).map_err(|error| bad(&error))?);
    }
    Ok(headers)
}

pub(super) fn refusal(error: &PublishError) -> AppendError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => AppendError::Conflict { actual: None },
        PublishErrorKind::MaxPayloadExceeded => AppendError::Refused(error.to_string()),
        PublishErrorKind::Other if is_for_good(error) => AppendError::Refused(error.to_string()),
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => AppendError::Unavailable(Unavailable::new(WHAT, error)),
    }
}

/// What no retry will change: the event is too large for the stream.
fn is_for_good(error: &PublishError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<async_nats::jetstream::Error>());
    cause.is_some_and(|cause| {
        let code = cause.error_code();
        code == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM || code == ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
    })
}
