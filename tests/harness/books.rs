//! The books after a load: every acknowledged callback is followed to the log and to its bill, and the money is counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bus::Bus;
use futures::TryStreamExt;
use money::{Micros, Posting, Wallet};
use proto::{CallId, Decided, EventId, Filter, Kind, Outcome, Settled, Stream, Subject, WalletId};
use serde_json::Value;

use crate::World;
use crate::load::{Call, SECS, Sent};
use crate::world::WALLET;

/// What a call of a load costs, by the price list of stories.
const COST_MICROS: i64 = 20_000 * SECS as i64;
/// Until then what was acknowledged has come to its end. A broker that was started anew is found within two seconds,
/// and what lay in a spool of somebody gone for good within ten.
const SETTLED_WITHIN: Duration = Duration::from_secs(45);

/// What was found.
#[derive(Debug, Default)]
pub struct Books {
    /// What was acknowledged and is not in the log, or not billed, or billed for something else.
    pub missing: Vec<String>,
    /// Calls with more than one charge.
    pub charged_twice: Vec<CallId>,
    /// Calls that were charged.
    pub charged: usize,
    /// Calls that are still held for, since nobody acknowledged their end.
    pub open: usize,
    /// Answers that were no policy's yes, by their reason.
    pub reasons: BTreeMap<String, usize>,
    pub settled_after: Duration,
}

/// All that is in the log of calls.
struct Log {
    ids: HashSet<EventId>,
    decided: HashMap<CallId, Vec<Decided>>,
    settled: HashMap<CallId, Settled>,
}

/// Waits until all has come to its end, then counts. `top_up` euros are all the wallet ever got.
///
/// # Errors
/// When the wallet does not add up, admission says something else, or a signature in the log does not hold.
pub async fn of(world: &World, calls: &[Call], top_up: i64) -> Result<Books> {
    let ended = Instant::now();
    let log = loop {
        let log = read(&world.log().await?).await?;
        if missing(&log, calls).is_empty() || ended.elapsed() > SETTLED_WITHIN {
            break log;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut books = Books { missing: missing(&log, calls), settled_after: ended.elapsed(), ..Books::default() };
    for (call, sent) in calls.iter().flat_map(|call| call.sent.iter().map(move |sent| (call, sent))) {
        let Some(decided) = decision(&log, call, sent) else { continue };
        match decided.outcome {
            Outcome::Fallback | Outcome::Refused => {
                *books.reasons.entry(decided.reason.clone().unwrap_or_default()).or_default() += 1;
            }
            Outcome::Answered | Outcome::Granted => {}
        }
    }
    if books.missing.is_empty() {
        world.billing_caught_up().await?;
        count(world, calls, top_up, &mut books).await?;
    }
    Ok(books)
}

async fn read(bus: &Bus) -> Result<Log> {
    let mut log = Log { ids: HashSet::new(), decided: HashMap::new(), settled: HashMap::new() };
    let mut events = bus.read(&Filter::All(Stream::Calls), 0);
    while let Some(recorded) = events.try_next().await? {
        let event = recorded.event;
        if let (Subject::Call { kind, .. }, Ok(call)) = (&event.subject, CallId::new(event.about.as_str())) {
            if *kind == Kind::Decided {
                log.decided.entry(call).or_default().push(serde_json::from_slice(&event.data)?);
            } else if *kind == Kind::Settled {
                let cdr: Settled = serde_json::from_slice(&event.data)?;
                if log.settled.get(&call).is_none_or(|standing| cdr.replaces(standing)) {
                    log.settled.insert(call, cdr);
                }
            }
        }
        log.ids.insert(event.id);
    }
    Ok(log)
}

/// The decision behind an answer, to the byte.
fn decision<'log>(log: &'log Log, call: &Call, sent: &Sent) -> Option<&'log Decided> {
    let (answer, decided) = (sent.answer.as_ref()?, log.decided.get(&call.call)?);
    decided.iter().find(|decided| decided.kind == sent.kind && decided.answer.get().as_bytes() == answer)
}

