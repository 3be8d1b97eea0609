//! Wallets read from the log: their events, and the fold of them, which goes on from a snapshot where there is one.

use bus::{Bus, ReadError, Unavailable};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use money::{Snapshot, Wallet, WalletEvent};
use proto::{EventId, Filter, WalletId};

use crate::snapshot;

/// A wallet's history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NotFolded {
    #[error("fold a wallet: {0}")]
    Read(#[from] ReadError),
    #[error("fold a wallet: {0}")]
    Unavailable(#[from] Unavailable),
    #[error("fold the wallet {wallet}: the event at sequence {seq} is not a wallet event: {cause}")]
    Event { wallet: WalletId, seq: u64, cause: serde_json::Error },
}

/// One event of a wallet, with its place.
#[derive(Debug)]
pub struct PostedEvent {
    pub seq: u64,
    pub id: EventId,
    pub time: Timestamp,
    pub event: WalletEvent,
}

/// The wallet's events after a sequence, in order.
///
/// # Errors
/// When the log cannot be read, or holds something under the wallet's subject that is not its event.
pub async fn events(bus: &Bus, id: &WalletId, after_seq: u64) -> Result<Vec<PostedEvent>, NotFolded> {
    let (mut events, mut reading) = (Vec::new(), read(bus, id, after_seq));
    while let Some(posted) = reading.next().await {
        events.push(posted?);
    }
    Ok(events)
}

/// As [`events`], one after another.
pub(crate) fn read(bus: &Bus, id: &WalletId, after_seq: u64) -> BoxStream<'static, Result<PostedEvent, NotFolded>> {
    let wallet = id.clone();
    let posted = move |recorded: Result<bus::Recorded, ReadError>| {
        let bus::Recorded { seq, event } = recorded?;
        match serde_json::from_slice(&event.data) {
            Ok(posted) => Ok(PostedEvent { seq, id: event.id, time: event.time, event: posted }),
            Err(cause) => Err(NotFolded::Event { wallet: wallet.clone(), seq, cause }),
        }
    };
    bus.read(&Filter::Wallet(id.clone()), after_seq).map(posted).boxed()
}

/// The wallet as its events make it. One without events is an empty wallet at sequence 0.
///
/// # Errors
/// As [`events`].
pub async fn fold(bus: &Bus, id: &WalletId) -> Result<Wallet, NotFolded> {
    Ok(Folded::of(bus, id).await?.wallet)
}

/// A wallet as of one of its events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded {
    pub wallet: Wallet,
    /// The event at its last sequence.
    pub last: Option<EventId>,
    /// Postings since its last snapshot.
    pub unkept: usize,
}

impl Folded {
    /// As of now.
    pub(crate) async fn of(bus: &Bus, id: &WalletId) -> Result<Self, NotFolded> {
        if let Some(snapshot) = snapshot::find(bus, id).await {
            let Snapshot { event, fold: wallet, .. } = snapshot;
            let mut folded = Self { wallet, last: Some(event), unkept: 0 };
            if folded.read_on(bus, id).await? {
                return Ok(folded);
            }
            tracing::warn!(wallet = %id, "the snapshot is of another log, the whole history is read");
        }
        Self::from_the_beginning(bus, id).await
    }

    /// The same without any snapshot.
    pub(crate) async fn from_the_beginning(bus: &Bus, id: &WalletId) -> Result<Self, NotFolded> {
        let mut folded = Self::default();
        folded.read_on(bus, id).await?;
        Ok(folded)
    }

    /// Takes what has come since. A log that has lost the event it ended with, as a broker's may by a power cut, is
    /// folded anew.
    pub(crate) async fn catch_up(&mut self, bus: &Bus, id: &WalletId) -> Result<(), NotFolded> {
        if !self.read_on(bus, id).await? {
            tracing::warn!(wallet = %id, seq = self.wallet.last_seq(), "the log has lost what was known of the wallet");
            *self = Self::of(bus, id).await?;
        }
        Ok(())
    }

    /// Reads from the event it ends with, and that too: false, with nothing taken, when the log has another one there.
    async fn read_on(&mut self, bus: &Bus, id: &WalletId) -> Result<bool, NotFolded> {
        let last_seq = self.wallet.last_seq();
        let mut reading = read(bus, id, last_seq.saturating_sub(1));
        if let Some(last) = &self.last {
            match reading.next().await.transpose()? {
                Some(named) if named.seq == last_seq && named.id == *last => {}
                Some(_) | None => return Ok(false),
            }
        }
        while let Some(posted) = reading.next().await {
            self.take(posted?);
        }
        Ok(true)
    }

    pub(crate) fn take(&mut self, PostedEvent { seq, id, time, event }: PostedEvent) {
        self.wallet.apply(seq, time, &event);
        self.last = Some(id);
        self.unkept += event.postings.len();
    }
}

#[cfg(test)]
mod tests;
