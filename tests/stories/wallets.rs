//! Wallets from the command line to the call: what an operator sets binds the next call.

use std::process::Output;

use anyhow::Result;
use proto::svaml::Action;
use serde_json::Value;
use simulator::{Hangup, Party};
use tests::World;
use tests::world::{ALLOWED, POLICY, WALLET};

use crate::calls::{script, stories};

stories! {
    super::POLICY => each_limit_refuses_with_its_own_reason,
    super::POLICY => a_grant_pays_first_and_what_is_left_expires,
}

/// Runs `callbus wallet …` against the installation; what it prints as JSON.
fn wallet(world: &World, arguments: &[&str]) -> Result<Value> {
    let output = run(world, &[&["--json"], arguments].concat())?;
    anyhow::ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn run(world: &World, arguments: &[&str]) -> Result<Output> {
    world.callbus(&[&["wallet"], arguments].concat())
}

/// Why the next call is refused; nothing when it is connected.
async fn refused(world: &World, seed: u64) -> Result<Option<String>> {
    let report = world.platform(seed)?.call(script(ALLOWED)).await;
    let cdr = world.cdr(&report.call).await?;
    let connected = matches!(report.answers()[0].action, Action::ConnectPstn(_));
    assert_eq!(connected, cdr.refused.is_none(), "{cdr:?}");
    Ok(cdr.refused)
}

async fn each_limit_refuses_with_its_own_reason(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let mut seed = 0;
    for (limit, none, reason) in [
        (["--status", "blocked"], ["--status", "active"], "WALLET_BLOCKED"),
        (["--status", "closed"], ["--status", "active"], "WALLET_CLOSED"),
        (["--deny", "+4670,NO"], ["--deny", "none"], "DENIED_NUMBER"),
        (["--deny", "SE"], ["--deny", "none"], "DENIED_NUMBER"),
        (["--allow", "DE,47"], ["--allow", "none"], "PREFIX_NOT_ALLOWED"),
        (["--minute-price", "0.01"], ["--minute-price", "none"], "PRICE_CEILING"),
        (["--concurrent", "0"], ["--concurrent", "none"], "LIMIT_CONCURRENT"),
        (["--per-second", "0"], ["--per-second", "none"], "LIMIT_VELOCITY"),
        (["--spend-day", "0.001"], ["--spend-day", "none"], "SPEND_DAY"),
        (["--spend-month", "0.001"], ["--spend-month", "none"], "SPEND_MONTH"),
    ] {
        let set = wallet(&world, &["set", WALLET, limit[0], limit[1]])?;
        assert_eq!(set["duplicate"], false, "{limit:?}");
        assert_eq!(wallet(&world, &["set", WALLET, limit[0], limit[1]])?["duplicate"], true, "{limit:?}");
        seed += 1;
        assert_eq!(refused(&world, seed).await?.as_deref(), Some(reason), "{limit:?}");
        wallet(&world, &["set", WALLET, none[0], none[1]])?;
    }
    // With all of them at once, the first in the order is named.
    let all = ["--deny", "46", "--allow", "47", "--minute-price", "0", "--concurrent", "0", "--spend-day", "0"];
    wallet(&world, &[&["set", WALLET][..], &all].concat())?;
    assert_eq!(refused(&world, 100).await?.as_deref(), Some("DENIED_NUMBER"));
    for (limit, next) in [
        ("--deny", "PREFIX_NOT_ALLOWED"),
        ("--allow", "PRICE_CEILING"),
        ("--minute-price", "LIMIT_CONCURRENT"),
        ("--concurrent", "SPEND_DAY"),
    ] {
        wallet(&world, &["set", WALLET, limit, "none"])?;
        seed += 1;
        assert_eq!(refused(&world, seed).await?.as_deref(), Some(next), "without {limit}");
    }
    // A day's limit shortens a call as credit does.
    wallet(&world, &["set", WALLET, "--spend-day", "1", "--time-zone", "Europe/Stockholm"])?;
    let report = world.platform(200)?.call(script(ALLOWED)).await;
    let granted = report.answers()[0].action.connect_pstn().and_then(|connect| connect.max_duration);
    assert_eq!(granted, Some(50), "at 0.02 a second");

    let bad = run(&world, &["set", WALLET, "--allow", "Sweden"])?;
    assert_eq!(bad.status.code(), Some(1), "{}", String::from_utf8_lossy(&bad.stderr));
    let nameless = run(&world, &["set", "nobody", "--credit-limit", "5"])?;
    assert!(String::from_utf8_lossy(&nameless.stderr).contains("without a currency"));
    let named = wallet(&world, &["set", "nobody", "--credit-limit", "5", "--currency", "SEK"])?;
    assert_eq!((&named["wallet"]["available"], &named["wallet"]["currency"]), (&"5".into(), &"SEK".into()));
    Ok(())
}

async fn a_grant_pays_first_and_what_is_left_expires(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let soon = (tests::world::now() + jiff::SignedDuration::from_secs(600)).to_string();
    let gift = ["grant", WALLET, "2", "EUR", "--id", "gift", "--priority", "10", "--expires", &soon];
    assert_eq!(wallet(&world, &gift)?["duplicate"], false);
    assert_eq!(wallet(&world, &gift)?["duplicate"], true);
    let stale = ["grant", WALLET, "7", "EUR", "--id", "stale", "--expires", "2026-01-01"];
    wallet(&world, &stale)?;
    let page = tests::eventually("what has expired is taken", async || {
        let page = world.get(&format!("/v1/wallets/{WALLET}")).await?;
        Ok((page["facts"]["posted"] == "102").then_some(page))
    })
    .await?;
    assert_eq!((&page["grants"][0]["grant"], &page["grants"][1]), (&"gift".into(), &Value::Null));

    let mut call = script(ALLOWED);
    call.hangup = Hangup { after_secs: 60, by: Party::Caller };
    let report = world.platform(1)?.call(call).await;
    world.cdr(&report.call).await?;
    let page = world.get(&format!("/v1/wallets/{WALLET}")).await?;
    assert_eq!((&page["facts"]["posted"], &page["grants"][0]["left"]), (&"100.8".into(), &"0.8".into()));

    let call = report.call.to_string();
    let refund = ["refund", WALLET, &call, "0.2", "--id", "complaint", "--note", "bad line"];
    assert_eq!(wallet(&world, &refund)?["wallet"]["posted"], "101");
    assert_eq!(wallet(&world, &refund)?["duplicate"], true);
    let above = run(&world, &["refund", WALLET, &call, "1.1"])?;
    assert!(String::from_utf8_lossy(&above.stderr).contains("1 of the charge is left"));
    assert_eq!(wallet(&world, &["correct", WALLET, &call, "0.5"])?["wallet"]["posted"], "101.7");
    let unknown = run(&world, &["refund", WALLET, "nobody"])?;
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("was not charged"));
    let page = world.get(&format!("/v1/wallets/{WALLET}")).await?;
    assert_eq!(page["grants"][0]["left"], "1.7", "back to the grant that paid");

    let page = wallet(&world, &["statement", WALLET])?;
    assert_eq!((&page["statement"]["opening"], &page["statement"]["closing"]), (&"0".into(), &"101.7".into()));
    let csv = run(&world, &["statement", WALLET, "--csv"])?;
    let rows: Vec<String> = String::from_utf8(csv.stdout)?.lines().map(str::to_owned).collect();
    assert!(rows[0].starts_with("time,what,amount,balance,call,leg,deck"), "{rows:?}");
    assert!(rows[1].starts_with(",opening,,0,") && rows.iter().any(|row| row.contains(",charged,-1.2,")), "{rows:?}");
    assert!(rows.last().is_some_and(|row| row.starts_with(",closing,,101.7,")), "{rows:?}");
    assert!(run(&world, &["statement", WALLET, "--from", "2026-01-01"])?.status.success());

    let verified = run(&world, &["verify"])?;
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    assert_eq!(wallet(&world, &["verify", WALLET])?[0]["differences"], serde_json::json!([]));
    Ok(())
}

