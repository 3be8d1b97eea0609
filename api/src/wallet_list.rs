//! All wallets: a fold of their stream, caught up whenever somebody looks.

use std::collections::BTreeMap;

use bus::{Bus, Recorded, Unavailable};
use money::{Wallet, WalletEvent};
use proto::{Filter, Stream, Subject, WalletId};

/// The fold. It grows with the number of wallets, as billing's own does.
#[derive(Debug, Default)]
pub(crate) struct WalletList {
    last_seq: u64,
    wallets: BTreeMap<WalletId, Wallet>,
}

impl WalletList {
    pub(crate) async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        let mut events = bus.events(&Filter::All(Stream::Wallets), self.last_seq);
        while let Some(Recorded { seq, event }) = events.next().await? {
            self.last_seq = seq;
            if let Subject::Wallet(id) = event.subject
                && let Ok(posted) = serde_json::from_slice::<WalletEvent>(&event.data)
            {
                self.wallets.entry(id).or_default().apply(seq, event.time, &posted);
            }
        }
        self.last_seq = events.passed_seq();
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
