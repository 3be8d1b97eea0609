//! The NATS arm. What callbus needs of a broker, and where each part is done:
//!
//! [`broker`] the connection, under which every call has a timeout · [`append`] events into JetStream · [`read`] and
//! [`consume`] out of it, [`settle`] what was consumed · [`ask`] core request-reply · [`documents`] object store and
//! checkpoints · [`copy`] a log put back as it was · [`provision`] what must be there before, [`subscriptions`] consumers of others, and [`permissions`]
//! who may do what.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use proto::{Event, Filter, Stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ask::{Asked, Question, ServeSpec};
use crate::backup::Position;
use crate::bus::{Appended, ConsumerSpec, DeadLetter, Document, Recorded, Verdict};
use crate::error::{AppendError, AskError, OpenError, ReadError, RecordError, Unavailable};
use crate::spool::Spool;
use crate::standing::{Standing, Works};

mod append;
mod ask;
pub(crate) mod broker;
mod consume;
mod copy;
mod dead;
mod documents;
mod permissions;
mod provision;
mod read;
mod settle;
mod subscriptions;

pub(crate) use broker::Broker;
pub use permissions::{BrokerUser, Permissions, accounts};
pub use provision::{Piece, PieceState};
pub(crate) use settle::{NatsReceipt, NatsSettle};
pub use subscriptions::{Begin, Lag, Subscribed, Subscription};

/// A broker that has not taken an event by then is taken for one that is away. The platform waits, so well below what
/// an ingress has to record in.
const REPLICATED_WITHIN: Duration = Duration::from_millis(300);

/// How to reach the broker, and what to expect of it.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// `nats://host:4222`, or several with commas between.
    pub url: String,
    /// Shown to operators. Letters, digits, `-`, `_`.
    pub client_name: String,
    /// As whom the broker knows this process: replies come to inboxes under `_INBOX_<user>`. Letters, digits, `-`, `_`.
    pub user: String,
    /// The secret seed of the user's nkey, where the broker wants one.
    pub nkey_seed: Option<String>,
    /// Certificates of the authority that signed the broker's; with it the connection must be TLS.
    pub ca_file: Option<PathBuf>,
    /// Makes the streams and stores that are missing.
    pub provisions: bool,
    /// Replicas of the streams this process has to make: 1, or 3 in a cluster.
    pub replicas: usize,
    /// Where events wait for the broker on this process's own disk: an ingress has one.
    pub spool: Option<SpoolConfig>,
}

/// The spool of an ingress.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// Holds one directory per process that ever spooled here.
    pub dir: PathBuf,
    /// When an event counts as recorded.
    pub durability: Durability,
    /// Events kept at most; beyond, recording fails. [`SpoolConfig::BYTES_MAX`] by default.
    pub bytes_max: u64,
    /// The broker's own `sync_interval`: how long it may sit on what it has acknowledged.
    pub sync_interval: Duration,
    /// Events are kept for at least this long after their acknowledgement, and for four times `sync_interval` where
    /// that is longer. [`SpoolConfig::KEEP`] by default.
    pub keep: Duration,
}

impl SpoolConfig {
    /// 2 GiB.
    pub const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
    /// A minute.
    pub const KEEP: Duration = Duration::from_secs(60);

    /// A spool in `dir` with the defaults above, in which events count as recorded.
    pub fn new(dir: impl Into<PathBuf>, sync_interval: Duration) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Local,
            bytes_max: Self::BYTES_MAX,
            sync_interval,
            keep: Self::KEEP,
        }
    }
}

/// Where an event must be before it counts as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the disk of this process.
    Local,
    /// With the broker, which is to have replicas of it; on the disk of this process where the broker cannot say so
    /// soon enough.
    Replicated,
}

/// The log, the questions and the documents of a NATS account.
#[derive(Debug)]
pub struct Nats {
    broker: Broker,
    spool: Option<Spool>,
    works: Works,
}

impl Nats {
    pub(crate) async fn connect(config: NatsConfig) -> Result<Self, OpenError> {
        // With a spool the process must come up while the broker is down: callbacks do not wait for it.
        let broker = Broker::connect(&config, config.spool.is_some()).await?;
        let spool = match config.spool {
            Some(spool) => Some(Spool::open(spool, broker.clone()).await?),
            None => None,
        };
        Ok(Self { broker, spool, works: Works::default() })
    }

