//! What single calls hear and cost when something breaks. `tests/faults` breaks everything under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use billing::HoldReply;
use billing::admission::{Admission, HoldRequest, RedisAdmission};
use money::Micros;
use proto::svaml::Action;
use proto::{CallId, Decided, DecisionKey, Kind, Outcome};
use simulator::{CallFacts, CallResult, Ending, Platform, Reason, SignWith};
use tests::World;
use tests::world::{ALLOWED, POLICY, WALLET, now};

use crate::calls::script;

/// An ask ends after 1.8 s and a record after 2.5 s; some slack for a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

const ANSWERED: Ending = Ending { result: CallResult::Answered, reason: Reason::CallerHangup };

async fn ask(platform: &Platform, facts: &CallFacts) -> Result<proto::Svaml> {
    let reply = platform.send(facts.ice(now()), SignWith::default()).await?;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    Ok(serde_json::from_slice(&reply.body)?)
}

async fn end(platform: &Platform, facts: &CallFacts, secs: u32) -> Result<()> {
    let reply = platform.send(facts.dice(now(), ANSWERED, Some(secs)), SignWith::default()).await?;
    assert_eq!((reply.status, reply.body.as_ref()), (200, &b"{}"[..]));
    Ok(())
}

/// Every call is charged `secs` seconds, once.
async fn all_billed(world: &World, calls: &[CallId], secs: u32, posted: &str) -> Result<()> {
    for call in calls {
        let cdr = world.cdr(call).await?;
        assert_eq!((cdr.legs.len(), cdr.legs[0].billed_secs), (1, secs), "{cdr:?}");
    }
    world.billing_caught_up().await?;
    let wallet = world.wallet(WALLET).await?.facts();
    assert_eq!((wallet.posted.to_string(), wallet.held.get()), (posted.to_owned(), 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_workers_the_fallback_answers_in_time() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "100").await?;
    world.kill("worker-1")?;
    world.kill("worker-2")?;
    let platform = world.platform(31)?;
    let facts = platform.facts(&script(ALLOWED));
    let asked = Instant::now();
    let answer = ask(&platform, &facts).await?;
    assert_eq!(answer.action, Action::Hangup);
    assert!(asked.elapsed() < ANSWERED_WITHIN, "it took {:?}", asked.elapsed());
    let ace = platform.send(facts.ace(now(), None), SignWith::default()).await?;
    let ace: proto::Svaml = serde_json::from_slice(&ace.body)?;
    assert_eq!(ace.action, Action::Continue);
    let decided = tests::eventually("both fallbacks are in the log", async || {
        let decided = world.decisions(&facts.call).await?;
        Ok((decided.len() == 2).then_some(decided))
    })
    .await?;
    assert!(decided.iter().all(|decided| decided.outcome == Outcome::Fallback));
    // A fallback is not remembered: with a worker back, the same callback gets its real answer.
    world.start("worker-3")?;
    tests::eventually("the new worker answers", async || {
        let answer = ask(&platform, &platform.facts(&script(ALLOWED))).await?;
        Ok((answer.action.name() == "connectPstn").then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_process_killed_and_started_again() -> Result<()> {
    let mut world = World::embedded(POLICY).await?;
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(35)?;
    let mut calls = Vec::new();
    for _ in 0..8 {
        let facts = platform.facts(&script(ALLOWED));
        let answer = platform.send(facts.ice(now()), SignWith::default()).await?;
        calls.push((facts, answer));
    }
    for (facts, _) in &calls[..4] {
        end(&platform, facts, 10).await?;
    }
    world.kill("all")?;
    world.start("all")?;
    let (open, answer) = &calls[7];
    let again = platform.send(open.ice(now()), SignWith::default()).await?;
    assert_eq!(again.status, 200);
    let same: proto::Svaml = serde_json::from_slice(&again.body)?;
    assert_eq!(same, serde_json::from_slice(&answer.body)?, "the decision outlives the process");
    for (facts, _) in &calls[4..] {
        end(&platform, facts, 10).await?;
    }
    let ids: Vec<CallId> = calls.into_iter().map(|(facts, _)| facts.call).collect();
    all_billed(&world, &ids, 10, "98.4").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_forgets_everything_loses_no_money() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "24").await?;
    let platform = world.platform(37)?;
    let first = platform.facts(&script(ALLOWED));
    assert_eq!(ask(&platform, &first).await?.action.name(), "connectPstn");
    world.billing_caught_up().await?;
    world.servers()?.1.restart()?;
    let second = platform.facts(&script(ALLOWED));
    let answer = ask(&platform, &second).await?;
    assert_eq!(answer.action.name(), "connectPstn", "the very first call after the loss");
    let third = ask(&platform, &platform.facts(&script(ALLOWED))).await?;
    assert_eq!(third.action, Action::Hangup, "24 euros hold two calls, also across the loss");
    end(&platform, &first, 10).await?;
    end(&platform, &second, 10).await?;
    all_billed(&world, &[first.call, second.call], 10, "23.6").await
}

/// The hold stands, with its decision, and nobody claimed it: the credit is missing because of this very call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_died_after_its_hold_is_spoken_for_by_the_next() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "12").await?;
    let platform = world.platform(38)?;
    let loading = platform.facts(&script(ALLOWED));
    let granted = ask(&platform, &loading).await?;
    let decided = world.decisions(&loading.call).await?.pop().context("a decision")?;
    end(&platform, &loading, 0).await?;
    world.cdr(&loading.call).await?;

    let facts = platform.facts(&script(ALLOWED));
    let leg = DecisionKey::of(&"acme".parse()?, &facts.call, Kind::Ice, "", b"");
    let theirs = Decided { key: leg.clone(), by: "the dead".to_owned(), ..decided };
    let admission = Admission::Redis(RedisAdmission::connect(&world.servers()?.1.url(), "callbus:").await?);
    let hold = HoldRequest {
        wallet: &WALLET.parse()?,
        leg: &leg,
        amount: Micros::parse("12")?,
        date: money::Limits::default().date(now()),
        expires_at: now() + jiff::SignedDuration::from_mins(10),
        decision: &serde_json::to_vec(&theirs)?,
    };
    assert_eq!(admission.hold(now(), hold).await?, HoldReply::Ok);
    assert_eq!(ask(&platform, &facts).await?, granted);
    let recorded = world.decisions(&facts.call).await?.pop().context("a decision")?;
    assert_eq!((recorded.outcome, recorded.by.as_str()), (Outcome::Granted, "the dead"));
    Ok(())
}
