//! Admission in memory: the pure state machine behind one lock. Each step takes well under a microsecond, so a lock per
//! wallet would gain nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use money::{Admission, Posting, Wallet, WalletEvent, WalletFacts};
use proto::{Leg, WalletId};

use super::{ApplyReply, HoldReply, HoldRequest};

/// Decisions of holds that freed themselves are swept after this many new ones.
const SWEEP_EVERY: usize = 256;

/// Admission for one process.
#[derive(Debug, Clone, Default)]
pub struct MemoryAdmission(Arc<Mutex<HashMap<WalletId, Loaded>>>);

#[derive(Debug)]
struct Loaded {
    admission: Admission,
    decisions: HashMap<Leg, Decision>,
}

#[derive(Debug)]
struct Decision {
    bytes: Bytes,
    expires_at: Timestamp,
}

impl MemoryAdmission {
    pub(super) fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> HoldReply {
        let mut wallets = self.lock();
        let Some(Loaded { admission, decisions }) = wallets.get_mut(request.wallet) else { return HoldReply::NotLoaded };
        match admission.hold(now, request.leg, request.amount, request.expires_at) {
            money::HoldReply::Ok => {
                if decisions.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
                    decisions.retain(|_, decision| decision.expires_at > now);
                }
                let decision =
                    Decision { bytes: Bytes::copy_from_slice(request.decision), expires_at: request.expires_at };
                decisions.insert(request.leg.clone(), decision);
                HoldReply::Ok
            }
            money::HoldReply::Dup => match decisions.get(request.leg) {
                Some(decision) => HoldReply::Dup(decision.bytes.clone()),
                // Held, but by a decision from before a restart: it is in the log, and its answer was given.
                None => HoldReply::Closed,
            },
            money::HoldReply::Insufficient { available } => HoldReply::Insufficient { available },
            money::HoldReply::Closed => HoldReply::Closed,
        }
    }

    pub(super) fn free(&self, wallet: &WalletId, leg: &Leg) {
        if let Some(Loaded { admission, decisions }) = self.lock().get_mut(wallet) {
            admission.free(leg);
            decisions.remove(leg);
        }
    }

    pub(super) fn facts(&self, wallet: &WalletId) -> Option<WalletFacts> {
        self.lock().get(wallet).map(|loaded| loaded.admission.facts())
    }

    pub(super) fn apply(&self, prev_seq: u64, seq: u64, time: Timestamp, event: &WalletEvent) -> ApplyReply {
        let mut wallets = self.lock();
        let Some(Loaded { admission, decisions }) = wallets.get_mut(&event.wallet) else { return ApplyReply::NotLoaded };
        let applied = admission.apply(prev_seq, seq, time, event);
        if applied == money::Applied::Ok {
            for leg in event.postings.iter().filter_map(Posting::closes) {
                decisions.remove(leg);
            }
        }
        ApplyReply::Done(applied)
    }

    pub(super) fn load(&self, id: &WalletId, wallet: &Wallet) {
        let loaded = || Loaded { admission: Admission::load(wallet), decisions: HashMap::new() };
        self.lock().entry(id.clone()).or_insert_with(loaded);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WalletId, Loaded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
