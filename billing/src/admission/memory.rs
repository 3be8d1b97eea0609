//! Admission in memory: the pure state machine behind one lock. Each step takes well under a microsecond, so a lock per
//! wallet would gain nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use money::{Admission, Micros, PostingId, Wallet, WalletEvent, WalletFacts};
use proto::{Leg, WalletId};

use super::{ApplyReply, HoldReply, HoldRequest, Position};

/// Admission for one process.
#[derive(Debug, Clone, Default)]
pub struct MemoryAdmission(Arc<Mutex<HashMap<WalletId, Admission>>>);

impl MemoryAdmission {
    pub(super) fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> HoldReply {
        let mut wallets = self.lock();
        let Some(admission) = wallets.get_mut(request.wallet) else { return HoldReply::NotLoaded };
        match admission.hold(now, request.date, request.leg, request.amount, request.expires_at, request.decision) {
            money::HoldReply::Ok => HoldReply::Ok,
            money::HoldReply::Dup(decision) => HoldReply::Dup(Bytes::from_owner(decision)),
            money::HoldReply::Closed => HoldReply::Closed,
            money::HoldReply::Limited(limit) => HoldReply::Limited(limit),
        }
    }

    pub(super) fn free(&self, wallet: &WalletId, leg: &Leg) {
        if let Some(admission) = self.lock().get_mut(wallet) {
            admission.free(leg);
        }
    }

    pub(super) fn facts(&self, now: Timestamp, wallet: &WalletId) -> Option<WalletFacts> {
        self.lock().get_mut(wallet).map(|admission| admission.facts(now))
    }

    pub(super) fn firm(&self, wallet: &WalletId) -> Option<(u64, WalletFacts)> {
        self.lock().get(wallet).map(|admission| (admission.last_seq(), admission.firm()))
    }

    pub(super) fn position(&self, wallet: &WalletId) -> Option<Position> {
        self.lock()
            .get(wallet)
            .map(|admission| Position { seq: admission.last_seq(), limits: admission.limits().clone() })
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

    pub(super) fn unload(&self, id: &WalletId) {
        self.lock().remove(id);
    }

    /// What was held is lost, as when Redis is.
    #[cfg(feature = "storm")]
    pub fn forget(&self) {
        self.lock().clear();
    }

    pub(super) fn reload(&self, id: &WalletId, wallet: &Wallet) -> bool {
        let mut wallets = self.lock();
        let fresh = match wallets.get(id) {
            Some(known) if known.last_seq() > wallet.last_seq() => return false,
            Some(known) => known.reloaded(wallet),
            None => Admission::load(wallet),
        };
        wallets.insert(id.clone(), fresh);
        true
    }

    pub(super) fn grants(&self, wallet: &WalletId) -> Option<BTreeMap<PostingId, Micros>> {
        let grants = |admission: &Admission| admission.grants().map(|(grant, left)| (grant.clone(), left)).collect();
        self.lock().get(wallet).map(grants)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WalletId, Admission>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
