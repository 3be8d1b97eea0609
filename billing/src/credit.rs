//! Credit before a call: what a wallet can pay for, held in admission, loaded from the log on demand.

use std::time::Duration;

use bus::{Bus, Clock};
use jiff::Timestamp;
use metrics::counter;
use money::wallet::LegState;
use money::{Applied, Hold, Micros, Wallet, WalletFacts};
use proto::{Filter, Kind, Leg, Stream, WalletId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use crate::admission::{Admission, AdmissionError, ApplyReply, HoldReply, HoldRequest};
use crate::group;
use crate::history::{self, NotFolded};

/// How long a load waits for billing to post what was decided before it.
const POSTED_WITHIN: Duration = Duration::from_millis(500);

/// Decisions a load looks through for holds that billing has not posted, and for how long.
const UNPOSTED_MAX: usize = 2_000;
const UNPOSTED_WITHIN: Duration = Duration::from_millis(300);

/// A wallet read longer ago is not loaded: who posts to a wallet that is not loaded tells admission again until then,
/// in case somebody was just loading it.
pub(crate) const LOADED_WITHIN: Duration = Duration::from_secs(5);

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
        let unposted = self.await_billing().await?;
        let began = Instant::now();
        let wallet = history::fold(&self.bus, id).await?;
        if wallet.last_seq() == 0 {
            // Not kept: anyone can name a wallet that does not exist.
            return Ok(wallet);
        }
        if began.elapsed() > LOADED_WITHIN {
            return Err(AdmissionError(format!("{id} took {:?} to read, and may have changed", began.elapsed())).into());
        }
        self.admission.load(id, &wallet, self.clock.now()).await?;
        repair(&self.bus, &self.admission, id).await?;
        if let Some(unposted) = unposted {
            self.hold_unposted(id, &wallet, unposted).await;
        }
        Ok(wallet)
    }

    /// Until billing has passed what now is the end of the calls, decided holds may be missing from the wallets.
    /// Answers what it had not passed in time.
    async fn await_billing(&self) -> Result<Option<Unposted>, CreditError> {
        let end = self.bus.last_seq(&Filter::All(Stream::Calls)).await.map_err(NotFolded::from)?;
        let give_up = Instant::now() + POSTED_WITHIN;
        loop {
            let floor = group::floor(&self.bus).await.map_err(NotFolded::from)?;
            if floor >= end {
                return Ok(None);
            }
            if Instant::now() >= give_up {
                return Ok(Some(Unposted { floor, end }));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Holds what was decided for the wallet and billing has not posted yet, as if it were asked for again. What does
    /// not fit any more, or is not in the log either, is exposed: said here, and told by the wallet's balance later.
    async fn hold_unposted(&self, id: &WalletId, wallet: &Wallet, Unposted { floor, end }: Unposted) {
        let (mut held, mut exposed, mut looked_at) = (Micros::ZERO, Micros::ZERO, 0);
        let give_up = Instant::now() + UNPOSTED_WITHIN;
        let mut decisions = Vec::new();
        for kind in [Kind::Decided, Kind::Dialled] {
            let mut events = self.bus.events(&Filter::Kind(kind), floor);
            while decisions.len() < UNPOSTED_MAX
                && let Ok(Ok(Some(decision))) = timeout_at(give_up, events.next()).await
                && decision.seq <= end
            {
                decisions.push(decision);
            }
        }
        for decision in decisions {
            looked_at += 1;
            let Some(hold) =
                hold_of(&decision.event.data, id).filter(|hold| wallet.leg(&hold.leg) == LegState::Unknown)
            else {
                continue;
            };
            let now = self.clock.now();
            let (date, expires_at) = (wallet.limits().date(now), hold.expires_at);
            let decision = &decision.event.data;
            let request = HoldRequest { wallet: id, leg: &hold.leg, amount: hold.amount, date, expires_at, decision };
            match self.admission.hold(now, request).await {
                Ok(HoldReply::Ok | HoldReply::Dup(_) | HoldReply::Closed) => held = held.saturating_add(hold.amount),
                Ok(HoldReply::Limited(_) | HoldReply::NotLoaded) | Err(_) => {
                    exposed = exposed.saturating_add(hold.amount)
                }
            }
        }
        counter!("callbus_wallets_loaded_early_total").increment(1);
        tracing::warn!(
            wallet = %id, floor, end, looked_at, %held, %exposed,
            "wallet loaded before billing caught up: what was decided and is not in the log yet is exposed"
        );
    }
}

/// What billing had not passed: the calls after `floor`, up to `end`.
#[derive(Debug, Clone, Copy)]
struct Unposted {
    floor: u64,
    end: u64,
}

/// What was decided, or dialled.
#[derive(Deserialize)]
struct Holding {
    hold: Option<Box<RawValue>>,
}

/// The hold of a decision or a leg that we dialled, if that wallet pays for it.
fn hold_of(decision: &[u8], wallet: &WalletId) -> Option<Hold> {
    let decided: Holding = serde_json::from_slice(decision).ok()?;
    let hold = serde_json::from_str::<Hold>(decided.hold?.get()).ok()?;
    (hold.wallet == *wallet).then_some(hold)
}

/// Applies to admission what it is missing of the wallet's events. A wallet that is not loaded misses nothing. One that
/// is ahead of the log is loaded anew when it is next asked for: the broker has lost what it was told.
pub(crate) async fn repair(bus: &Bus, admission: &Admission, id: &WalletId) -> Result<(), CreditError> {
    let Some(mut at) = admission.position(id).await? else { return Ok(()) };
    let end = bus.last_seq(&Filter::Wallet(id.clone())).await.map_err(NotFolded::from)?;
    if end < at.seq {
        tracing::warn!(wallet = %id, log = end, admission = at.seq, "admission is ahead of the log: the wallet is unloaded");
        return Ok(admission.unload(id).await?);
    }
    for posted in history::events(bus, id, at.seq).await? {
        match admission.apply(&at, posted.seq, posted.time, &posted.event).await? {
            ApplyReply::Done(Applied::Ok | Applied::Old) => at = at.after(posted.seq, &posted.event),
            // Somebody else repairs, or the wallet was lost again: its next load has everything.
            ApplyReply::Done(Applied::Gap { .. }) | ApplyReply::NotLoaded => break,
        }
    }
    Ok(())
}
