//! Policies and lists that change while calls go on: revisions, hot reload, shadow, named events, replay.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use proto::svaml::Action;
use proto::{Emitted, Filter, Kind, ListChanged};
use serde_json::{Value, json};
use simulator::{CallScript, Callee};
use tests::world::{ALLOWED, POLICY, WALLET};
use tests::{World, eventually};

use crate::calls::{script, stories};

/// Everybody is refused.
const CLOSED: &str = "version: 1\nice:\n  - { name: closed, deny: CLOSED }\n";

/// A live list decides.
const LIVE: &str = r#"
version: 1
lists: { blocked: { live: true } }
ice:
  - { name: blocked, when: has(call.cli) && call.cli in lists.blocked, deny: BLOCKED }
  - { name: rest, reply: { connect_mxp: reception } }
"#;

/// Calls that end, and what is made of them.
const EMITS: &str = r#"
version: 1
ice:
  - { name: all, remember: { topic: sales }, reply: { connect_pstn: "+46701234567" } }
dice:
  - name: lost
    when: call.result == 'NOANSWER'
    emit: call.lost
    data: { caller: "${call.from}", topic: "${has(call.memory.topic) ? call.memory.topic : ''}" }
  - { name: ended, emit: call.ended }
"#;

stories! {
    super::POLICY => a_pushed_policy_decides_and_a_bad_one_never_does,
    super::LIVE => a_live_list_is_edited_while_calls_go_on,
    super::EMITS => a_call_that_ends_makes_named_events_once,
    super::POLICY => a_shadow_only_watches,
    super::POLICY => a_replay_says_what_would_change,
}

/// The reason of the refusal of a call to the allowed number, if it was refused.
async fn refusal(world: &World) -> Result<Option<String>> {
    static SEED: AtomicU64 = AtomicU64::new(1_000);
    let report = world.platform(SEED.fetch_add(1, Ordering::Relaxed))?.call(script(ALLOWED)).await;
    Ok(world.decisions(&report.call).await?.first().context("a decision")?.reason.clone())
}

async fn a_pushed_policy_decides_and_a_bad_one_never_does(mut world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    assert_eq!(refusal(&world).await?, None);
    let first = in_force(&world).await?;

    let file = world.write("closed.yaml", CLOSED)?;
    let pushed = world.callbus(&["policy", "push", &file, "--note", "for the night"])?;
    assert!(pushed.status.success(), "{pushed:?}");
    let said = String::from_utf8_lossy(&pushed.stdout).into_owned();
    let workers = world.workers();
    assert_eq!(said.matches("taken").count(), workers, "every worker says so: {said}");
    assert_eq!(refusal(&world).await?.as_deref(), Some("CLOSED"));
    let second = in_force(&world).await?;
    assert_ne!(first, second);

    // The command checks; past it, the API does.
    let bad = world.write("bad.yaml", &CLOSED.replace("deny: CLOSED", "deny: closed"))?;
    let refused = world.callbus(&["policy", "push", &bad])?;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let bundle = json!({ "version": 1, "file_name": "bad.yaml", "text": "version: 1\nice: []\n" });
    let (status, problem) = world.post("/v1/policies/acme", &json!({ "policy": bundle })).await?;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(in_force(&world).await?, second);
    assert_eq!(refusal(&world).await?.as_deref(), Some("CLOSED"));

    let back = world.callbus(&["policy", "rollback"])?;
    assert!(back.status.success(), "{back:?}");
    assert_eq!(in_force(&world).await?, first);
    assert_eq!(refusal(&world).await?, None);
    let ls = world.callbus(&["--json", "policy", "ls"])?;
    let history: Value = serde_json::from_slice(&ls.stdout)?;
    let origins: Vec<&str> =
        history[0]["revisions"].as_array().context("a list")?.iter().filter_map(|put| put["origin"].as_str()).collect();
    assert_eq!(origins, ["rollback", "push", "file"]);

    // What was in force stays so through a restart, whatever the file says.
    if world.is_embedded() {
        world.terminate("all")?;
        world.start("all")?;
        assert_eq!(in_force(&world).await?, first);
        // An edit of the file is put in force as it is saved; a bad one is not.
        world.write("policy.yaml", "version: 1\nice:\n  - { name: closed, deny: closed }\n")?;
        eventually("the bad file is refused", async || Ok(world.said("all")?.contains("refused").then_some(())))
            .await?;
        assert_eq!(in_force(&world).await?, first);
        world.write("policy.yaml", CLOSED)?;
        eventually("the file is in force", async || Ok((in_force(&world).await? == second).then_some(()))).await?;
        assert_eq!(refusal(&world).await?.as_deref(), Some("CLOSED"));
    } else {
        world.terminate("worker-1")?;
        world.start("worker-1")?;
        assert_eq!(in_force(&world).await?, first);
    }
    Ok(())
}

