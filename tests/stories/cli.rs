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

    // What a process would refuse at its start is refused here, with the line that is needed.
    let config = directory.path().join("callbus.toml");
    let written = std::fs::read_to_string(&config)?;
    let with =
        |more: &str| std::fs::write(&config, format!("{written}\n[platform]\nurl = \"http://127.0.0.1:8090\"\n{more}"));
    with("")?;
    let check = callbus(directory.path(), &["config", "check"])?;
    assert_eq!(check.status.code(), Some(3), "{}", text(&check));
    assert!(text(&check).contains("[outbound]: allow = [\"127.0.0.0/8\"]"), "{}", text(&check));
    with("[outbound]\nallow = [\"127.0.0.0/8\"]\n")?;
    let check = callbus(directory.path(), &["config", "check"])?;
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));

    let policy = directory.path().join("policy.yaml");
    let broken = std::fs::read_to_string(&policy)?.replace("call.to.type", "call.to.typo");
    std::fs::write(&policy, broken)?;
    let check = callbus(directory.path(), &["config", "check"])?;
    assert_eq!(check.status.code(), Some(3), "{}", text(&check));
    assert!(text(&check).contains("typo"), "{}", text(&check));
    Ok(())
}

/// A user's inboxes have its name, so nobody gets a key under the name of another.
#[test]
fn a_key_is_made_once_and_never_under_anothers_name() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let keys = |arguments: &[&str]| callbus(directory.path(), &[&["keys", "--dir", "keys"], arguments].concat());
    assert_eq!(keys(&["--decider", "bot"])?.status.code(), Some(0));
    let seed = std::fs::read_to_string(directory.path().join("keys/deciders/bot/nkey"))?;
    assert_eq!(keys(&["--decider", "bot"])?.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(directory.path().join("keys/deciders/bot/nkey"))?, seed);
    std::fs::create_dir_all(directory.path().join("keys/consumers/crm"))?;
    for taken in ["worker", "ingress", "provision", "crm"] {
        let refused = keys(&["--decider", taken])?;
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
        assert!(text(&refused).contains("another user's name"), "{}", text(&refused));
    }
    for not_a_name in ["../worker", "a b", ""] {
        assert_eq!(keys(&["--decider", not_a_name])?.status.code(), Some(2), "{not_a_name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_explained_on_the_command_line() -> Result<()> {
    for mut world in [World::embedded(POLICY).await?, World::nats(POLICY).await?] {
        let done = |output: &Output| assert_eq!(output.status.code(), Some(0), "{}", text(output));

        for _ in 0..2 {
            let top_up = world.callbus(&["wallet", "topup", WALLET, "10", "EUR", "--id", "first"])?;
            done(&top_up);
        }
        let call = world.callbus(&["sim", "call", "--to", ALLOWED, "--hangup-after", "63s", "--json"])?;
        done(&call);
        let report: Value = serde_json::from_slice(&call.stdout)?;
        let id = report["call"].as_str().context("a call id")?.to_owned();
        world.cdr(&id.parse()?).await?;
        for command in ["show", "why"] {
            let shown = world.callbus(&["call", command, &id])?;
            done(&shown);
            assert!(text(&shown).contains("only"), "the rule in:\n{}", text(&shown));
            assert!(!text(&shown).contains(ALLOWED), "numbers are masked:\n{}", text(&shown));
        }
        let listed = world.callbus(&["call", "ls"])?;
        done(&listed);
        assert!(text(&listed).contains(&id[..8]), "{}", text(&listed));
        let wallet = world.callbus(&["wallet", "show", WALLET, "--json"])?;
        done(&wallet);
        assert_eq!(serde_json::from_slice::<Value>(&wallet.stdout)?["facts"]["posted"], "8.74");
        done(&world.callbus(&["wallet", "ledger", WALLET])?);
        let verified = eventually("every callback is in the log", async || {
            let verified = world.callbus(&["log", "verify", "--json"])?;
            done(&verified);
            let tally: Value = serde_json::from_slice(&verified.stdout)?;
            Ok((tally["verified"] == 3).then_some(tally))
        })
        .await?;
        assert_eq!(
            verified["failed"].as_array().map_or(verified["failed"].as_u64(), |all| Some(all.len() as u64)),
            Some(0)
        );
        done(&world.callbus(&["health"])?);
        let unknown = world.callbus(&["call", "why", "nobody"])?;
        assert_eq!(unknown.status.code(), Some(5), "{}", text(&unknown));
        world.stop()?;
        let unreachable = world.callbus(&["call", "ls"])?;
        assert_eq!(unreachable.status.code(), Some(6), "{}", text(&unreachable));
    }
    Ok(())
}
