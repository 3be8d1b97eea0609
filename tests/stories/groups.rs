//! Among how many groups the calls are shared out may change while calls go on.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use proto::{CallId, Filter, Kind, Settled};
use simulator::{CallFacts, CallResult, Ending, Platform, Reason, SignWith};
use tests::World;
use tests::world::{ALLOWED, POLICY, WALLET, now};

use crate::calls::script;

const ANSWERED: Ending = Ending { result: CallResult::Answered, reason: Reason::CallerHangup };

/// Every call lasts ten seconds.
const SECS: u32 = 10;
const COST_MICROS: i64 = 200_000;

async fn is_connected(platform: &Platform, facts: &CallFacts) -> Result<bool> {
    let reply = platform.send(facts.ice(now()), SignWith::default()).await?;
    ensure!(reply.status == 200, "{}", String::from_utf8_lossy(&reply.body));
    let answer: proto::Svaml = serde_json::from_slice(&reply.body)?;
    Ok(answer.action.name() == "connectPstn")
}

async fn end(platform: &Platform, facts: &CallFacts) -> Result<()> {
    let reply = platform.send(facts.dice(now(), ANSWERED, Some(SECS)), SignWith::default()).await?;
    ensure!(reply.status == 200, "{}", String::from_utf8_lossy(&reply.body));
    Ok(())
}

/// Every connected call was charged, once and no other was; nothing is held, and admission says what the log says.
async fn all_is_settled(world: &World, connected: &[CallId], top_up: i64) -> Result<()> {
    world.billing_caught_up().await?;
    let settled: Vec<_> = world.log().await?.read(&Filter::Kind(Kind::Settled), 0).try_collect().await?;
    let mut charged = HashSet::new();
    let mut ids = HashSet::new();
    for recorded in settled.into_iter().filter(|recorded| ids.insert(recorded.event.id.clone())) {
        let cdr: Settled = serde_json::from_slice(&recorded.event.data)?;
        if let [leg] = &cdr.legs[..] {
            assert_eq!((leg.billed_secs, leg.estimate), (SECS, false), "{cdr:?}");
            assert!(charged.insert(cdr.call.clone()), "a second CDR of {}", cdr.call);
        }
    }
    assert_eq!(charged, connected.iter().cloned().collect());
    let posted = top_up * 1_000_000 - COST_MICROS * i64::try_from(connected.len())?;
    let wallet = world.wallet(WALLET).await?;
    assert_eq!((wallet.facts().posted.get(), wallet.holds().count(), wallet.impossible()), (posted, 0, 0));
    tests::eventually("admission says what the log says", async || {
        let verified = world.callbus(&["--json", "wallet", "verify", WALLET])?;
        let page: serde_json::Value = serde_json::from_slice(&verified.stdout)?;
        Ok((verified.status.success() && page[0]["behind"] == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_groups_may_change() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "1000").await?;
    let settings = std::fs::read_to_string(world.config())?;
    let (platform, mut connected, mut open) = (world.platform(7_100)?, Vec::new(), None::<CallFacts>);
    for groups in [4, 2, 1, 4] {
        world.terminate("billing")?;
        std::fs::write(world.config(), format!("{settings}[billing]\ngroups = {groups}\n"))?;
        if let Some(open) = open.take() {
            end(&platform, &open).await?;
            connected.push(open.call);
        }
        world.start("billing")?;
        for _ in 0..5 {
            let facts = platform.facts(&script(ALLOWED));
            ensure!(is_connected(&platform, &facts).await?, "not connected with {groups} groups");
            end(&platform, &facts).await?;
            connected.push(facts.call);
        }
        // One call is open while the number changes, and ends under the next.
        let facts = open.insert(platform.facts(&script(ALLOWED)));
        ensure!(is_connected(&platform, facts).await?, "not connected with {groups} groups");
        tests::eventually("the hold is posted", async || {
            let wallet = world.wallet(WALLET).await?;
            Ok(wallet.holds().any(|hold| hold.call == facts.call).then_some(()))
        })
        .await?;
    }
    let last = open.context("a call is open")?;
    end(&platform, &last).await?;
    connected.push(last.call);
    all_is_settled(&world, &connected, 1_000).await
}
