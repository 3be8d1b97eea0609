//! The connection. A client that is not connected queues what it is told and does it later, long after anybody
//! waits; so every call looks at the connection first and runs under a timeout.

use std::fmt::Display;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode, kv, object_store};
use async_nats::{Client, ConnectOptions, Event, ServerInfo};
use proto::Stream;
use tokio::sync::OnceCell;

use super::NatsConfig;
use crate::clock::Clock;
use crate::error::{OpenError, Unavailable};

/// Every call to the broker ends by then.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a document of up to a hundred megabytes.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Who may start without the broker waits no longer for it.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// An event may be 256 KiB of body, with its headers; a smaller limit would close the connection over it.
const MAX_PAYLOAD_MIN: usize = 1_000_000;
/// The first that can set a consumer back to its floor.
const VERSION_MIN: (i64, i64) = (2, 14);
/// The broker refuses an event id it has seen within this window. Memory on the broker, so not for hours.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Publishes without their acknowledgement at most.
const ACKS_WAITING_MAX: usize = 4096;

pub(crate) const DEAD_STREAM: &str = "DEAD";
/// What the broker itself says of events nobody acknowledged.
pub(crate) const ADVISORIES: &str = "ADVISORIES";
const DEAD_BYTES_MAX: i64 = 256 * 1024 * 1024;
const DEAD_PER_CONSUMER_MAX: i64 = 1000;
pub(crate) const DOCUMENTS: &str = "DOCUMENTS";
pub(crate) const CHECKPOINTS: &str = "CHECKPOINTS";
pub(crate) const SECRETS: &str = "SECRETS";

#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) clock: Clock,
    url: Arc<str>,
    pub(crate) replicas: usize,
    /// Makes what is missing at the broker; else somebody with the right to has made it.
    pub(crate) provisions: bool,
    documents: Arc<OnceCell<object_store::ObjectStore>>,
    checkpoints: Arc<OnceCell<kv::Store>>,
    secrets: Arc<OnceCell<kv::Store>>,
}

