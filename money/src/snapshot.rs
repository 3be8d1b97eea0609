//! A snapshot: a wallet as its events up to one of them make it, so that a long history need not be read again.
//!
//! It is not part of the history. Whoever reads one goes on from the event it names, and falls back to the history
//! itself where there is no such event: a snapshot may be lost, out of date or of another version, and never matters.

use proto::{EventId, WalletId};
use serde::{Deserialize, Serialize};

use crate::wallet::Wallet;

/// Changes with the shape of a snapshot and with what the fold means by it: one of another version is not read.
pub const VERSION: u32 = 1;

/// A wallet up to one of its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    version: u32,
    /// Whose it is.
    pub wallet: WalletId,
    /// The event at [`Wallet::last_seq`]: if the log has another one there, it is another log.
    pub event: EventId,
    /// The wallet as all its events up to that one make it.
    pub fold: Wallet,
}

impl Snapshot {
    /// Of this version. `event` is the one at the fold's last sequence.
    pub fn new(wallet: WalletId, event: EventId, fold: Wallet) -> Self {
        Self { version: VERSION, wallet, event, fold }
    }

    /// Whether this program may go on from it.
    pub fn is_readable(&self) -> bool {
        self.version == VERSION
    }
}
