//! Orders: what billing is asked to post to a wallet.

use std::time::Duration;

use bus::Bus;
use bytes::Bytes;
use money::posting::{Change, TopUp};
use money::{Charged, Currency, Micros, PostingId, WalletFacts};
use proto::event::json;
use proto::{CallId, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::ask;
use crate::ledger::{Intent, Ledger, NotPosted};

pub(crate) const SUBJECT: &str = "billing.v1.order";

/// Posting waits for the log, never for a person.
const POSTED_WITHIN: Duration = Duration::from_secs(5);

/// Something to post to a wallet. Safe to send again: it is posted once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub wallet: WalletId,
    pub what: Ordered,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordered {
    TopUp {
        currency: Currency,
        top_up: TopUp,
    },
    /// The first posting of a wallet needs a currency.
    Change {
        currency: Option<Currency>,
        change: Change,
    },
    /// Of what a call was charged; without an amount all that is left.
    Refund {
        call: CallId,
        id: PostingId,
        amount: Option<Micros>,
        note: String,
        by: String,
    },
    /// What a call was charged becomes `to`.
    Correct {
        call: CallId,
        id: PostingId,
        to: Micros,
        note: String,
        by: String,
    },
}

/// What was ordered is in the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// It was so before.
    pub duplicate: bool,
    pub wallet: WalletFacts,
}

/// Why an order is not in the log.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderError {
    /// For good.
    #[error("{0}")]
    Refused(String),
    /// Send it again: it may or may not be posted, and will be once.
    #[error("{0}")]
    Unavailable(String),
}

/// Asks billing to post an order.
///
/// # Errors
/// When billing refuses it, or does not answer.
pub async fn order(bus: &Bus, order: &Order) -> Result<Receipt, OrderError> {
    ask(bus, SUBJECT, order, POSTED_WITHIN).await.map_err(OrderError::Unavailable)?
}

/// Billing's side.
pub(crate) async fn take(ledger: &Ledger, question: &[u8]) -> Bytes {
    let reply = post(ledger, question).await;
    Bytes::from(json(&reply))
}

async fn post(ledger: &Ledger, question: &[u8]) -> Result<Receipt, OrderError> {
    let Order { wallet, what } =
        serde_json::from_slice(question).map_err(|error| OrderError::Refused(error.to_string()))?;
    let intent = match what {
        Ordered::TopUp { currency, top_up } => Intent::TopUp { currency, top_up },
        Ordered::Change { currency, change } => Intent::Change { currency, change },
        Ordered::Refund { call, id, amount, note, by } => {
            Intent::Refund { charged: charged(ledger, &wallet, &call).await?, id, amount, note, by }
        }
        Ordered::Correct { call, id, to, note, by } => {
            Intent::Correct { charged: correctable(ledger, &wallet, &call).await?, id, to, note, by }
        }
    };
    let posted = ledger.post(&wallet, intent).await?;
    Ok(Receipt { duplicate: !posted.new, wallet: posted.facts })
}

async fn charged(ledger: &Ledger, wallet: &WalletId, call: &CallId) -> Result<Charged, OrderError> {
    let found = ledger.charged(wallet, call).await?;
    found.ok_or_else(|| OrderError::Refused(format!("{wallet} was not charged for the call {call}")))
}

async fn correctable(ledger: &Ledger, wallet: &WalletId, call: &CallId) -> Result<Charged, OrderError> {
    let found = ledger.correctable(wallet, call).await?;
    found.ok_or_else(|| OrderError::Refused(format!("{wallet} never held credit for the call {call}")))
}

impl From<NotPosted> for OrderError {
    fn from(error: NotPosted) -> Self {
        match error {
            NotPosted::Refused(refused) => Self::Refused(refused.to_string()),
            NotPosted::Unavailable(cause) | NotPosted::Unreadable(cause) => Self::Unavailable(cause),
        }
    }
}
