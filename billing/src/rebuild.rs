//! Loads a wallet into admission anew, from all of its history. Whatever was wrong there, or with the wallet's
//! snapshot, is right then; tentative holds stay.

use std::time::Duration;

use bus::{Bus, Clock};
use bytes::Bytes;
use proto::WalletId;
use proto::event::json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admission::Admission;
use crate::ask::ask;
use crate::credit::repair;
use crate::history::Folded;
use crate::snapshot;

pub(crate) const SUBJECT: &str = "billing.v1.rebuild";

/// A long history takes a while to fold.
const REBUILT_WITHIN: Duration = Duration::from_secs(60);

/// A wallet that changes while it is loaded is caught up with so many times.
const TRIES_MAX: usize = 10;

/// A wallet was loaded anew.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Rebuilt {
    pub wallet: WalletId,
    /// The last event it was loaded with; 0 for a wallet without any, which is not loaded.
    pub seq: u64,
    pub postings: usize,
}

/// Asks billing to load a wallet anew.
///
/// # Errors
/// A sentence, when it was not done; admission is as it was.
pub async fn rebuild(bus: &Bus, wallet: &WalletId) -> Result<Rebuilt, String> {
    ask(bus, SUBJECT, wallet, REBUILT_WITHIN).await?
}

/// Billing's side.
pub(crate) async fn take(bus: &Bus, admission: &Admission, clock: &Clock, question: &[u8]) -> Bytes {
    let reply = load_anew(bus, admission, clock, question).await;
    Bytes::from(json(&reply))
}

async fn load_anew(bus: &Bus, admission: &Admission, clock: &Clock, question: &[u8]) -> Result<Rebuilt, String> {
    let id: WalletId = serde_json::from_slice(question).map_err(|error| error.to_string())?;
    let mut folded = Folded::from_the_beginning(bus, &id).await.map_err(|error| error.to_string())?;
    let Some(event) = folded.last.clone() else { return Ok(Rebuilt { wallet: id, seq: 0, postings: 0 }) };
    if snapshot::is_due(&folded.wallet, folded.unkept) {
        snapshot::keep(bus, &id, event, folded.wallet.clone()).await?;
    }
    for _ in 0..TRIES_MAX {
        if admission.reload(&id, &folded.wallet, clock.now()).await.map_err(|error| error.to_string())? {
            repair(bus, admission, &id).await.map_err(|error| error.to_string())?;
            return Ok(Rebuilt { wallet: id, seq: folded.wallet.last_seq(), postings: folded.unkept });
        }
        folded.catch_up(bus, &id).await.map_err(|error| error.to_string())?;
    }
    Err(format!("{id} changes all the time: rebuild it again"))
}
