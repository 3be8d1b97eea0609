//! Calls decided by a program: the IVR of `examples/rust`, as the only worker there is.

use anyhow::{Context, Result};
use proto::svaml::Action;
use proto::{Kind, Outcome};
use serde_json::{Value, json};
use simulator::{CallReport, CallScript, Callee, Caller, Endpoint, Input};
use tests::world::{POLICY, WALLET};
use tests::{World, eventually};

use crate::calls::stories;

stories! {
    super::POLICY => an_ivr_in_rust_routes_bills_and_tells,
}

/// Somebody calls the rented number and presses a key.
async fn calls(world: &World, seed: u64, key: &str, callee: Callee) -> Result<CallReport> {
    let (from, to) = (Caller::Number("+46700000001".to_owned()), Endpoint::Did("+15550001111".to_owned()));
    let inputs = vec![Input::Digits(key.to_owned())];
    Ok(world.platform(seed)?.call(CallScript { inputs, callee, ..CallScript::new(from, to) }).await)
}

async fn an_ivr_in_rust_routes_bills_and_tells(mut world: World) -> Result<()> {
    world.decide_by("ivr")?;
    world.top_up(WALLET, "100").await?;

    let report = calls(&world, 1, "1", Callee::Answers { after_secs: 5 }).await?;
    assert_eq!(report.callbacks(), [Kind::Ice, Kind::Pie, Kind::Ace, Kind::Dice]);
    let heard = report.heard();
    assert!(heard.contains(&"Welcome to Acme.") && heard.contains(&"Connecting you to sales."), "{heard:?}");
    let decided = world.decisions(&report.call).await?;
    assert_eq!(
        decided.iter().map(|decided| decided.outcome).collect::<Vec<_>>(),
        [Outcome::Answered, Outcome::Granted, Outcome::Answered]
    );
    assert_eq!(decided[0].policy.as_deref(), Some("rust ivr::Ivr"));
    let explanation: Value = serde_json::from_str(decided[1].explanation.as_ref().context("an explanation")?.get())?;
    assert_eq!(explanation["log"], json!(["wants sales"]));
    let cdr = world.cdr(&report.call).await?;
    assert_eq!(cdr.legs[0].wallet.as_str(), WALLET);
    assert!(!cdr.legs[0].cost.is_zero());
    let why = world.callbus(&["call", "why", report.call.as_str()])?;
    assert!(String::from_utf8_lossy(&why.stdout).contains("wants sales"), "{why:?}");
    let ended = format!("ANSWERED after {} s", report.duration_secs.context("a duration")?);
    eventually("the end is told", async || {
        let mut said = String::new();
        for name in world.deciding() {
            said += &world.said(&name)?;
        }
        Ok(said.contains(&ended).then_some(()))
    })
    .await?;

    // What was kept outlives the call; a machine is hung up on; another key leads nowhere.
    let report = calls(&world, 2, "2", Callee::Machine { after_secs: 3 }).await?;
    assert!(report.heard().contains(&"Welcome back to Acme."), "{:?}", report.heard());
    assert_eq!(report.answers().last().map(|answer| &answer.action), Some(&Action::Hangup));
    let report = calls(&world, 3, "9", Callee::default()).await?;
    assert!(report.heard().contains(&"Goodbye!"), "{:?}", report.heard());
    Ok(())
}