    pub(crate) async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        if let Some(spool) = &self.spool {
            if spool.durability() == Durability::Replicated && spool.is_forwarded() && self.replicate(&events).await {
                return Ok(());
            }
            return spool.record(&events).await;
        }
        for event in &events {
            match self.broker.publish(event, None).await {
                Ok(_) => {}
                Err(AppendError::Unavailable(error)) => return Err(error.into()),
                Err(error @ (AppendError::Conflict { .. } | AppendError::Refused(_))) => {
                    return Err(Unavailable::new("publish", error).into());
                }
            }
        }
        Ok(())
    }

    /// False when the broker does not say in time that it has them all: it may have them all the same, and what the
    /// spool then sends again falls away there.
    async fn replicate(&self, events: &[Event]) -> bool {
        let published = events.iter().map(|event| self.broker.publish(event, None));
        let all = tokio::time::timeout(REPLICATED_WITHIN, futures::future::try_join_all(published)).await;
        matches!(all, Ok(Ok(_)))
    }

    pub(crate) async fn append(&self, event: &Event, expected: Option<u64>) -> Result<Appended, AppendError> {
        self.broker.publish(event, expected).await
    }

    pub(crate) fn read(&self, filter: &Filter, after_seq: u64) -> BoxStream<'static, Result<Recorded, ReadError>> {
        read::read(self.broker.clone(), filter, after_seq)
    }

    pub(crate) async fn last_seq(&self, filter: &Filter) -> Result<u64, Unavailable> {
        read::last_seq(&self.broker, filter).await
    }

    pub(crate) async fn consume<B, G, H, F>(
        &self,
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
        consume::consume(&self.broker, &self.works, spec, begin, handler, stop).await
    }

    pub(crate) async fn consumer_standing(&self, filter: &Filter, name: &str) -> Result<Standing, Unavailable> {
        consume::standing(&self.broker, &self.works, filter, name).await
    }

    pub(crate) async fn restart_consumer(&self, spec: &ConsumerSpec, after_seq: u64) -> Result<(), Unavailable> {
        consume::restart(&self.broker, spec, after_seq).await
    }

    pub(crate) async fn provision(&self, consumers: &[ConsumerSpec], dry_run: bool) -> Result<Vec<Piece>, Unavailable> {
        provision::provision(&self.broker, consumers, dry_run).await
    }

    pub(crate) async fn subscribe(&self, subscription: &Subscription) -> Result<Subscribed, Unavailable> {
        subscriptions::add(&self.broker, subscription).await
    }

    pub(crate) async fn subscribe_to(
        &self,
        name: &str,
        filters: Vec<String>,
        begin: Begin,
    ) -> Result<Subscribed, Unavailable> {
        subscriptions::add_filtered(&self.broker, name, filters, begin).await
    }

    pub(crate) async fn unsubscribe(&self, name: &str) -> Result<bool, Unavailable> {
        subscriptions::remove(&self.broker, name).await
    }

    pub(crate) async fn rewind(&self, name: &str, seq: u64) -> Result<bool, Unavailable> {
        subscriptions::rewind(&self.broker, name, seq).await
    }

    pub(crate) async fn lags(&self) -> Result<Vec<Lag>, Unavailable> {
        subscriptions::lags(&self.broker).await
    }

    pub(crate) async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Unavailable> {
        dead::letters(&self.broker, consumer).await
    }

    pub(crate) async fn checkpoint(&self, name: &str) -> Result<Option<u64>, Unavailable> {
        documents::checkpoint(&self.broker, name).await
    }

    pub(crate) async fn set_checkpoint(&self, name: &str, seq: u64) -> Result<(), Unavailable> {
        documents::set_checkpoint(&self.broker, name, seq).await
    }

    pub(crate) async fn ask(&self, subject: &str, question: Question, deadline: Instant) -> Result<Bytes, AskError> {
        ask::ask(&self.broker, subject, question, deadline).await
    }

    pub(crate) async fn survey(
        &self,
        subject: &str,
        question: Question,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, Unavailable> {
        ask::survey(&self.broker, subject, question, deadline).await
    }

    pub(crate) async fn serve<H, F>(
        &self,
        spec: ServeSpec,
        handler: H,
        stop: CancellationToken,
    ) -> Result<(), Unavailable>
    where
        H: Fn(Asked) -> F + Send + Sync + 'static,
        F: Future<Output = Bytes> + Send + 'static,
    {
        ask::serve(&self.broker, spec, handler, stop).await
    }

    pub(crate) async fn event(&self, stream: Stream, seq: u64) -> Result<Option<Recorded>, Unavailable> {
        read::event(&self.broker, stream, seq).await
    }

    pub(crate) async fn put_secret(&self, name: &str, bytes: Bytes) -> Result<(), Unavailable> {
        documents::put_secret(&self.broker, name, bytes).await
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Option<Bytes>, Unavailable> {
        documents::secret(&self.broker, name).await
    }

    pub(crate) async fn forget_secret(&self, name: &str) -> Result<(), Unavailable> {
        documents::forget_secret(&self.broker, name).await
    }

    pub(crate) async fn put_document(&self, name: &str, bytes: Bytes) -> Result<String, Unavailable> {
        documents::put(&self.broker, name, bytes).await
    }

    pub(crate) async fn document(&self, name: &str) -> Result<Option<Document>, Unavailable> {
        documents::get(&self.broker, name).await
    }

    pub(crate) async fn document_revision(&self, name: &str) -> Result<Option<String>, Unavailable> {
        documents::revision(&self.broker, name).await
    }

    pub(crate) async fn positions(&self) -> Result<Vec<Position>, Unavailable> {
        copy::positions(&self.broker).await
    }

    pub(crate) async fn checkpoints(&self) -> Result<BTreeMap<String, u64>, Unavailable> {
        copy::checkpoints(&self.broker).await
    }

    pub(crate) async fn document_revisions(&self) -> Result<BTreeMap<String, String>, Unavailable> {
        copy::document_revisions(&self.broker).await
    }

    pub(crate) async fn put_back(&self, recorded: &[Recorded], after: u64) -> Result<(), AppendError> {
        copy::put_back(&self.broker, recorded, after).await
    }

    pub(crate) fn healthy(&self) -> Result<(), String> {
        match &self.spool {
            Some(spool) => spool.healthy(),
            None => self.broker.connected("reach the broker").map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn spooled_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::held_bytes)
    }

    pub(crate) async fn drain(&self) {
        if let Some(spool) = &self.spool {
            spool.drain().await;
        }
        self.broker.flush().await;
    }
}
