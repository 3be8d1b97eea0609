//! Credit before a call: what a wallet can pay for, held in admission, loaded from the log on demand.

use std::time::Duration;

use bus::{Bus, Clock};
use jiff::Timestamp;
use money::{Applied, Wallet, WalletFacts};
use proto::{Filter, Leg, Stream, WalletId};
use tokio::time::{Instant, sleep};

use crate::CONSUMER;
use crate::admission::{Admission, AdmissionError, ApplyReply, HoldReply, HoldRequest};
use crate::ledger::{self, NotFolded};

/// How long a load waits for billing to post what was decided before it.
const POSTED_WITHIN: Duration = Duration::from_millis(500);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What workers ask about money.
#[derive(Debug, Clone)]
pub struct Credit {
    bus: Bus,
    admission: Admission,
    clock: Clock,
}

/// Nobody can say now what the wallet holds.
#[derive(Debug, thiserror::Error)]
pub enum CreditError {
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    #[error(transparent)]
    NotFolded(#[from] NotFolded),
}

impl Credit {
    pub fn new(bus: Bus, admission: Admission, clock: Clock) -> Self {
        Self { bus, admission, clock }
    }

    /// Places a hold; loads the wallet first where that is needed. A wallet without any history has nothing.
    ///
    /// # Errors
    /// When admission or the log cannot be reached.
    pub async fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> Result<HoldReply, CreditError> {
        match self.admission.hold(now, request).await? {
            HoldReply::NotLoaded => {
                self.load(request.wallet).await?;
                Ok(self.admission.hold(now, request).await?)
            }
            reply @ (HoldReply::Ok | HoldReply::Dup(_) | HoldReply::Closed | HoldReply::Limited(_)) => Ok(reply),
        }
    }

    /// What the wallet holds now, tentative holds counted.
    ///
    /// # Errors
    /// When admission or the log cannot be reached.
    pub async fn facts(&self, wallet: &WalletId) -> Result<WalletFacts, CreditError> {
        let now = self.clock.now();
        if let Some(facts) = self.admission.facts(now, wallet).await? {
            return Ok(facts);
        }
        let folded = self.load(wallet).await?;
        Ok(self.admission.facts(now, wallet).await?.unwrap_or_else(|| folded.facts()))
    }

    /// Frees a hold whose decision will not be sent. Where that fails, it frees itself at its expiry.
    pub async fn free(&self, wallet: &WalletId, leg: &Leg) {
        if let Err(error) = self.admission.free(wallet, leg).await {
            tracing::warn!(%error, "a hold without decision stays until it expires");
        }
    }

    /// Folds the wallet and loads it. Billing may post meanwhile, so what came after the fold is applied as well.
    async fn load(&self, id: &WalletId) -> Result<Wallet, CreditError> {
        self.await_billing().await?;
        let wallet = ledger::fold(&self.bus, id).await?;
        if wallet.last_seq() == 0 {
            // Not kept: anyone can name a wallet that does not exist.
            return Ok(wallet);
        }
        self.admission.load(id, &wallet, self.clock.now()).await?;
        repair(&self.bus, &self.admission, id).await?;
        Ok(wallet)
    }

    /// Until billing has passed what now is the end of the calls, decided holds may be missing from the wallets.
    async fn await_billing(&self) -> Result<(), CreditError> {
        let calls = Filter::All(Stream::Calls);
        let end = self.bus.last_seq(&calls).await.map_err(NotFolded::from)?;
        let give_up = Instant::now() + POSTED_WITHIN;
        while self.bus.consumer_floor(&calls, CONSUMER).await.map_err(NotFolded::from)? < end {
            if Instant::now() >= give_up {
                tracing::warn!(within = ?POSTED_WITHIN, "wallet loaded before billing caught up: decided holds may be missing");
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Applies to admission what it is missing of the wallet's events. A wallet that is not loaded misses nothing.
pub(crate) async fn repair(bus: &Bus, admission: &Admission, id: &WalletId) -> Result<(), CreditError> {
    let Some(mut at) = admission.position(id).await? else { return Ok(()) };
    for posted in ledger::events(bus, id, at.seq).await? {
        match admission.apply(&at, posted.seq, posted.time, &posted.event).await? {
            ApplyReply::Done(Applied::Ok | Applied::Old) => at = at.after(posted.seq, &posted.event),
            // Somebody else repairs, or the wallet was lost again: its next load has everything.
            ApplyReply::Done(Applied::Gap { .. }) | ApplyReply::NotLoaded => break,
        }
    }
    Ok(())
}
