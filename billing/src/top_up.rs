//! Top-ups: billing alone writes wallets, so whoever takes the money asks billing to post it.

use std::time::Duration;

use bus::{AskError, Bus, Question};
use bytes::Bytes;
use money::posting::TopUp;
use money::{Currency, WalletFacts};
use proto::WalletId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::ledger::{Intent, Ledger, NotPosted};

pub(crate) const SUBJECT: &str = "billing.v1.topup";

/// Posting waits for the log, never for a person.
const POSTED_WITHIN: Duration = Duration::from_secs(5);

/// Money that came in, for a wallet. Safe to send again: the id of the top-up is posted once, for ever.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopUpOrder {
    pub wallet: WalletId,
    pub currency: Currency,
    pub top_up: TopUp,
}

/// A top-up that is in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopUpReceipt {
    /// It was posted before, with the same amount.
    pub duplicate: bool,
    pub wallet: WalletFacts,
}

/// Why a top-up is not in the log.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopUpError {
    /// For good.
    #[error("{0}")]
    Refused(String),
    /// Send it again: it may or may not be posted, and will be once.
    #[error("{0}")]
    Unavailable(String),
}

/// Asks billing to post a top-up.
///
/// # Errors
/// When billing refuses it, or does not answer.
pub async fn order(bus: &Bus, order: &TopUpOrder) -> Result<TopUpReceipt, TopUpError> {
    let unavailable = |cause: String| TopUpError::Unavailable(cause);
    let data = serde_json::to_vec(order).map_err(|error| unavailable(error.to_string()))?;
    let question = Question { headers: Vec::new(), data: Bytes::from(data) };
    match bus.ask(SUBJECT, question, Instant::now() + POSTED_WITHIN).await {
        Ok(reply) => serde_json::from_slice(&reply).map_err(|error| unavailable(error.to_string()))?,
        Err(AskError::NoResponder { .. }) => Err(unavailable("no billing role is running".to_owned())),
        Err(error @ (AskError::Deadline { .. } | AskError::Busy { .. } | AskError::Unavailable(_))) => {
            Err(unavailable(error.to_string()))
        }
    }
}

/// Billing's side.
pub(crate) async fn take(ledger: &Ledger, question: &[u8]) -> Bytes {
    let reply = post(ledger, question).await;
    Bytes::from(serde_json::to_vec(&reply).unwrap_or_default())
}

async fn post(ledger: &Ledger, question: &[u8]) -> Result<TopUpReceipt, TopUpError> {
    let TopUpOrder { wallet, currency, top_up } =
        serde_json::from_slice(question).map_err(|error| TopUpError::Refused(error.to_string()))?;
    match ledger.post(&wallet, Intent::TopUp { currency, top_up }).await {
        Ok(posted) => Ok(TopUpReceipt { duplicate: !posted.new, wallet: posted.facts }),
        Err(NotPosted::Refused(refused)) => Err(TopUpError::Refused(refused.to_string())),
        Err(NotPosted::Unavailable(cause) | NotPosted::Unreadable(cause)) => Err(TopUpError::Unavailable(cause)),
    }
}