impl Broker {
    /// `may_be_down`: come back unconnected when the broker does not answer; the client goes on trying.
    pub(crate) async fn connect(config: &NatsConfig, may_be_down: bool) -> Result<Self, OpenError> {
        let failed = |why: String| OpenError::Broker { url: shown(&config.url), why };
        let mut options = ConnectOptions::new()
            .name(&config.client_name)
            .custom_inbox_prefix(format!("_INBOX_{}", config.user))
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(CALL_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50)
                    .saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX))
                    .min(RECONNECT_PAUSE_MAX)
            })
            .event_callback(|event| async move { report(&event) });
        if let Some(seed) = &config.nkey_seed {
            options = options.nkey(seed.clone());
        }
        if let Some(authority) = &config.ca_file {
            options = options.add_root_certificates(authority.clone()).require_tls(true);
        }
        if may_be_down {
            options = options.retry_on_initial_connect();
        }
        let servers: Vec<&str> = config.url.split(',').map(str::trim).collect();
        let client = options.connect(servers).await.map_err(|error| failed(error.to_string()))?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(CALL_TIMEOUT)
            .ack_timeout(CALL_TIMEOUT)
            .max_ack_inflight(ACKS_WAITING_MAX)
            .build(client.clone());
        let broker = Self {
            client,
            jetstream,
            clock: Clock::System,
            url: shown(&config.url).into(),
            replicas: config.replicas,
            provisions: config.provisions,
            documents: Arc::default(),
            checkpoints: Arc::default(),
            secrets: Arc::default(),
        };
        if may_be_down {
            // A moment, so that the usual start finds everything made; the spool sees to it otherwise.
            let _ = tokio::time::timeout(FIRST_LOOK, broker.wait_connected()).await;
        }
        match broker.connected("connect") {
            Ok(()) => broker.prepare().await?,
            Err(_) if may_be_down => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        Ok(broker)
    }

    /// The same connection, for one who makes what is missing.
    pub(crate) fn to_provision(&self) -> Self {
        Self { provisions: true, ..self.clone() }
    }

    /// Looks whether the broker will do, and makes the streams that are missing, where that is this process's to do;
    /// those that are there stay as the operator has set them.
    pub(crate) async fn prepare(&self) -> Result<(), OpenError> {
        let setting = |why: String| OpenError::Setting { url: self.url.to_string(), why };
        let (major, minor) = VERSION_MIN;
        if !self.client.is_server_compatible(major, minor, 0) {
            let version = self.client.server_info().version;
            return Err(setting(format!("it is nats-server {version}; callbus needs {major}.{minor} or later")));
        }
        let max_payload = self.client.max_payload();
        if max_payload < MAX_PAYLOAD_MIN {
            return Err(setting(format!("its max_payload is {max_payload}; set it to 1MB at least")));
        }
        if self.provisions {
            for config in self.streams() {
                self.make_stream(config).await.map_err(|error| setting(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// The streams callbus lives on.
    pub(crate) fn streams(&self) -> impl Iterator<Item = Config> {
        let replicas = self.replicas;
        Stream::ALL
            .into_iter()
            .map(move |stream| log_stream(stream, replicas))
            .chain([dead_stream(replicas), advisories_stream(replicas)])
    }

    async fn make_stream(&self, config: Config) -> Result<(), Unavailable> {
        let name = config.name.clone();
        let found = self.bounded("find a stream", self.jetstream.get_stream(&name)).await?;
        match found {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    self.call("make a stream", self.jetstream.create_stream(config)).await.map(drop)
                }
                GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::Request
                | GetStreamErrorKind::InvalidStreamName
                | GetStreamErrorKind::JetStream(_) => {
                    Err(Unavailable::new("find a stream", format!("{name}: {error}")))
                }
            },
        }
    }

    /// Fails where somebody else was to make what is missing.
    pub(crate) fn must_provision(&self, missing: &str) -> Result<(), Unavailable> {
        if self.provisions {
            return Ok(());
        }
        Err(Unavailable::new("find what was provisioned", format!("{missing} is missing: run `callbus provision`")))
    }

    /// Fails at once when there is no connection.
    pub(crate) fn connected(&self, what: &'static str) -> Result<(), Unavailable> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => {
                Err(Unavailable::new(what, format!("there is no connection to the broker at {}", self.url)))
            }
        }
    }

    /// Runs a call to its answer, be it good or bad, within [`CALL_TIMEOUT`].
    pub(crate) async fn bounded<T>(
        &self,
        what: &'static str,
        call: impl IntoFuture<Output = T>,
    ) -> Result<T, Unavailable> {
        self.bounded_within(what, CALL_TIMEOUT, call).await
    }

    async fn bounded_within<T>(
        &self,
        what: &'static str,
        within: Duration,
        call: impl IntoFuture<Output = T>,
    ) -> Result<T, Unavailable> {
        self.connected(what)?;
        tokio::time::timeout(within, call.into_future())
            .await
            .map_err(|_| Unavailable::new(what, format!("the broker did not answer within {within:?}")))
    }

    /// As [`Broker::call`], for a whole document, which may be long.
    pub(crate) async fn transfer<T, E: Display>(
        &self,
        what: &'static str,
        call: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, Unavailable> {
        let moved = self.bounded_within(what, TRANSFER_TIMEOUT, call).await?;
        moved.map_err(|error| Unavailable::new(what, error))
    }

    /// As [`Broker::bounded`], for calls whose every error means the same.
    pub(crate) async fn call<T, E: Display>(
        &self,
        what: &'static str,
        call: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, Unavailable> {
        self.bounded(what, call).await?.map_err(|error| Unavailable::new(what, error))
    }

    /// Names the running broker: a restarted one has another.
    pub(crate) fn server_id(&self) -> Option<String> {
        self.client.try_server_info().map(|info: ServerInfo| info.server_id)
    }

    async fn wait_connected(&self) {
        while self.connected("connect").is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn flush(&self) {
        if let Err(error) = self.call("flush", self.client.flush()).await {
            tracing::warn!(%error, "the connection was not flushed");
        }
    }

    pub(crate) async fn documents(&self) -> Result<&object_store::ObjectStore, Unavailable> {
        let make = async || {
            if let Ok(store) = self.bounded("find the documents", self.jetstream.get_object_store(DOCUMENTS)).await? {
                return Ok(store);
            }
            self.must_provision("the document store")?;
            let config = object_store::Config {
                bucket: DOCUMENTS.to_owned(),
                num_replicas: self.replicas,
                ..object_store::Config::default()
            };
            self.call("make the document store", self.jetstream.create_object_store(config)).await
        };
        self.documents.get_or_try_init(make).await
    }

    pub(crate) async fn checkpoints(&self) -> Result<&kv::Store, Unavailable> {
        self.checkpoints.get_or_try_init(|| self.store(CHECKPOINTS, "the checkpoint store")).await
    }

    pub(crate) async fn secrets(&self) -> Result<&kv::Store, Unavailable> {
        self.secrets.get_or_try_init(|| self.store(SECRETS, "the store of secrets")).await
    }

    async fn store(&self, bucket: &str, missing: &str) -> Result<kv::Store, Unavailable> {
        if let Ok(store) = self.bounded("find a store", self.jetstream.get_key_value(bucket)).await? {
            return Ok(store);
        }
        self.must_provision(missing)?;
        let config =
            kv::Config { bucket: bucket.to_owned(), history: 1, num_replicas: self.replicas, ..kv::Config::default() };
        self.call("make a store", self.jetstream.create_key_value(config)).await
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("url", &self.url).finish_non_exhaustive()
    }
}

fn log_stream(stream: Stream, replicas: usize) -> Config {
    Config {
        name: stream.name().to_owned(),
        subjects: vec![stream.subjects().to_owned()],
        // Pressure shows at the publisher, which spools; nothing old is dropped to make room.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        compression: Some(Compression::S2),
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        allow_direct: true,
        ..Config::default()
    }
}

fn advisories_stream(replicas: usize) -> Config {
    let of = |advisory: &str| format!("$JS.EVENT.ADVISORY.CONSUMER.{advisory}.*.*");
    Config {
        name: ADVISORIES.to_owned(),
        subjects: vec![of("MAX_DELIVERIES"), of("MSG_TERMINATED")],
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        max_bytes: DEAD_BYTES_MAX,
        max_messages_per_subject: DEAD_PER_CONSUMER_MAX,
        ..Config::default()
    }
}

fn dead_stream(replicas: usize) -> Config {
    Config {
        name: DEAD_STREAM.to_owned(),
        subjects: vec!["dead.v1.>".to_owned()],
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        compression: Some(Compression::S2),
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        max_bytes: DEAD_BYTES_MAX,
        max_messages_per_subject: DEAD_PER_CONSUMER_MAX,
        ..Config::default()
    }
}

/// A missing permission shows up only here; the call it belongs to just times out.
fn report(event: &Event) {
    match event {
        Event::ServerError(error) => tracing::error!(%error, "the broker refused something"),
        Event::ClientError(error) => tracing::warn!(%error, "trouble with the broker's connection"),
        Event::SlowConsumer(subscription) => tracing::error!(subscription, "messages from the broker were dropped"),
        Event::Connected | Event::Disconnected | Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::info!(%event, "broker connection");
        }
    }
}

/// The address without a user or password in it.
fn shown(url: &str) -> String {
    url.split(',').map(|url| url.rsplit('@').next().unwrap_or_default()).collect::<Vec<_>>().join(",")
}
