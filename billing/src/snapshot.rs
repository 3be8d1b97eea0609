//! Snapshots of wallets, one document each: a wallet of a million postings is folded in the time its newest few
//! thousand take. The log needs none of them, and each is checked against the log whenever it is read.

use bus::Bus;
use bytes::Bytes;
use money::{Snapshot, Wallet};
use proto::event::json;
use proto::subject::token;
use proto::{EventId, WalletId};

/// Of the documents' names.
const PREFIX: &str = "wallet-snapshot.";

/// Postings after which a wallet's next snapshot is due.
const EVERY_POSTINGS: usize = 10_000;

/// Of what a wallet remembers, this share must be new before it is written again: a large one is not written all the
/// time.
const NEW_SHARE: usize = 4;

/// Whether so many postings after the last snapshot are worth the next.
pub(crate) fn is_due(wallet: &Wallet, postings: usize) -> bool {
    postings >= EVERY_POSTINGS.max(wallet.memories() / NEW_SHARE)
}

/// Keeps the wallet as of the event at its last sequence, in the place of its snapshot before.
///
/// # Errors
/// A sentence. The snapshot before, or the whole history, is read as well.
pub(crate) async fn keep(bus: &Bus, id: &WalletId, event: EventId, wallet: Wallet) -> Result<(), String> {
    let snapshot = Snapshot::new(id.clone(), event, wallet);
    // A large one takes a while to write.
    let written = tokio::task::spawn_blocking(move || Bytes::from(json(&snapshot))).await;
    let written = written.map_err(|error| error.to_string())?;
    bus.put_document(&name(id), written).await.map(drop).map_err(|error| error.to_string())
}

/// The wallet's snapshot, if there is one that can be read. Whether it belongs to this log is for the caller to see.
pub(crate) async fn find(bus: &Bus, id: &WalletId) -> Option<Snapshot> {
    // Being written again just now, or gone: the log has it all.
    let document = match bus.document(&name(id)).await {
        Ok(document) => document?,
        Err(error) => {
            tracing::warn!(%error, wallet = %id, "the snapshot is not read, the whole history is");
            return None;
        }
    };
    let read = tokio::task::spawn_blocking(move || serde_json::from_slice::<Snapshot>(&document.bytes)).await;
    match read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.to_string())) {
        Ok(snapshot) if snapshot.is_readable() && snapshot.wallet == *id => Some(snapshot),
        Ok(_) => None,
        Err(why) => {
            tracing::warn!(why, wallet = %id, "the snapshot cannot be read, the whole history is");
            None
        }
    }
}

/// Whether a document is the snapshot of some wallet.
pub(crate) fn is_one(document: &str) -> bool {
    document.starts_with(PREFIX)
}

fn name(id: &WalletId) -> String {
    format!("{PREFIX}{}", token(id.as_str()))
}