/// Somebody changes Redis behind everybody's back; `verify` says so, and by how much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_named() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "100").await?;
    refused(&world, 1).await?;
    world.billing_caught_up().await?;
    let client = redis::Client::open(world.servers()?.1.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*w:*}").query_async(&mut connection).await?;
    let [key] = keys.as_slice() else { anyhow::bail!("one wallet is loaded: {keys:?}") };
    let _: i64 = redis::cmd("HINCRBY").arg(key).arg("posted").arg(500_000).query_async(&mut connection).await?;
    let verified = run(&world, &["verify"])?;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(3), "{said}");
    assert!(said.contains("posted") && said.contains("0.5"), "{said}");
    // Made again from the log, it is right; and so it is with nothing there at all.
    let rebuild = |world: &World| world.callbus(&["--json", "rebuild", "wallets", WALLET]);
    let rebuilt = rebuild(&world)?;
    let page: Value = serde_json::from_slice(&rebuilt.stdout)?;
    assert_eq!((&page[0]["wallet"], page[0]["postings"].as_u64() > Some(2)), (&WALLET.into(), true), "{page}");
    assert_eq!(run(&world, &["verify"])?.status.code(), Some(0));
    let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await?;
    assert!(rebuild(&world)?.status.success());
    let verified = wallet(&world, &["verify", "--all"])?;
    assert_eq!((verified[0]["seq"].is_u64(), &verified[0]["differences"]), (true, &serde_json::json!([])));
    let nobody = world.callbus(&["rebuild", "wallets", "nobody"])?;
    assert!(String::from_utf8_lossy(&nobody.stdout).contains("nobody is in no log"));
    Ok(())
}
