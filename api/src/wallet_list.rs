//! All wallets: a fold of their stream, caught up whenever somebody looks.

use std::collections::BTreeMap;

use bus::{Bus, ReadError};
use futures::StreamExt;
use money::{Wallet, WalletEvent};
use proto::{Filter, Stream, Subject, WalletId};

/// The fold. It grows with the number of wallets, as billing's own does.
#[derive(Debug, Default)]
pub(crate) struct WalletList {
    last_seq: u64,
    wallets: BTreeMap<WalletId, Wallet>,
}

impl WalletList {
    pub(crate) async fn catch_up(&mut self, bus: &Bus) -> Result<(), ReadError> {
        let mut recorded = bus.read(&Filter::All(Stream::Wallets), self.last_seq);
        while let Some(next) = recorded.next().await {
            let next = match next {
                Ok(next) => next,
                Err(ReadError::NotAnEvent { seq, .. }) => {
                    self.last_seq = self.last_seq.max(seq);
                    continue;
                }
                Err(error @ ReadError::Unavailable(_)) => return Err(error),
            };
            self.last_seq = next.seq;
            if let Subject::Wallet(id) = next.event.subject
                && let Ok(event) = serde_json::from_slice::<WalletEvent>(&next.event.data)
            {
                self.wallets.entry(id).or_default().apply(next.seq, next.event.time, &event);
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, id: &WalletId) -> Option<&Wallet> {
        self.wallets.get(id)
    }

    /// By name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&WalletId, &Wallet)> {
        self.wallets.iter()
    }
}
