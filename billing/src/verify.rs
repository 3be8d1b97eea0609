//! Does admission say what the log says, and does the wallet's snapshot?

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bus::Bus;
use bytes::Bytes;
use futures::StreamExt;
use money::{Micros, PostingId, Wallet, WalletFacts};
use proto::WalletId;
use proto::event::json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admission::{Admission, AdmissionError};
use crate::ask::ask;
use crate::history::{self, Folded};
use crate::snapshot;

pub(crate) const SUBJECT: &str = "billing.v1.verify";

/// A long history takes a while to fold.
const VERIFIED_WITHIN: Duration = Duration::from_secs(20);

/// How often admission is looked at until no event came in between.
const LOOKS_MAX: usize = 10;

/// What became of the comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    pub wallet: WalletId,
    /// The last event admission was told of; none when the wallet is not loaded, and is loaded from the log when
    /// needed.
    pub seq: Option<u64>,
    /// Events in the log that admission was not told of yet.
    pub behind: usize,
    /// Empty when all is well.
    pub differences: Vec<Difference>,
}

/// One thing the two say differently, as of the same event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    ask(bus, SUBJECT, wallet, VERIFIED_WITHIN).await?
}

/// Billing's side.
pub(crate) async fn take(bus: &Bus, admission: &Admission, question: &[u8]) -> Bytes {
    let reply = compare(bus, admission, question).await;
    Bytes::from(json(&reply))
}

async fn compare(bus: &Bus, admission: &Admission, question: &[u8]) -> Result<Verified, String> {
    let id: WalletId = serde_json::from_slice(question).map_err(|error| error.to_string())?;
    let told = Told::by(admission, &id).await?;
    let snapshot = snapshot::find(bus, &id).await;
    // The whole history, whatever snapshots say.
    let (mut folded, mut log, mut behind, mut differences) = (Folded::default(), None, 0, Vec::new());
    let mut events = history::read(bus, &id, 0);
    while let Some(posted) = events.next().await {
        let posted = posted.map_err(|error| error.to_string())?;
        if told.as_ref().is_some_and(|told| posted.seq > told.seq) {
            log.get_or_insert_with(|| folded.wallet.clone());
            behind += 1;
        }
        folded.take(posted);
        if let Some(kept) = snapshot.as_ref().filter(|kept| kept.fold.last_seq() == folded.wallet.last_seq())
            && (kept.fold != folded.wallet || Some(&kept.event) != folded.last.as_ref())
        {
            let (log, admission) = ("another fold".to_owned(), format!("as of {}", kept.fold.last_seq()));
            differences.push(Difference { field: "snapshot".to_owned(), log, admission, by: None });
        }
    }
    let Some(told) = told else { return Ok(Verified { wallet: id, seq: None, behind, differences }) };
    let log = log.unwrap_or(folded.wallet);
    differences.extend(between(&log, &told));
    Ok(Verified { wallet: id, seq: Some(told.seq), behind, differences })
}

/// What admission says it was told, all of it as of one event.
struct Told {
    seq: u64,
    facts: WalletFacts,
    grants: BTreeMap<PostingId, Micros>,
}

impl Told {
    /// `None` when the wallet is not loaded.
    async fn by(admission: &Admission, id: &WalletId) -> Result<Option<Self>, String> {
        let unreachable = |error: AdmissionError| error.to_string();
        for _ in 0..LOOKS_MAX {
            let Some((seq, facts)) = admission.firm(id).await.map_err(unreachable)? else { return Ok(None) };
            let Some(grants) = admission.grants(id).await.map_err(unreachable)? else { return Ok(None) };
            if admission.position(id).await.map_err(unreachable)?.is_some_and(|at| at.seq == seq) {
                return Ok(Some(Self { seq, facts, grants }));
            }
        }
        Err(format!("{id} changes all the time: verify it again"))
    }
}

fn between(log: &Wallet, told: &Told) -> Vec<Difference> {
    let mut differences = differences(&log.facts(), &told.facts);
    if log.last_seq() != told.seq {
        let (log, admission) = (log.last_seq().to_string(), told.seq.to_string());
        differences.push(Difference { field: "last_seq".to_owned(), log, admission, by: None });
    }
    let expiring = log.grants().filter(|lot| lot.terms.expires_at.is_some());
    let expiring: BTreeMap<PostingId, Micros> = expiring.map(|lot| (lot.grant, lot.left)).collect();
    let names: BTreeSet<&PostingId> = expiring.keys().chain(told.grants.keys()).collect();
    for name in names {
        let [log, admission] = [&expiring, &told.grants].map(|grants| grants.get(name).copied().unwrap_or_default());
        if log != admission {
            let (field, by) = (format!("grant {}", name.as_str()), Some(admission.saturating_sub(log)));
            differences.push(Difference { field, log: log.to_string(), admission: admission.to_string(), by });
        }
    }
    differences
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
