//! What billing does with ends that are told twice, in two ways, or to nobody, and what an operator sees of it.

use anyhow::{Context, Result};
use proto::asked::Said;
use serde_json::Value;
use simulator::{CallResult, Ending, Reason, SignWith};
use tests::World;
use tests::world::{ALLOWED, POLICY, WALLET, eventually, now};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls::script;

const ANSWERED: Ending = Ending { result: CallResult::Answered, reason: Reason::CallerHangup };

/// An installation that may ask the platform, and where the platform is to listen.
async fn world() -> Result<(World, TcpListener)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let settings = format!("[platform]\nurl = \"{url}\"\n[outbound]\nallow = [\"127.0.0.0/8\"]\n");
    Ok((World::embedded_with(POLICY, &settings).await?, listener))
}

fn code(output: &std::process::Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_ends_the_platform_says_which() -> Result<()> {
    let (world, listener) = world().await?;
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(1)?;
    let mut serving = JoinSet::new();
    serving.spawn(platform.clone().serve(listener));
    let facts = platform.facts(&script(ALLOWED));
    for body in [facts.ice(now()), facts.ace(now(), None), facts.dice(now(), ANSWERED, Some(30))] {
        assert_eq!(platform.send(body, SignWith::default()).await?.status, 200);
    }
    assert_eq!(world.cdr(&facts.call).await?.duration_secs, 30);
    platform.ended(&facts, now(), ANSWERED, Some(50));
    platform.send(facts.dice(now(), ANSWERED, Some(50)), SignWith::default()).await?;
    let cdr = eventually("the platform was asked", async || {
        Ok(Some(world.cdr(&facts.call).await?).filter(|cdr| cdr.asked.is_some()))
    })
    .await?;
    assert_eq!((cdr.asked, cdr.duration_secs, cdr.legs[0].cost.to_string()), (Some(Said::Final), 50, "1".to_owned()));
    assert_eq!(world.wallet(WALLET).await?.facts().posted.to_string(), "99");
    let page = world.get("/v1/flagged?flag=disputed").await?;
    assert_eq!(page["calls"][0]["cdr"]["disputed"]["duration_secs"], 30, "{page}");
    assert_eq!(world.get("/v1/flagged?flag=late").await?["calls"], Value::Array(Vec::new()));
    let (exit, shown) = code(&world.callbus(&["call", "flagged"])?);
    assert!(exit == Some(0) && shown.contains("disputed") && shown.contains(facts.call.as_str()), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_dearer_than_its_hold_is_charged_and_the_next_one_refused() -> Result<()> {
    let (world, _) = world().await?;
    world.top_up(WALLET, "1.90").await?;
    let platform = world.platform(3)?;
    let facts = platform.facts(&script(ALLOWED));
    for body in [facts.ice(now()), facts.ace(now(), None), facts.dice(now(), ANSWERED, Some(200))] {
        assert_eq!(platform.send(body, SignWith::default()).await?.status, 200);
    }
    let cdr = world.cdr(&facts.call).await?;
    assert_eq!((cdr.legs[0].overrun, cdr.legs[0].cost.to_string()), (true, "4".to_owned()));
    assert_eq!(world.wallet(WALLET).await?.facts().posted.to_string(), "-2.1");
    let page = world.get("/v1/flagged?flag=overrun").await?;
    assert_eq!(page["calls"][0]["cdr"]["call"], facts.call.as_str());
    let broke = platform.call(script(ALLOWED)).await;
    assert_eq!(world.cdr(&broke.call).await?.refused.as_deref(), Some("NO_CREDIT"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconciliation_finds_what_differs_and_margin_what_is_left() -> Result<()> {
    let (world, listener) = world().await?;
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(2)?;
    let mut serving = JoinSet::new();
    serving.spawn(platform.clone().serve(listener));
    let report = platform.call(script(ALLOWED)).await;
    let refused = platform.call(script("+15551234567")).await;
    for call in [&report.call, &refused.call] {
        world.cdr(call).await?;
    }
    let (exit, said) = code(&world.callbus(&["reconcile"])?);
    assert_eq!(
        (exit, said.trim()),
        (Some(0), "2 matched, 0 different, 0 missing here, 0 missing there, 0 not told yet")
    );

    let margin: Value = serde_json::from_slice(&world.callbus(&["margin", "--json"])?.stdout)?;
    let sums = margin.as_array().context("rows")?.iter().find(|row| row["group"]["prefix"] == "46").context("a row")?;
    assert_eq!(sums["sums"]["debit"].as_str().map(str::parse), Some(Ok(report.debit.amount)), "{margin}");
    assert!(sums["sums"]["revenue"] == "0.6" && sums["margin"].is_string(), "{margin}");

    let list = format!("Call ID,Duration,Result\n{},31,ANSWERED\nghost,1,BUSY\n", report.call);
    let list = world.write("calls.csv", &list)?;
    let output = world.callbus(&["reconcile", "--csv", &list, "--json"])?;
    let (exit, said) = code(&output);
    let compared: Value = serde_json::from_str(&said)?;
    assert_eq!(exit, Some(3), "{said}");
    assert_eq!(
        (&compared["different"][0]["what"], &compared["different"][0]["here"]),
        (&"duration".into(), &"30".into())
    );
    assert_eq!(
        (&compared["missing_here"][0], &compared["missing_there"][0]),
        (&"ghost".into(), &refused.call.as_str().into())
    );

    // Nobody answers there any more.
    serving.shutdown().await;
    assert_eq!(code(&world.callbus(&["reconcile"])?).0, Some(6));
    Ok(())
}
