//! What must be there before anybody works: streams, stores, durable consumers. Where users have permissions, one of
//! them makes it all, once, and the others need no right to make anything.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{self, ConsumerErrorKind};

use super::broker::{Broker, CHECKPOINTS, DOCUMENTS, SECRETS};
use super::consume;
use crate::bus::ConsumerSpec;
use crate::error::Unavailable;

const WHAT: &str = "provision";

/// One thing callbus needs at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// `stream`, `store` or `consumer`.
    pub what: &'static str,
    /// As the broker calls it.
    pub name: String,
    /// As it was found.
    pub state: PieceState,
}

/// How a piece was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceState {
    /// As callbus would have made it.
    There,
    /// It was not there; unless it was a dry run, it is now.
    Missing,
    /// It is there, and not as callbus would have made it: `name: theirs, not ours`.
    Differs(Vec<String>),
}

pub(super) async fn provision(
    broker: &Broker,
    consumers: &[ConsumerSpec],
    dry_run: bool,
) -> Result<Vec<Piece>, Unavailable> {
    let mut pieces = Vec::new();
    for config in broker.streams() {
        let state = stream_state(broker, &config).await?;
        pieces.push(Piece { what: "stream", name: config.name, state });
    }
    let stores = [
        (DOCUMENTS, format!("OBJ_{DOCUMENTS}")),
        (CHECKPOINTS, format!("KV_{CHECKPOINTS}")),
        (SECRETS, format!("KV_{SECRETS}")),
    ];
    for (bucket, stream) in stores {
        let there = stream_info(broker, &stream).await?.is_some();
        let state = if there { PieceState::There } else { PieceState::Missing };
        pieces.push(Piece { what: "store", name: bucket.to_owned(), state });
    }
    for spec in consumers {
        let state = consumer_state(broker, spec).await?;
        pieces.push(Piece { what: "consumer", name: spec.name.clone(), state });
    }
    if !dry_run && pieces.iter().any(|piece| piece.state == PieceState::Missing) {
        make(broker, consumers).await?;
    }
    Ok(pieces)
}

/// Makes all that is missing; what is there is left as it is.
async fn make(broker: &Broker, consumers: &[ConsumerSpec]) -> Result<(), Unavailable> {
    let broker = &broker.to_provision();
    broker.prepare().await.map_err(|error| Unavailable::new(WHAT, error))?;
    broker.documents().await?;
    broker.checkpoints().await?;
    broker.secrets().await?;
    for spec in consumers {
        if consumer_state(broker, spec).await? == PieceState::Missing {
            let create = broker.jetstream.create_consumer_on_stream(consume::config(spec), spec.filter.stream().name());
            broker.call(WHAT, create).await?;
        }
    }
    Ok(())
}

async fn stream_info(broker: &Broker, name: &str) -> Result<Option<stream::Config>, Unavailable> {
    match broker.bounded(WHAT, broker.jetstream.get_stream(name)).await? {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::InvalidStreamName
            | GetStreamErrorKind::JetStream(_) => Err(Unavailable::new(WHAT, format!("{name}: {error}"))),
        },
    }
}

async fn stream_state(broker: &Broker, ours: &stream::Config) -> Result<PieceState, Unavailable> {
    let Some(theirs) = stream_info(broker, &ours.name).await? else { return Ok(PieceState::Missing) };
    Ok(compared([
        ("subjects", format!("{:?}", theirs.subjects), format!("{:?}", ours.subjects)),
        ("replicas", theirs.num_replicas.to_string(), ours.num_replicas.to_string()),
        ("discard", format!("{:?}", theirs.discard), format!("{:?}", ours.discard)),
        ("duplicate window", format!("{:?}", theirs.duplicate_window), format!("{:?}", ours.duplicate_window)),
        ("max age", format!("{:?}", theirs.max_age), format!("{:?}", ours.max_age)),
        ("retention", format!("{:?}", theirs.retention), format!("{:?}", ours.retention)),
    ]))
}

async fn consumer_state(broker: &Broker, spec: &ConsumerSpec) -> Result<PieceState, Unavailable> {
    let find = broker.jetstream.get_consumer_from_stream::<pull::Config, _, _>(&spec.name, spec.filter.stream().name());
    let ours = consume::config(spec);
    match broker.bounded(WHAT, find).await? {
        Ok(consumer) => {
            let theirs = &consumer.cached_info().config;
            Ok(compared([
                ("filter", theirs.filter_subject.clone(), ours.filter_subject.clone()),
                ("filters", theirs.filter_subjects.join(" "), ours.filter_subjects.join(" ")),
                ("deliveries", theirs.max_deliver.to_string(), ours.max_deliver.to_string()),
            ]))
        }
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(cause)
                if [ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND].contains(&cause.error_code()) =>
            {
                Ok(PieceState::Missing)
            }
            ConsumerErrorKind::TimedOut
            | ConsumerErrorKind::Request
            | ConsumerErrorKind::InvalidConsumerType
            | ConsumerErrorKind::InvalidName
            | ConsumerErrorKind::JetStream(_)
            | ConsumerErrorKind::Other => Err(Unavailable::new(WHAT, format!("{}: {error}", spec.name))),
        },
    }
}

/// Compares settings by what they say: name, theirs, ours.
fn compared<const N: usize>(settings: [(&str, String, String); N]) -> PieceState {
    let different: Vec<String> = settings
        .into_iter()
        .filter(|(_, theirs, ours)| theirs != ours)
        .map(|(name, theirs, ours)| format!("{name}: {theirs}, not {ours}"))
        .collect();
    if different.is_empty() { PieceState::There } else { PieceState::Differs(different) }
}
