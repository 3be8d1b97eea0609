//! Many at once: calls go on while Redis is lost again and again, and while billing processes that share them are
//! killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use money::{Micros, Posting, Wallet};
use proto::{CallId, Filter, Kind, Settled, WalletId};
use simulator::{CallFacts, CallResult, Ending, Platform, Reason, SignWith};
use tests::World;
use tests::world::{ALLOWED, POLICY, WALLET, now};
use tokio::task::JoinSet;

use crate::calls::script;

const ANSWERED: Ending = Ending { result: CallResult::Answered, reason: Reason::CallerHangup };

/// Every call is granted ten minutes, and lasts ten seconds.
const HELD: &str = "12";
const SECS: u32 = 10;
const COST_MICROS: i64 = 200_000;

/// Callers, one call after another each.
struct Load {
    over: Arc<AtomicBool>,
    callers: JoinSet<Result<Vec<CallId>>>,
}

impl Load {
    fn start(world: &World, callers: u64) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut load = Self { over: Arc::clone(&over), callers: JoinSet::new() };
        for seed in 0..callers {
            let (platform, over) = (world.platform(7_000 + seed)?, Arc::clone(&over));
            load.callers.spawn(async move {
                let mut connected = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let facts = platform.facts(&script(ALLOWED));
                    if is_connected(&platform, &facts).await? {
                        // Somebody else may be let through meanwhile.
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        end(&platform, &facts).await?;
                        connected.push(facts.call);
                    }
                }
                Ok(connected)
            });
        }
        Ok(load)
    }

    /// Until callers are done with their last call; the calls that were connected.
    async fn stop(mut self) -> Result<Vec<CallId>> {
        self.over.store(true, Ordering::Relaxed);
        let mut connected = Vec::new();
        while let Some(calls) = self.callers.join_next().await {
            connected.extend(calls??);
        }
        Ok(connected)
    }
}

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

/// Calls go on: so many more are in the log before something else is done to them.
async fn calls_go_on(world: &World, events: u64) -> Result<()> {
    let until = world.events_total().await? + events;
    tests::eventually("calls go on", async || Ok((world.events_total().await? >= until).then_some(()))).await
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

/// The most that was held beyond what the wallet had, at any time.
async fn overdrawn(world: &World) -> Result<Micros> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_lost_again_and_again_while_calls_go_on() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    // Money for three calls at a time, and a fourth is asked for.
    world.top_up(WALLET, "60").await?;
    let callers = 6;
    let load = Load::start(&world, callers)?;
    for lost in 0..6 {
        calls_go_on(&world, 60).await?;
        let redis = world.servers()?.1;
        if lost == 3 {
            redis.restart()?;
        } else {
            let mut connection = redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
            let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await?;
        }
    }
    calls_go_on(&world, 60).await?;
    let connected = load.stop().await?;
    ensure!(connected.len() > 20, "{} calls", connected.len());
    all_is_settled(&world, &connected, 60).await?;
    // At each loss those may be exposed that were decided and not in the log yet: at most what callers were asking for.
    let (overdrawn, most) = (overdrawn(&world).await?, Micros::parse(HELD)?.get() * i64::try_from(callers)?);
    assert!(overdrawn.get() <= most, "{overdrawn}");
    let said = world.said("billing")?;
    assert_eq!(
        overdrawn > Micros::ZERO,
        said.contains("a call was let through that the wallet cannot pay for"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billing_processes_share_the_calls_and_are_killed() -> Result<()> {
    let mut world = World::nats_with(POLICY, "[billing]\ngroups = 4\n").await?;
    for another in ["billing-2", "billing-3"] {
        world.start(another)?;
    }
    world.top_up(WALLET, "1000").await?;
    let load = Load::start(&world, 4)?;
    for victim in ["billing", "billing-2", "billing-3", "billing"] {
        calls_go_on(&world, 60).await?;
        world.kill(victim)?;
        calls_go_on(&world, 60).await?;
        world.start(victim)?;
    }
    let connected = load.stop().await?;
    all_is_settled(&world, &connected, 1_000).await
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
