//! Bad weather for tests: a bus and a cache whose every call passes a gate, where it may be late, lost, or the caller's
//! last. All of it runs on one thread and on tokio's clock, so that a seed is a history.
//!
//! A [`Storm`] is what outlives its roles: the disk, and the wire that carries questions. Every life of a role has a
//! [`Bus`] of its own on it, with its own gate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proto::EventId;

use crate::ask::Registry;
use crate::bus::Bus;
use crate::cache::{Cache, MemoryCache};
use crate::clock::Clock;
use crate::embedded::Embedded;
use crate::error::OpenError;
use crate::error::Unavailable;
use crate::log_file::LogFile;
use crate::log_file::storm::{self, Disk, Hand};

/// When a call passes the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it is done.
    Before,
    /// All of it is done, and the caller does not know yet.
    After,
}

/// What becomes of a call at its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It goes on after this long.
    Late(Duration),
    /// The caller is told that it failed, whether it was done or not.
    Lost,
    /// The caller never hears of it: whoever says this ends the caller's life.
    Crash,
}

/// Decides about the calls of one life of a role.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn(&'static str, Moment) -> Fate + Send + Sync>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub fn new(fate: impl Fn(&'static str, Moment) -> Fate + Send + Sync + 'static) -> Self {
        Self(Arc::new(fate))
    }

    /// A gate that stands open.
    pub fn open() -> Self {
        Self::new(|_, _| Fate::Pass)
    }

    /// Lets a call through, both ways; `None` when the caller is to be told that it failed.
    pub async fn around<T>(&self, call: &'static str, effect: impl Future<Output = T>) -> Option<T> {
        self.pass(call, Moment::Before).await?;
        let value = effect.await;
        self.pass(call, Moment::After).await?;
        Some(value)
    }

    async fn pass(&self, call: &'static str, moment: Moment) -> Option<()> {
        match (self.0)(call, moment) {
            Fate::Pass => Some(()),
            Fate::Late(by) => {
                tokio::time::sleep(by).await;
                Some(())
            }
            Fate::Lost => None,
            Fate::Crash => std::future::pending().await,
        }
    }
}

/// Where an ingress keeps what the log does not have yet.
#[derive(Debug, Clone, Default)]
pub struct Spool(storm::Spool);

impl Spool {
    /// What is in it, oldest first.
    pub fn events(&self) -> Vec<EventId> {
        storm::spooled(&self.0)
    }
}

/// What the roles of one installation share.
#[derive(Debug, Clone)]
pub struct Storm {
    disk: Arc<Disk>,
    wire: Arc<Registry>,
    memory: Arc<MemoryCache>,
}

impl Storm {
    /// An installation without a past. `clock` is that of its memory.
    ///
    /// # Errors
    /// When SQLite does not work at all.
    pub fn new(clock: Clock) -> Result<Self, OpenError> {
        let failed = |error: rusqlite::Error| OpenError::File { path: ":memory:".into(), why: error.to_string() };
        let (disk, wire) = (Arc::new(Disk::new().map_err(failed)?), Arc::default());
        Ok(Self { disk, wire, memory: Arc::new(MemoryCache::new(usize::MAX, clock)) })
    }

    /// The bus of one life.
    pub fn bus(&self, gate: &Gate, clock: Clock) -> Bus {
        self.bus_with(gate, clock, None)
    }

    /// The same for who has a spool, which outlives it: what it records is durable there, and not yet in the log.
    pub fn bus_with(&self, gate: &Gate, clock: Clock, spool: Option<&Spool>) -> Bus {
        let spool = spool.map(|spool| Arc::clone(&spool.0));
        let hand = Hand { disk: Arc::clone(&self.disk), gate: gate.clone(), spool };
        Bus::Embedded(Arc::new(Embedded::in_storm(LogFile::in_storm(hand), Arc::clone(&self.wire), gate, clock)))
    }

    /// The shared memory as one life reaches it.
    pub fn cache(&self, gate: &Gate) -> Cache {
        Cache::Storm(Arc::clone(&self.memory), gate.clone())
    }

    /// Hands the oldest of a spool over to the log; false when there is none.
    ///
    /// # Errors
    /// When the log cannot be written at all.
    pub fn forward(&self, spool: &Spool) -> Result<bool, Unavailable> {
        self.disk.forward(&spool.0).map_err(|error| Unavailable::new("write to the log", error))
    }

    /// What was remembered is lost.
    pub fn forget(&self) {
        self.memory.clear();
    }
}
