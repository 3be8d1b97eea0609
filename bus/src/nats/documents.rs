//! Documents in an object store, checkpoints and secrets in a key-value bucket each.

use std::collections::HashMap;

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectMetadata};
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::Broker;
use crate::bus::Document;
use crate::embedded::revision_of;
use crate::error::Unavailable;

/// The revision stands in the object's metadata, so that asking for it does not fetch the bytes.
pub(super) const REVISION: &str = "revision";

pub(super) async fn put(broker: &Broker, name: &str, bytes: Bytes) -> Result<String, Unavailable> {
    let revision = revision_of(&bytes);
    let meta = ObjectMetadata {
        name: name.to_owned(),
        metadata: HashMap::from([(REVISION.to_owned(), revision.clone())]),
        ..ObjectMetadata::default()
    };
    let store = broker.documents().await?;
    broker.transfer("put a document", store.put(meta, &mut &bytes[..])).await?;
    Ok(revision)
}

pub(super) async fn get(broker: &Broker, name: &str) -> Result<Option<Document>, Unavailable> {
    const WHAT: &str = "get a document";
    let store = broker.documents().await?;
    let mut object = match broker.bounded(WHAT, store.get(name)).await? {
        Ok(object) => object,
        Err(error) => {
            return match error.kind() {
                GetErrorKind::NotFound => Ok(None),
                GetErrorKind::InvalidName
                | GetErrorKind::ConsumerCreate
                | GetErrorKind::BucketLink
                | GetErrorKind::Other
                | GetErrorKind::TimedOut => Err(Unavailable::new(WHAT, error)),
            };
        }
    };
    let mut bytes = Vec::with_capacity(object.info().size);
    // Which compares what it reads with the digest the store has of it.
    broker.transfer(WHAT, object.read_to_end(&mut bytes)).await?;
    let revision = object.info().metadata.get(REVISION).cloned().unwrap_or_else(|| revision_of(&bytes));
    Ok(Some(Document { revision, bytes: bytes.into() }))
}

pub(super) async fn revision(broker: &Broker, name: &str) -> Result<Option<String>, Unavailable> {
    const WHAT: &str = "look a document up";
    let store = broker.documents().await?;
    match broker.bounded(WHAT, store.info(name)).await? {
        Ok(info) if info.deleted => Ok(None),
        Ok(info) => Ok(info.metadata.get(REVISION).cloned()),
        Err(error) => match error.kind() {
            InfoErrorKind::NotFound => Ok(None),
            InfoErrorKind::InvalidName | InfoErrorKind::Other | InfoErrorKind::TimedOut => {
                Err(Unavailable::new(WHAT, error))
            }
        },
    }
}

pub(super) async fn put_secret(broker: &Broker, name: &str, bytes: Bytes) -> Result<(), Unavailable> {
    let store = broker.secrets().await?;
    broker.call("keep a secret", store.put(name, bytes)).await.map(drop)
}

pub(super) async fn secret(broker: &Broker, name: &str) -> Result<Option<Bytes>, Unavailable> {
    let store = broker.secrets().await?;
    broker.call("read a secret", store.get(name)).await
}

/// What it held is gone from the broker's disk; a mark remains that it was there.
pub(super) async fn forget_secret(broker: &Broker, name: &str) -> Result<(), Unavailable> {
    let store = broker.secrets().await?;
    broker.call("forget a secret", store.purge(name)).await
}

pub(super) async fn checkpoint(broker: &Broker, name: &str) -> Result<Option<u64>, Unavailable> {
    const WHAT: &str = "read a checkpoint";
    let store = broker.checkpoints().await?;
    let Some(value) = broker.call(WHAT, store.get(name)).await? else { return Ok(None) };
    let seq = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
    seq.map(Some).ok_or_else(|| Unavailable::new(WHAT, format!("{name:?} does not hold a number")))
}

pub(super) async fn set_checkpoint(broker: &Broker, name: &str, seq: u64) -> Result<(), Unavailable> {
    let store = broker.checkpoints().await?;
    broker.call("keep a checkpoint", store.put(name, seq.to_string().into())).await.map(drop)
}
