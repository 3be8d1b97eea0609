//! The contract of the bus: every case runs on the embedded log and on NATS.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bus::{Bus, NatsConfig, Recorded, SpoolConfig};
use futures::TryStreamExt;
use jiff::Timestamp;
use proto::{AppName, CallId, Event, EventId, Filter, Kind, ListName, Partition, Stream, Subject, WalletId};
use tempfile::TempDir;
use tests::nats::Nats;

mod ask;
mod begin;
mod cache;
mod consume;
mod log;
mod spool;

/// Runs each case once per backend.
macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> anyhow::Result<()> {
                super::$case(crate::bus::Place::embedded()?).await
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> anyhow::Result<()> {
                super::$case(crate::bus::Place::nats()?).await
            })*
        }
    };
}
pub(crate) use contract;

/// Where a log lies, so that it can be opened again after its process has gone.
pub(crate) enum Place {
    Embedded(TempDir),
    Nats(Nats),
}

impl Place {
    pub(crate) fn embedded() -> Result<Self> {
        Ok(Self::Embedded(tempfile::tempdir()?))
    }

    pub(crate) fn nats() -> Result<Self> {
        Nats::start().map(Self::Nats)
    }

    pub(crate) async fn open(&self) -> Result<Bus> {
        match self {
            // Tasks of the handle before may take a moment to let go.
            Self::Embedded(directory) => {
                eventually("the directory is free", async || Ok(Bus::embedded(directory.path()).ok())).await
            }
            Self::Nats(server) => Ok(Bus::nats(nats_config(server, None)).await?),
        }
    }
}

#[expect(clippy::expect_used, reason = "only a broker with keys has one that may not be read")]
fn nats_config(server: &Nats, spool: Option<SpoolConfig>) -> NatsConfig {
    NatsConfig { spool, ..server.config("story").expect("a broker without keys") }
}

/// A callback of a call; `text` makes it a different one.
fn callback(kind: Kind, call: &str, text: &str) -> Result<Event> {
    let call = CallId::new(call)?;
    let body = format!(r#"{{"event":"{kind}","callid":"{call}","text":"{text}"}}"#);
    Ok(Event {
        id: EventId::of(&[kind.as_str(), call.as_str(), text]),
        subject: Subject::Call { kind, app: AppName::new("shop")?, partition: Partition::of(&call) },
        about: call.to_string(),
        source: "shop".to_owned(),
        time: Timestamp::from_second(1_790_000_000)?,
        extra: vec![("sinchpath".to_owned(), "/callback è 1".to_owned())],
        data: body.into(),
    })
}

fn posting(wallet: &WalletId, text: &str) -> Event {
    Event {
        id: EventId::of(&["posting", wallet.as_str(), text]),
        subject: Subject::Wallet(wallet.clone()),
        about: wallet.to_string(),
        source: "billing".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        extra: Vec::new(),
        data: format!(r#"{{"text":"{text}"}}"#).into(),
    }
}

/// A change of a list, or of the policy of an app.
fn configured(subject: Subject, text: &str) -> Event {
    Event {
        id: EventId::of(&["configured", &subject.to_string(), text]),
        about: subject.to_string(),
        subject,
        source: "api".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        extra: Vec::new(),
        data: format!(r#"{{"text":"{text}"}}"#).into(),
    }
}

fn list(name: &str) -> Result<(Subject, Filter)> {
    let name = ListName::new(name)?;
    Ok((Subject::List(name.clone()), Filter::List(name)))
}

fn policy(app: &str) -> Result<(Subject, Filter)> {
    let app = AppName::new(app)?;
    Ok((Subject::Policy(app.clone()), Filter::Policy(app)))
}

async fn read_all(bus: &Bus, filter: &Filter, after_seq: u64) -> Result<Vec<Recorded>> {
    Ok(bus.read(filter, after_seq).try_collect().await?)
}

async fn read_calls(bus: &Bus) -> Result<Vec<Event>> {
    Ok(read_all(bus, &Filter::All(Stream::Calls), 0).await?.into_iter().map(|recorded| recorded.event).collect())
}

/// Looks again and again until there is something, for as long as a slow machine may need.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found.with_context(|| format!("while waiting until {what}")),
        Err(_) => bail!("waited in vain until {what}"),
    }
}
