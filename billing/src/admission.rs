//! May this call begin? One atomic place per wallet that holds credit before the decision is in the log.
//!
//! Two arms with the same replies: the pure [`money::Admission`] in memory, for one process, and the same comparisons
//! and additions as functions in Redis or Valkey, for many. A wallet that is not there is *not loaded*, never empty and
//! never free.

mod memory;
mod redis;

use std::collections::BTreeMap;

use bus::trace;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use money::{Applied, Limit, Limits, Micros, Posting, PostingId, Wallet, WalletEvent, WalletFacts};
use proto::{Leg, WalletId};
use tracing::{Instrument, info_span};

pub use memory::MemoryAdmission;
pub use redis::RedisAdmission;

/// Where credit is held.
#[derive(Debug, Clone)]
pub enum Admission {
    Memory(MemoryAdmission),
    Redis(RedisAdmission),
    /// In this process, behind a gate; for tests.
    #[cfg(feature = "storm")]
    Storm(MemoryAdmission, bus::storm::Gate),
}

/// What became of an ask for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReply {
    /// Held, and the decision is kept with it.
    Ok,
    /// The leg has a hold already; this is the decision kept with it.
    Dup(Bytes),
    /// The leg has ended, or it is held by a decision nobody remembers.
    Closed,
    Limited(Limit),
    NotLoaded,
}

/// What became of an event of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyReply {
    Done(Applied),
    /// Nobody needs the wallet now; it will be loaded with the event in it.
    NotLoaded,
}

/// A hold to place.
#[derive(Debug, Clone, Copy)]
pub struct HoldRequest<'a> {
    pub wallet: &'a WalletId,
    pub leg: &'a Leg,
    pub amount: Micros,
    /// What the wallet's calendar shows now.
    pub date: Date,
    /// When it frees itself, should its decision never reach the log.
    pub expires_at: Timestamp,
    /// The decision, kept for whoever asks about the same leg again.
    pub decision: &'a [u8],
}

/// Whether a wallet that is loaded may be loaded in its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    First,
    Again,
}

/// The last event a wallet was told of, and what the next one is to be read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub seq: u64,
    /// As that event left them.
    pub limits: Limits,
}

impl Position {
    pub(crate) fn of(wallet: &Wallet) -> Self {
        Self { seq: wallet.last_seq(), limits: wallet.limits().clone() }
    }

    /// Where the wallet stands after the event at `seq`.
    #[must_use]
    pub fn after(self, seq: u64, event: &WalletEvent) -> Self {
        let edits = event.postings.iter().filter_map(Posting::limits_edit);
        Self { seq, limits: edits.fold(self.limits, |limits, edit| limits.edited(edit)) }
    }
}

/// The place where credit is held did not do what was asked, or not in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("reach the admission of wallets: {0}")]
pub struct AdmissionError(pub(crate) String);

impl Admission {
    /// # Errors
    /// When Redis cannot be reached in time. Whether credit is held then is unknown; asking again for the same leg is
    /// safe.
    pub async fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> Result<HoldReply, AdmissionError> {
        let held = async {
            match self {
                Self::Memory(memory) => Ok(memory.hold(now, request)),
                Self::Redis(redis) => redis.hold(now, request).await,
                #[cfg(feature = "storm")]
                Self::Storm(memory, gate) => lost(gate.around("hold", async { memory.hold(now, request) }).await),
            }
        };
        held.instrument(info_span!(target: trace::TARGET, "hold", { trace::SPAN_KIND } = "client")).await
    }