fn missing(log: &Log, calls: &[Call]) -> Vec<String> {
    let mut missing = Vec::new();
    for call in calls {
        let mut lacks = |what: String| missing.push(format!("{}: {what}", call.call));
        for sent in call.sent.iter().filter(|sent| sent.answer.is_some()) {
            if !log.ids.contains(&sent.id) {
                lacks(format!("its {} is not in the log", sent.kind));
            }
            if sent.kind.wants_svaml() && decision(log, call, sent).is_none() {
                lacks(format!("the answer to its {} is not in the log", sent.kind));
            }
        }
        // One whose beginning nobody took is settled as unmatched, a minute later.
        if !call.has_acknowledged(Kind::Ice) || !call.has_acknowledged(Kind::Dice) {
            continue;
        }
        match log.settled.get(&call.call) {
            None => lacks("it is not settled".to_owned()),
            Some(cdr) if call.is_connected => {
                if !matches!(&cdr.legs[..], [leg] if leg.billed_secs == SECS && !leg.estimate) {
                    lacks(format!("it is not billed for what it was: {cdr:?}"));
                }
            }
            Some(cdr) => {
                if cdr.legs.iter().any(|leg| !leg.cost.is_zero()) {
                    lacks(format!("it was not let through, and is billed: {cdr:?}"));
                }
            }
        }
    }
    missing
}

/// Charges, holds and the balance; then what admission, the commands and the signatures say.
async fn count(world: &World, calls: &[Call], top_up: i64, books: &mut Books) -> Result<()> {
    let log = world.log().await?;
    let mut charges: HashMap<CallId, Vec<Micros>> = HashMap::new();
    for posted in billing::history::events(&log, &WalletId::new(WALLET)?, 0).await? {
        for posting in posted.event.postings {
            if let Posting::CallCharged(charge) = posting
                && charge.amount != Micros::ZERO
            {
                charges.entry(charge.call).or_default().push(charge.amount);
            }
        }
    }
    books.charged = charges.len();
    books.charged_twice = charges.iter().filter(|(_, of)| of.len() > 1).map(|(call, _)| call.clone()).collect();
    let connected: HashSet<&CallId> = calls.iter().filter(|call| call.is_connected).map(|call| &call.call).collect();
    ensure!(charges.keys().all(|call| connected.contains(call)), "a call was charged that was not let through");
    let wallet = world.wallet(WALLET).await?;
    let ended = |call: &CallId| calls.iter().any(|of| of.call == *call && of.has_acknowledged(Kind::Dice));
    books.open = wallet.holds().count();
    for hold in wallet.holds() {
        ensure!(!ended(&hold.call), "{} has ended, and is held for", hold.call);
    }
    let posted = top_up * 1_000_000 - COST_MICROS * i64::try_from(books.charged)?;
    ensure!(wallet.facts().posted.get() == posted, "posted is {}, not {posted}", wallet.facts().posted.get());
    ensure!(wallet.impossible() == 0, "{} postings could not be", wallet.impossible());
    crate::eventually("admission says what the log says", async || {
        let verified = world.callbus(&["--json", "wallet", "verify"])?;
        let pages: Value = serde_json::from_slice(&verified.stdout).unwrap_or_default();
        let mut pages = pages.as_array().into_iter().flatten();
        Ok((verified.status.success() && pages.all(|page| page["behind"] == 0)).then_some(()))
    })
    .await?;
    let verified = world.callbus(&["log", "verify"])?;
    ensure!(verified.status.success(), "callbus log verify: {}", String::from_utf8_lossy(&verified.stdout));
    Ok(())
}

/// The most that was held beyond what the wallet had, at any time.
///
/// # Errors
/// When the wallet cannot be read.
pub async fn overdrawn(world: &World) -> Result<Micros> {
    let events = billing::history::events(&world.log().await?, &WalletId::new(WALLET)?, 0).await?;
    let (mut wallet, mut most) = (Wallet::default(), Micros::ZERO);
    for posted in events {
        for posting in &posted.event.postings {
            wallet.post(posted.time, posted.event.currency, posting);
            if matches!(posting, Posting::HoldPlaced(_)) {
                most = most.max(wallet.available().negated());
            }
        }
    }
    Ok(most)
}
