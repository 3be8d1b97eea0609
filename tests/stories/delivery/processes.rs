//! The same with real processes, killed under load.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus::Bus;
use proto::DeliveryNoted;
use serde_json::{Value, json};
use simulator::{Hangup, Party};
use tests::eventually;
use tests::receiver::{Receiver, Reply};
use tests::world::{ALLOWED, POLICY, WALLET, World};

use super::{hears, noted, settled};
use crate::calls::script;

const EVENTS: u64 = 3_000;
const CALLS: u64 = 200;
const ALLOW: &str = "[outbound]\nallow = [\"127.0.0.0/8\"]\n";

/// Two replicas share four groups; one is killed while it sends, twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_loses_nothing_and_repeats_little() -> Result<()> {
    let settings = "[delivery]\ngroups = 4\n[outbound]\nallow = [\"127.0.0.0/8\"]\n";
    let mut world = World::nats_with(POLICY, settings).await?;
    let receiver = Receiver::start_with(|_| Reply::After(Duration::from_millis(2), 200)).await?;
    let spec = json!({ "url": receiver.url(), "kinds": ["settled"], "concurrency_max": 16 });
    let (status, put) = world.put("/v1/destinations/crm", &spec).await?;
    assert_eq!(status, 200, "{put}");
    receiver.trust(put["secret"].as_str().context("the secret is shown once")?)?;
    let shown = world.get("/v1/destinations/crm").await?;
    assert!(shown.get("secret").is_none(), "and only once: {shown}");
    world.start("delivery-1")?;
    world.start("delivery-2")?;
    let calls = world.log_as("billing").await?;
    for round in 0..3 {
        happen(&calls, round).await?;
        if round < 2 {
            let wanted = usize::try_from(EVENTS * round + EVENTS / 3)?;
            hears(&receiver, wanted).await?;
            world.kill(&format!("delivery-{}", round + 1))?;
            world.start(&format!("delivery-{}", round + 3))?;
        }
    }
    hears(&receiver, usize::try_from(3 * EVENTS)?).await?;
    let again = receiver.judge(&[])?;
    // What was on its way, at both kills, and what a takeover may find unacknowledged.
    assert!(again <= 2 * 16 * 4, "{again} came again");
    let shown = world.get("/v1/destinations/crm").await?;
    assert_eq!(shown["lanes"].as_array().map(Vec::len), Some(4), "each group is worked: {shown}");
    let delivered = |noted| if let DeliveryNoted::Delivered { delivery, .. } = noted { Some(delivery) } else { None };
    let delivered: BTreeSet<_> = noted(&world.log().await?, "crm").await?.into_iter().filter_map(delivered).collect();
    assert_eq!(delivered.len(), usize::try_from(3 * EVENTS)?);
    Ok(())
}

/// Killed after it sent, and before it wrote down what became of it: the receiver took it, and has not said so yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_and_not_written_down_comes_again_with_its_id() -> Result<()> {
    let mut world = World::nats_with(POLICY, "[outbound]\nallow = [\"127.0.0.0/8\"]\n").await?;
    let receiver = Receiver::start_with(|_| Reply::After(Duration::from_secs(3600), 200)).await?;
    let spec = json!({ "url": receiver.url(), "kinds": ["settled"] });
    let (status, put) = world.put("/v1/destinations/crm", &spec).await?;
    ensure!(status == 200, "{put}");
    receiver.trust(put["secret"].as_str().context("the secret is shown once")?)?;
    world.start("delivery-1")?;
    let calls = world.log_as("billing").await?;
    for number in 0..20 {
        calls.append(&settled(&format!("call-{}", number % 5), number)?, None).await?;
    }
    let sent = async || Ok((receiver.heard().len() == 5).then_some(()));
    eventually("the first of each call is sent", sent).await?;
    world.kill("delivery-1")?;
    receiver.behave(|_| Reply::Status(200));
    world.start("delivery-2")?;
    let all = async || Ok((receiver.heard().len() >= 25).then_some(()));
    eventually("those come again, and all others", all).await?;
    // That each has one id is the receiver's to judge.
    assert_eq!((receiver.judge(&[])?, receiver.heard().len()), (5, 25));
    let again: Vec<_> = receiver.heard().into_iter().filter(|heard| heard.attempt == 2).collect();
    assert_eq!(again.len(), 5, "attempts are counted on");
    println!("| killed between send and record | 20 events | 25 attempts | 5 again, with their ids |");
    Ok(())
}