    /// Frees a tentative hold whose decision will not be sent.
    ///
    /// # Errors
    /// When Redis cannot be reached in time; the hold then frees itself at its expiry.
    pub async fn free(&self, wallet: &WalletId, leg: &Leg) -> Result<(), AdmissionError> {
        match self {
            Self::Memory(memory) => {
                memory.free(wallet, leg);
                Ok(())
            }
            Self::Redis(redis) => redis.free(wallet, leg).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("free", async { memory.free(wallet, leg) }).await),
        }
    }

    /// `None` when the wallet is not loaded.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn facts(&self, now: Timestamp, wallet: &WalletId) -> Result<Option<WalletFacts>, AdmissionError> {
        match self {
            Self::Memory(memory) => Ok(memory.facts(now, wallet)),
            Self::Redis(redis) => redis.facts(now, wallet).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("facts", async { memory.facts(now, wallet) }).await),
        }
    }

    /// What the log has told of the wallet, tentative holds left out, and its last event; `None` when it is not loaded.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn firm(&self, wallet: &WalletId) -> Result<Option<(u64, WalletFacts)>, AdmissionError> {
        match self {
            Self::Memory(memory) => Ok(memory.firm(wallet)),
            Self::Redis(redis) => redis.firm(wallet).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("firm", async { memory.firm(wallet) }).await),
        }
    }

    /// What is left of the grants that expire; `None` when the wallet is not loaded.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn grants(&self, wallet: &WalletId) -> Result<Option<BTreeMap<PostingId, Micros>>, AdmissionError> {
        match self {
            Self::Memory(memory) => Ok(memory.grants(wallet)),
            Self::Redis(redis) => redis.grants(wallet).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("grants", async { memory.grants(wallet) }).await),
        }
    }

    /// Where the wallet stands; `None` when it is not loaded.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn position(&self, wallet: &WalletId) -> Result<Option<Position>, AdmissionError> {
        match self {
            Self::Memory(memory) => Ok(memory.position(wallet)),
            Self::Redis(redis) => redis.position(wallet).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("position", async { memory.position(wallet) }).await),
        }
    }

    /// Takes one event of the wallet's history, which must follow that position.
    ///
    /// # Errors
    /// When Redis cannot be reached in time; the event is then missing there until it is applied again.
    pub async fn apply(
        &self,
        after: &Position,
        seq: u64,
        time: Timestamp,
        event: &WalletEvent,
    ) -> Result<ApplyReply, AdmissionError> {
        match self {
            Self::Memory(memory) => Ok(memory.apply(after.seq, seq, time, event)),
            Self::Redis(redis) => redis.apply(after, seq, time, event).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => {
                lost(gate.around("apply", async { memory.apply(after.seq, seq, time, event) }).await)
            }
        }
    }

    /// Loads a wallet that is not loaded; one that is, stays as it is.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn load(&self, id: &WalletId, wallet: &Wallet, now: Timestamp) -> Result<(), AdmissionError> {
        match self {
            Self::Memory(memory) => {
                memory.load(id, wallet);
                Ok(())
            }
            Self::Redis(redis) => redis.load(id, wallet, now, Load::First).await.map(drop),
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("load", async { memory.load(id, wallet) }).await),
        }
    }

    /// Forgets the wallet: whoever asks next loads it from the log.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn unload(&self, id: &WalletId) -> Result<(), AdmissionError> {
        match self {
            Self::Memory(memory) => {
                memory.unload(id);
                Ok(())
            }
            Self::Redis(redis) => redis.unload(id).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("unload", async { memory.unload(id) }).await),
        }
    }

    /// Puts the wallet in the place of what is loaded, in one step; tentative holds stay. False when admission knows
    /// more than this wallet does: fold it again.
    ///
    /// # Errors
    /// When Redis cannot be reached in time.
    pub async fn reload(&self, id: &WalletId, wallet: &Wallet, now: Timestamp) -> Result<bool, AdmissionError> {
        match self {
            Self::Memory(memory) => Ok(memory.reload(id, wallet)),
            Self::Redis(redis) => redis.load(id, wallet, now, Load::Again).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost(gate.around("reload", async { memory.reload(id, wallet) }).await),
        }
    }
}

#[cfg(feature = "storm")]
fn lost<T>(value: Option<T>) -> Result<T, AdmissionError> {
    value.ok_or_else(|| AdmissionError("the storm took it".to_owned()))
}
