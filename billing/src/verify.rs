//! Does admission say what the log says? Only billing reaches both, so whoever wants to know asks billing.

use std::time::Duration;

use bus::{AskError, Bus, Question};
use bytes::Bytes;
use money::{Micros, Wallet, WalletFacts};
use proto::WalletId;
use proto::event::json;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::admission::Admission;
use crate::ledger;

pub(crate) const SUBJECT: &str = "billing.v1.verify";

/// A long history takes a while to fold.
const VERIFIED_WITHIN: Duration = Duration::from_secs(20);

/// What became of the comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    pub wallet: WalletId,
    /// The last event admission was told of; none when the wallet is not loaded, and is loaded from the log when needed.
    pub seq: Option<u64>,
    /// Events in the log that admission was not told of yet.
    pub behind: usize,
    /// Empty when all is well.
    pub differences: Vec<Difference>,
}

/// One thing the two say differently, as of the same event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub field: String,
    pub log: String,
    pub admission: String,
    /// Admission less log, where they are amounts.
    pub by: Option<Micros>,
}

/// Asks billing to compare a wallet.
///
/// # Errors
/// A sentence, when billing cannot tell now.
pub async fn verify(bus: &Bus, wallet: &WalletId) -> Result<Verified, String> {
    let data = serde_json::to_vec(wallet).map_err(|error| error.to_string())?;
    let question = Question { headers: Vec::new(), data: Bytes::from(data) };
    match bus.ask(SUBJECT, question, Instant::now() + VERIFIED_WITHIN).await {
        Ok(reply) => serde_json::from_slice(&reply).map_err(|error| error.to_string())?,
        Err(AskError::NoResponder { .. }) => Err("no billing role is running".to_owned()),
        Err(error @ (AskError::Deadline { .. } | AskError::Busy { .. } | AskError::Unavailable(_))) => {
            Err(error.to_string())
        }
    }
}

/// Billing's side.
pub(crate) async fn take(bus: &Bus, admission: &Admission, question: &[u8]) -> Bytes {
    let reply = compare(bus, admission, question).await;
    Bytes::from(json(&reply))
}

async fn compare(bus: &Bus, admission: &Admission, question: &[u8]) -> Result<Verified, String> {
    let id: WalletId = serde_json::from_slice(question).map_err(|error| error.to_string())?;
    let Some((seq, theirs)) = admission.firm(&id).await.map_err(|error| error.to_string())? else {
        return Ok(Verified { wallet: id, seq: None, behind: 0, differences: Vec::new() });
    };
    let (mut wallet, mut behind) = (Wallet::default(), 0);
    for posted in ledger::events(bus, &id, 0).await.map_err(|error| error.to_string())? {
        if posted.seq <= seq {
            wallet.apply(posted.seq, posted.time, &posted.event);
        } else {
            behind += 1;
        }
    }
    let mut differences = differences(&wallet.facts(), &theirs);
    if wallet.last_seq() != seq {
        let (log, admission) = (wallet.last_seq().to_string(), seq.to_string());
        differences.push(Difference { field: "last_seq".to_owned(), log, admission, by: None });
    }
    Ok(Verified { wallet: id, seq: Some(seq), behind, differences })
}

/// What is available follows from the rest and the time, so it is not compared.
fn differences(log: &WalletFacts, admission: &WalletFacts) -> Vec<Difference> {
    let amounts = [
        ("posted", log.posted, admission.posted),
        ("held", log.held, admission.held),
        ("credit_limit", log.credit_limit, admission.credit_limit),
        ("spent.day", log.spent.day, admission.spent.day),
        ("spent.month", log.spent.month, admission.spent.month),
    ];
    let texts = [
        ("currency", format!("{:?}", log.currency), format!("{:?}", admission.currency)),
        ("status", format!("{:?}", log.status), format!("{:?}", admission.status)),
        ("spent.date", log.spent.date.to_string(), admission.spent.date.to_string()),
        ("limits", format!("{:?}", log.limits), format!("{:?}", admission.limits)),
    ];
    let amounts = amounts.into_iter().map(|(field, log, admission)| {
        let by = Some(admission.saturating_sub(log));
        Difference { field: field.to_owned(), log: log.to_string(), admission: admission.to_string(), by }
    });
    let texts = texts.into_iter().map(|(field, log, admission)| Difference {
        field: field.to_owned(),
        log,
        admission,
        by: None,
    });
    amounts.chain(texts).filter(|difference| difference.log != difference.admission).collect()
}