/// The revision by which all workers decide.
async fn in_force(world: &World) -> Result<String> {
    eventually("all workers agree", async || {
        let page = world.get("/v1/policies/acme").await?;
        let workers = page["workers"].as_array().context("workers")?;
        let revisions: Vec<&Value> = workers.iter().map(|worker| &worker["apps"][0]["revision"]).collect();
        let agreed = revisions.len() == world.workers() && revisions.windows(2).all(|pair| pair[0] == pair[1]);
        Ok(agreed.then(|| revisions[0].as_str().unwrap_or_default().to_owned()))
    })
    .await
}

async fn a_live_list_is_edited_while_calls_go_on(world: World) -> Result<()> {
    let blocked = async |world: &World| Ok::<_, anyhow::Error>(refusal(world).await?.as_deref() == Some("BLOCKED"));
    assert!(!blocked(&world).await?);
    let added = world.callbus(&["list", "add", "blocked", "46 70 000 00 01", "alice"])?;
    assert!(added.status.success(), "{added:?}");
    eventually("the caller is blocked", async || Ok(blocked(&world).await?.then_some(()))).await?;
    assert_eq!(world.callbus(&["list", "has", "blocked", "+46700000001"])?.status.code(), Some(0));
    assert_eq!(world.callbus(&["list", "has", "blocked", "+46700000002"])?.status.code(), Some(5));

    // Two who edit at once both have their way.
    let (first, second) = (json!({ "add": ["+46700000002"] }), json!({ "add": ["+46700000003"], "remove": ["alice"] }));
    let (one, two) = tokio::join!(world.post("/v1/lists/blocked", &first), world.post("/v1/lists/blocked", &second));
    assert_eq!((one?.0, two?.0), (200, 200));
    let shown = world.callbus(&["list", "show", "blocked"])?;
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "+46700000001\n+46700000002\n+46700000003\n");

    let file = world.write("numbers.txt", &(0..20_000).map(|n| format!("+4671{n:07}\n")).collect::<String>())?;
    let replaced = world.callbus(&["--json", "list", "replace", "blocked", "--file", &file])?;
    let changed: Value = serde_json::from_slice(&replaced.stdout)?;
    assert_eq!(
        (&changed["added"], &changed["removed"], &changed["entries"]),
        (&json!(20_000), &json!(3), &json!(20_000))
    );
    // At no moment were the old ones gone and the new ones not there yet.
    let events: Vec<_> = world.log().await?.read(&Filter::List("blocked".parse()?), 0).try_collect().await?;
    let changes: Vec<ListChanged> =
        events.iter().map(|recorded| serde_json::from_slice(&recorded.event.data)).collect::<Result<_, _>>()?;
    let gone = changes.iter().rposition(|change| !change.removed.is_empty()).context("something went")?;
    assert_eq!(changes[gone].removed.len(), 3);
    assert_eq!(gone + 1, changes.len(), "what goes, goes last");
    eventually("the caller is not blocked", async || Ok((!blocked(&world).await?).then_some(()))).await?;
    let (status, problem) = world.post("/v1/lists/blocked", &json!({ "add": ["0701234567"] })).await?;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap_or_default().contains("country code"), "{problem}");
    Ok(())
}