async fn happen(calls: &Bus, round: u64) -> Result<()> {
    for number in 0..EVENTS {
        let event = settled(&format!("call-{}", number % CALLS), round * EVENTS + number)?;
        calls.append(&event, None).await?;
    }
    Ok(())
}

/// What was delivered before a backup is not sent again after it was restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_sends_nothing_again_embedded() -> Result<()> {
    a_restore_sends_nothing_again(World::embedded_with(POLICY, ALLOW).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_sends_nothing_again_on_servers() -> Result<()> {
    let mut world = World::nats_with(POLICY, ALLOW).await?;
    world.start("delivery-1")?;
    a_restore_sends_nothing_again(world).await
}

async fn a_restore_sends_nothing_again(mut world: World) -> Result<()> {
    let receiver = Receiver::start().await?;
    let spec = json!({ "url": receiver.url(), "kinds": ["settled"] });
    let (_, put) = world.put("/v1/destinations/crm", &spec).await?;
    receiver.trust(put["secret"].as_str().context("the secret is shown once")?)?;
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(1)?;
    for _ in 0..5 {
        platform.call(script(ALLOWED)).await;
    }
    hears(&receiver, 5).await?;
    // Only what is known to be done by then is known to be done afterwards: the rest is written down once more.
    eventually("all of it is noted", async || {
        let delivered = |noted: &DeliveryNoted| matches!(noted, DeliveryNoted::Delivered { .. });
        let noted = noted(&world.log().await?, "crm").await?;
        Ok((noted.iter().filter(|noted| delivered(noted)).count() == 5).then_some(()))
    })
    .await?;
    // From here on only the consumer's place says that they are done.
    let log = if world.is_embedded() { world.log().await? } else { world.log_as("delivery").await? };
    eventually("a takeover would not read them again", async || {
        Ok((log.checkpoint("delivery.crm").await?.unwrap_or_default() >= 10).then_some(()))
    })
    .await?;
    drop(log);
    let done = |output: std::process::Output| {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{said}");
        Ok(said)
    };
    done(world.callbus_as("backup", &["backup", "copy"])?)?;
    world.lose_everything()?;
    done(world.callbus_as("restore", &["restore", "copy"])?)?;
    if world.is_embedded() {
        world.start("all")?;
    } else {
        world.provision(&[])?;
        for role in ["billing", "worker-1", "worker-2", "ingress-1", "api", "delivery-1"] {
            world.start(role)?;
        }
    }
    let rotated = eventually("the secret, which is in no backup, is made anew", async || {
        let (status, rotated) = world.post("/v1/destinations/crm/rotate", &json!({})).await?;
        Ok((status == 200).then_some(rotated))
    })
    .await?;
    receiver.trust(rotated["secret"].as_str().context("a secret")?)?;
    let platform = world.platform(2)?;
    eventually("calls are answered", async || {
        let report = platform.call(script(ALLOWED)).await;
        Ok((report.answers()[0].action.name() == "connectPstn").then_some(()))
    })
    .await?;
    hears(&receiver, 6).await?;
    assert_eq!(receiver.judge(&[])?, 0, "nothing came again");
    Ok(())
}

/// Says a command, and what it printed as JSON.
fn said(world: &World, arguments: &[&str]) -> Result<Value> {
    let done = world.callbus(&[arguments, &["--json"]].concat())?;
    ensure!(done.status.success(), "callbus {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// What an operator does all day, by commands, on one process with a real call in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_what_was_given_up_and_sends_it_again() -> Result<()> {
    let world = World::embedded_with(POLICY, ALLOW).await?;
    let receiver = Receiver::start_with(|_| Reply::Status(400)).await?;
    let spec = json!({ "url": receiver.url(), "kinds": ["ice", "dice", "settled"], "retry": { "table": [1] } });
    let file = world.write("crm.json", &spec.to_string())?;
    let put = said(&world, &["destination", "put", "crm", "--file", &file])?;
    receiver.trust(put["secret"].as_str().context("the secret is shown once")?)?;
    world.top_up(WALLET, "10").await?;
    let began = tests::world::now();
    let mut call = script(ALLOWED);
    call.hangup = Hangup { after_secs: 5, by: Party::Caller };
    world.platform(1)?.call(call).await;
    let dead = async || {
        let page = said(&world, &["delivery", "dead", "--destination", "crm"])?;
        Ok((page["dead"][0]["count"] == 3).then_some(page))
    };
    let page = eventually("three are given up", dead).await?;
    assert_eq!(page["dead"][0]["cause"], "it answers 400");
    let listed = said(&world, &["delivery", "ls", "--state", "dead"])?;
    assert_eq!(listed["deliveries"][0]["kind"], "settled", "the newest first");
    let id = listed["deliveries"][0]["id"].as_str().context("an id")?;
    assert_eq!(said(&world, &["delivery", "show", id])?["attempts"], 2);
    // The list has the first digits of ids, and they do.
    let table = world.callbus(&["delivery", "ls", "--state", "dead"])?;
    let table = String::from_utf8(table.stdout)?;
    assert!(table.contains(&id[..12]) && !table.contains(&id[..13]), "{table}");
    let shown = world.callbus(&["delivery", "show", &id[..12]])?;
    let shown = String::from_utf8(shown.stdout)?;
    assert!([id, "it was given up", &receiver.url()].iter().all(|expected| shown.contains(*expected)), "{shown}");
    let unknown = world.callbus(&["delivery", "show", "nope"])?;
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let shown = world.callbus(&["destination", "ls"])?;
    assert!(String::from_utf8(shown.stdout)?.contains("sending"));
    // All again, which is refused again: that is not for the next step of the same request.
    let (status, step) = world.post("/v1/destinations/crm/retry", &json!({})).await?;
    assert_eq!((status, &step["retried"]), (200, &json!(3)), "{step}");
    eventually("three are given up again", async || {
        let page = said(&world, &["delivery", "ls", "--state", "dead"])?;
        // Tables are a moment behind: as they were given up before, they had been tried twice.
        let again = page["deliveries"].as_array().into_iter().flatten().filter(|dead| dead["attempts"] == 4);
        Ok((again.count() == 3).then_some(()))
    })
    .await?;
    let (status, step) = world.post("/v1/destinations/crm/retry", &json!({ "before": step["before"] })).await?;
    assert_eq!((status, &step["retried"], &step["more"]), (200, &json!(0), &json!(false)), "{step}");
    receiver.behave(|_| Reply::Status(200));
    assert_eq!(said(&world, &["delivery", "retry", id])?["retried"], 1);
    assert_eq!(said(&world, &["delivery", "retry", "--all", "crm"])?["retried"], 2);
    hears(&receiver, 3).await?;
    let sent = receiver.heard();
    let taken: Vec<u64> = sent.iter().filter(|heard| heard.status == 200).map(|heard| heard.sequence).collect();
    assert!(taken[1] < taken[2], "the oldest first");
    assert!(sent.iter().filter(|heard| heard.status == 200).all(|heard| heard.attempt == 5), "attempts are counted on");
    // What a preview shows is what was sent.
    let shown = said(&world, &["destination", "preview", "crm"])?;
    let last = receiver.heard().into_iter().max_by_key(|heard| heard.sequence).context("the last")?;
    assert_eq!(shown["body"].as_str().map(str::as_bytes), Some(&last.body[..]));
    assert_eq!(shown["headers"]["webhook-sequence"], last.sequence.to_string());
    // All of it anew, with ids of its own.
    let (from, to) = (began.to_string(), tests::world::now().to_string());
    let replay = ["delivery", "replay", "crm", "--from", &from, "--to", &to];
    assert_eq!(said(&world, &replay)?["deliveries"], 3);
    assert_eq!(receiver.heard().len(), sent.len(), "a count sends nothing");
    assert_eq!(said(&world, &[&replay[..], &["--yes"]].concat())?["deliveries"], 3);
    let anew = async || Ok((receiver.heard().len() == sent.len() + 3).then_some(()));
    eventually("they are heard anew", anew).await?;
    let ids: BTreeSet<_> = receiver.heard().into_iter().map(|heard| heard.id).collect();
    assert_eq!(ids.len(), 6);
    let shown = said(&world, &["destination", "show", "crm"])?;
    assert_eq!((&shown["lanes"][0]["open"], &shown["lanes"][0]["broken"]), (&json!(0), &json!(false)));
    said(&world, &["destination", "rm", "crm"])?;
    assert!(said(&world, &["destination", "show", "crm"]).is_err());
    Ok(())
}
