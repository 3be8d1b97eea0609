//! A log put back as it was, event by event, and what is needed beside the events to copy one.

use std::collections::BTreeMap;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::ObjectInfo;
use futures::TryStreamExt;
use futures::future::try_join_all;
use proto::Stream;

use super::append::{headers_of, refusal};
use super::subscriptions::Lag;
use super::{Broker, documents, subscriptions};
use crate::backup::Position;
use crate::bus::Recorded;
use crate::embedded::twice_in;
use crate::error::{AppendError, Unavailable};

const WHAT: &str = "put the log back";

/// Publishes events at the places they have, behind `after`. The broker itself refuses whatever would come to stand
/// elsewhere, so that of many on their way none is stored behind one that was lost.
pub(super) async fn put_back(broker: &Broker, recorded: &[Recorded], after: u64) -> Result<(), AppendError> {
    let (mut last, mut acknowledged) = (after, Vec::with_capacity(recorded.len()));
    for Recorded { seq, event } in recorded {
        let stream = event.subject.stream();
        while last + 1 < *seq {
            // What was erased, or stood there twice, leaves its number unused.
            try_join_all(acknowledged.drain(..)).await?;
            leave_out(broker, stream, last + 1).await?;
            last += 1;
        }
        let message = PublishMessage::build()
            .headers(headers_of(&event.headers())?)
            .payload(event.data.clone())
            .message_id(event.id.as_str())
            .expected_last_sequence(last);
        let sent = broker.call(WHAT, broker.jetstream.send_publish(event.subject.to_string(), message)).await?;
        acknowledged.push(async move {
            let acknowledged = broker.bounded(WHAT, sent).await?.map_err(|error| refusal(&error))?;
            if acknowledged.duplicate || acknowledged.sequence != *seq {
                return Err(twice_in(&Recorded { seq: *seq, event: event.clone() }, acknowledged.sequence));
            }
            Ok::<_, AppendError>(())
        });
        last = *seq;
    }
    try_join_all(acknowledged).await.map(drop)
}

async fn leave_out(broker: &Broker, stream: Stream, seq: u64) -> Result<(), AppendError> {
    let message = PublishMessage::build().expected_last_sequence(seq - 1);
    let subject = stream.subjects().replace('>', "left_out");
    let sent = broker.call(WHAT, broker.jetstream.send_publish(subject, message)).await?;
    broker.bounded(WHAT, sent).await?.map_err(|error| refusal(&error))?;
    let stream = broker.call(WHAT, broker.jetstream.get_stream_no_info(stream.name())).await?;
    broker.call(WHAT, stream.delete_message(seq)).await?;
    Ok(())
}

pub(super) async fn positions(broker: &Broker) -> Result<Vec<Position>, Unavailable> {
    let lags = subscriptions::lags(broker).await?.into_iter();
    let position = |Lag { name, stream, floor, filters, .. }| Position { name, stream, floor, filters };
    Ok(lags.map(position).collect())
}

pub(super) async fn checkpoints(broker: &Broker) -> Result<BTreeMap<String, u64>, Unavailable> {
    const WHAT: &str = "list the checkpoints";
    let store = broker.checkpoints().await?;
    let keys: Vec<String> = broker
        .call(WHAT, async { store.keys().await.map_err(|error| error.to_string()) })
        .await?
        .try_collect()
        .await
        .map_err(|error| Unavailable::new(WHAT, error))?;
    let mut checkpoints = BTreeMap::new();
    for key in keys {
        if let Some(seq) = documents::checkpoint(broker, &key).await? {
            checkpoints.insert(key, seq);
        }
    }
    Ok(checkpoints)
}

pub(super) async fn document_revisions(broker: &Broker) -> Result<BTreeMap<String, String>, Unavailable> {
    const WHAT: &str = "list the documents";
    let list = broker.call(WHAT, broker.documents().await?.list()).await?;
    let infos: Vec<ObjectInfo> = broker.transfer(WHAT, list.try_collect()).await?;
    let revision = |mut info: ObjectInfo| Some((info.name, info.metadata.remove(documents::REVISION)?));
    Ok(infos.into_iter().filter(|info| !info.deleted).filter_map(revision).collect())
}