async fn a_call_that_ends_makes_named_events_once(world: World) -> Result<()> {
    let platform = world.platform(7)?;
    let report = platform.call(CallScript { callee: Callee::NoAnswer, ..script(ALLOWED) }).await;
    let emitted = async || -> Result<Vec<Emitted>> {
        let events = world.events(&report.call).await?;
        let of_policy = events.iter().filter(|event| event.subject.kind() == Some(Kind::Emitted));
        of_policy.map(|event| Ok(serde_json::from_slice(&event.data)?)).collect()
    };
    let both = eventually("both rules have made theirs", async || {
        let emitted = emitted().await?;
        Ok((emitted.len() == 2).then_some(emitted))
    })
    .await?;
    assert_eq!(both.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["call.lost", "call.ended"]);
    assert_eq!(both[0].data["caller"], "+46700000001");
    assert_eq!(both[0].data["topic"], "sales");
    let shown = world.get(&format!("/v1/calls/{}", report.call)).await?;
    assert!(shown.to_string().contains("call.lost"), "{shown}");
    Ok(())
}

async fn a_shadow_only_watches(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let shadow = world.write("shadow.yaml", &CLOSED.replace("version: 1\n", "version: 1\nmode: shadow\n"))?;
    let pushed = world.callbus(&["policy", "push", &shadow])?;
    assert!(pushed.status.success(), "{pushed:?}");
    let report = world.platform(8)?.call(script(ALLOWED)).await;
    assert!(matches!(report.answers()[0].action, Action::ConnectPstn(_)));
    let decided = &world.decisions(&report.call).await?[0];
    let explanation: Value = serde_json::from_str(decided.explanation.as_ref().context("an explanation")?.get())?;
    let shadow = &explanation["shadow"];
    assert_eq!(
        (&shadow["rule"], &shadow["reason"], &shadow["differs"]),
        (&json!("closed"), &json!("CLOSED"), &json!(true))
    );
    let why = world.callbus(&["call", "why", report.call.as_str()])?;
    assert!(String::from_utf8_lossy(&why.stdout).contains("shadow"), "{why:?}");

    let ended = world.callbus(&["policy", "unshadow"])?;
    assert!(ended.status.success(), "{ended:?}");
    let report = world.platform(9)?.call(script(ALLOWED)).await;
    let decided = &world.decisions(&report.call).await?[0];
    assert!(!decided.explanation.as_ref().context("an explanation")?.get().contains("\"shadow\""));
    Ok(())
}

async fn a_replay_says_what_would_change(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(10)?;
    for to in [ALLOWED, ALLOWED, "+46709999999"] {
        platform.call(script(to)).await;
    }
    let same = fs::read_to_string(world.file("policy.yaml"))?;
    let same = world.write("same.yaml", &same)?;
    world.billing_caught_up().await?;
    let end = world.events_total().await?;
    let diff: Value = serde_json::from_slice(&world.callbus(&["--json", "policy", "diff", &same])?.stdout)?;
    assert_eq!((&diff["changed"], &diff["callbacks"]), (&json!(0), &json!(5)), "{diff}");

    let closed = world.write("closed.yaml", CLOSED)?;
    let diff: Value = serde_json::from_slice(&world.callbus(&["--json", "policy", "diff", &closed])?.stdout)?;
    assert_eq!(diff["changed"], json!(3), "two are connected no more, one has another reason: {diff}");
    let told = world.callbus(&["policy", "diff", &closed])?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("CLOSED") && told.contains("NOT_ALLOWLISTED"), "{told}");
    assert!(!told.contains("+46701234567"), "numbers are masked: {told}");
    assert_eq!(world.events_total().await?, end, "a replay writes nothing");
    Ok(())
}
