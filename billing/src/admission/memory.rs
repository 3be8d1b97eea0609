//! Admission in memory: the pure state machine behind one lock. Each step takes well under a microsecond, so a lock per
//! wallet would gain nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use money::{Admission, Wallet, WalletEvent, WalletFacts};
use proto::{Leg, WalletId};

use super::{ApplyReply, HoldReply, HoldRequest};

/// Admission for one process.
#[derive(Debug, Clone, Default)]
pub struct MemoryAdmission(Arc<Mutex<HashMap<WalletId, Admission>>>);

impl MemoryAdmission {
    pub(super) fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> HoldReply {
        let mut wallets = self.lock();
        let Some(admission) = wallets.get_mut(request.wallet) else { return HoldReply::NotLoaded };
        match admission.hold(now, request.leg, request.amount, request.expires_at, request.decision) {
            money::HoldReply::Ok => HoldReply::Ok,
            money::HoldReply::Dup(decision) => HoldReply::Dup(Bytes::from_owner(decision)),
            money::HoldReply::Insufficient { available } => HoldReply::Insufficient { available },
            money::HoldReply::Closed => HoldReply::Closed,
        }
    }

    pub(super) fn decision(&self, wallet: &WalletId, leg: &Leg) -> Option<Bytes> {
        self.lock().get(wallet)?.decision(leg).map(Bytes::from_owner)
    }

    pub(super) fn free(&self, wallet: &WalletId, leg: &Leg) {
        if let Some(admission) = self.lock().get_mut(wallet) {
            admission.free(leg);
        }
    }

    pub(super) fn facts(&self, now: Timestamp, wallet: &WalletId) -> Option<WalletFacts> {
        self.lock().get_mut(wallet).map(|admission| admission.facts(now))
    }

    pub(super) fn last_seq(&self, wallet: &WalletId) -> Option<u64> {
        self.lock().get(wallet).map(Admission::last_seq)
    }

    pub(super) fn apply(&self, prev_seq: u64, seq: u64, time: Timestamp, event: &WalletEvent) -> ApplyReply {
        match self.lock().get_mut(&event.wallet) {
            Some(admission) => ApplyReply::Done(admission.apply(prev_seq, seq, time, event)),
            None => ApplyReply::NotLoaded,
        }
    }

    pub(super) fn load(&self, id: &WalletId, wallet: &Wallet) {
        self.lock().entry(id.clone()).or_insert_with(|| Admission::load(wallet));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WalletId, Admission>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
