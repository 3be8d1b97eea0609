//! What the README says to type, typed.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::role::binary;
use tests::world::{ALLOWED, POLICY, WALLET};
use tests::{World, eventually};

/// Runs callbus in a directory, without anything of this environment that could steer it.
fn callbus(directory: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CALLBUS")) {
        command.env_remove(name);
    }
    command.current_dir(directory).args(arguments).output().context("run callbus")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_demo_goes_as_told() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let demo = callbus(directory.path(), &["demo", "--exit"])?;
    let said = text(&demo);
    assert_eq!(demo.status.code(), Some(0), "{said}");
    for expected in ["connectPstn", "NOT_ALLOWLISTED", "NO_CREDIT", "runMenu main", "machine", "0.021 EUR"] {
        assert!(said.contains(expected), "{expected} in:\n{said}");
    }
    assert_eq!(said.matches("as told").count(), 5, "{said}");
    Ok(())
}

#[test]
fn init_writes_what_config_check_accepts_and_never_overwrites() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let init = callbus(directory.path(), &["init"])?;
    assert_eq!(init.status.code(), Some(0), "{}", text(&init));
    let check = callbus(directory.path(), &["config", "check"])?;
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    let again = callbus(directory.path(), &["init"])?;
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));

    let policy = directory.path().join("policy.yaml");
    let broken = std::fs::read_to_string(&policy)?.replace("call.to.type", "call.to.typo");
    std::fs::write(&policy, broken)?;
    let check = callbus(directory.path(), &["config", "check"])?;
    assert_eq!(check.status.code(), Some(3), "{}", text(&check));
    assert!(text(&check).contains("typo"), "{}", text(&check));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_explained_on_the_command_line() -> Result<()> {
    for mut world in [World::embedded(POLICY).await?, World::nats(POLICY).await?] {
        let here = world.config();
        let directory = here.parent().context("a directory")?.to_owned();
        let settings = world.command_settings()?;
        let run = |arguments: &[&str]| -> Result<Output> {
            let mut command = Command::new(binary()?);
            command.current_dir(&directory).envs(settings.clone()).args(arguments);
            command.output().context("run callbus")
        };
        let done = |output: &Output| assert_eq!(output.status.code(), Some(0), "{}", text(output));

        for _ in 0..2 {
            let top_up = run(&["wallet", "topup", WALLET, "10", "EUR", "--id", "first"])?;
            done(&top_up);
        }
        let call = run(&["sim", "call", "--to", ALLOWED, "--hangup-after", "63s", "--json"])?;
        done(&call);
        let report: Value = serde_json::from_slice(&call.stdout)?;
        let id = report["call"].as_str().context("a call id")?.to_owned();
        world.cdr(&id.parse()?).await?;
        for command in ["show", "why"] {
            let shown = run(&["call", command, &id])?;
            done(&shown);
            assert!(text(&shown).contains("only"), "the rule in:\n{}", text(&shown));
            assert!(!text(&shown).contains(ALLOWED), "numbers are masked:\n{}", text(&shown));
        }
        let listed = run(&["call", "ls"])?;
        done(&listed);
        assert!(text(&listed).contains(&id[..8]), "{}", text(&listed));
        let wallet = run(&["wallet", "show", WALLET, "--json"])?;
        done(&wallet);
        assert_eq!(serde_json::from_slice::<Value>(&wallet.stdout)?["facts"]["posted"], "8.74");
        done(&run(&["wallet", "ledger", WALLET])?);
        let verified = eventually("every callback is in the log", async || {
            let verified = run(&["log", "verify", "--json"])?;
            done(&verified);
            let tally: Value = serde_json::from_slice(&verified.stdout)?;
            Ok((tally["verified"] == 3).then_some(tally))
        })
        .await?;
        assert_eq!(
            verified["failed"].as_array().map_or(verified["failed"].as_u64(), |all| Some(all.len() as u64)),
            Some(0)
        );
        done(&run(&["health"])?);
        let unknown = run(&["call", "why", "nobody"])?;
        assert_eq!(unknown.status.code(), Some(5), "{}", text(&unknown));
        world.stop()?;
        let unreachable = run(&["call", "ls"])?;
        assert_eq!(unreachable.status.code(), Some(6), "{}", text(&unreachable));
    }
    Ok(())
}
