//! The same with real processes, each with rights of its own, and by commands.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use proto::{Listener, Moment, ProfileId};
use serde_json::{Value, json};
use tests::ear::Ear;
use tests::eventually;
use tests::world::{POLICY, World};

use super::{hears, progressed};

const PAGE: &str = include_str!("../../../docs/profiles.md");
const ALLOW: &str = "[outbound]\nallow = [\"127.0.0.0/8\"]\n";

/// Says a command, and what it printed as JSON.
fn said(world: &World, arguments: &[&str]) -> Result<Value> {
    let done = world.callbus(&[arguments, &["--json"]].concat())?;
    ensure!(done.status.success(), "callbus {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// The pages' blocks of one kind, in order.
fn blocks(kind: &str) -> Vec<&'static str> {
    let begin = format!("```{kind}\n");
    PAGE.split(begin.as_str()).skip(1).filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block)).collect()
}

/// What the page says of its example is what the commands say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_the_page_is_what_happens() -> Result<()> {
    let world = World::embedded(POLICY).await?;
    let profile = blocks("json").first().context("the profile")?.to_string();
    let refused = world.callbus(&["profile", "create", "--file", &world.write("profile.json", &profile)?])?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("as in an example"), "its password is none");
    let file = world.write("profile.json", &profile.replace('…', "s3cret"))?;
    let created = said(&world, &["profile", "create", "--file", &file])?;
    let id = created["id"].as_str().context("an id")?;
    assert!(id.starts_with("EU_") && created["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    let sample = world.write("call.json", blocks("json").get(1).context("the call")?)?;
    let shown = world.callbus(&["profile", "preview", id, "--file", &sample])?;
    ensure!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout)?;
    assert_eq!(shown.trim_end(), *blocks("http").first().context("what is sent")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_keeps_profiles_by_commands() -> Result<()> {
    let world = World::embedded_with(POLICY, ALLOW).await?;
    let spec = json!({
        "title": "First", "http_method": "GET", "url": "https://example.com/{call_id}",
        "auth": { "type": "basic", "user": "callbus", "password": "s3cret" },
    });
    let file = world.write("first.json", &spec.to_string())?;
    let first = said(&world, &["profile", "create", "--file", &file])?;
    assert!(first["warnings"][0].as_str().is_some_and(|warning| warning.contains("{call_id} is sent as it is")));
    let id = first["id"].as_str().context("an id")?.to_owned();
    assert!(!said(&world, &["profile", "show", &id])?.to_string().contains("s3cret"));
    let change = world.write("change.json", "{\"url\": \"https://example.com/{{call_id}}\", \"title\": \"Second\"}")?;
    let changed = said(&world, &["profile", "set", &id, "--file", &change])?;
    assert!(changed["revision"].as_u64() > first["revision"].as_u64() && changed.get("warnings").is_none());
    assert_eq!(changed["auth"], json!({ "type": "basic", "user": "callbus" }), "what is not given stays");
    let bad = world.write("bad.json", "{\"url\": \"https://example.com/{{calll_id}}\"}")?;
    let refused = world.callbus(&["profile", "set", &id, "--file", &bad])?;
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("line 1, column 21") && refused.contains("did you mean call_id?"), "{refused}");
    let elsewhere = world.write("elsewhere.json", "{\"url\": \"https://example.org/\"}")?;
    let refused = world.callbus(&["profile", "set", &id, "--file", &elsewhere])?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("give it anew"), "a password goes nowhere else");
    let copy = said(&world, &["profile", "duplicate", &id])?;
    assert_eq!((&copy["title"], &copy["url"]), (&json!("Second copy"), &changed["url"]));
    assert_eq!(copy.get("secret"), None, "the first signs nothing");
    let file = world.write("signs.json", "{\"secret\": \"new\"}")?;
    let secret = said(&world, &["profile", "set", &id, "--file", &file])?["secret"].clone();
    let signs = said(&world, &["profile", "duplicate", &id, "--title", "Signs"])?;
    assert!(signs["secret"].as_str().is_some_and(|made| made.starts_with("whsec_")), "{signs}");
    assert_ne!(signs["secret"], secret, "a secret of its own");
    said(&world, &["profile", "rm", signs["id"].as_str().context("an id")?])?;
    said(&world, &["profile", "disable", &id])?;
    let listed = said(&world, &["profile", "ls", "--title", "second"])?;
    let states: Vec<_> = listed["profiles"].as_array().context("a list")?.iter().map(|one| &one["status"]).collect();
    assert_eq!((states, &listed["total"]), (vec![&json!(3), &json!(1)], &json!(2)));
    let page = said(&world, &["profile", "ls", "--limit", "1", "--offset", "1"])?;
    assert_eq!((&page["profiles"][0]["id"], &page["total"]), (&copy["id"], &json!(2)));
    assert_eq!(said(&world, &["profile", "enable", &id])?["status"], 1);
    let shown = said(&world, &["profile", "preview", &id])?;
    assert!(shown["headers"].as_array().context("headers")?.contains(&json!(["authorization", "Basic …"])), "{shown}");
    said(&world, &["profile", "rm", &id])?;
    assert!(said(&world, &["profile", "show", &id]).is_err());
    assert_eq!(said(&world, &["profile", "ls"])?["total"], 1);
    Ok(())
}

/// Delivery is killed while it tells; then the operator looks, and tells again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_leaves_nobody_untold() -> Result<()> {
    let mut world = World::nats_with(POLICY, ALLOW).await?;
    let (crm, plain) = (Ear::start().await?, Ear::start().await?);
    let spec = json!({ "title": "CRM", "http_method": "GET", "url": format!("{}/crm/{{{{call_id}}}}", crm.url()) });
    let (status, created) = world.post("/v1/profiles", &spec).await?;
    assert_eq!(status, 201, "{created}");
    let id = ProfileId::new(created["id"].as_str().context("an id")?)?;
    let revision = created["revision"].as_u64().context("a revision")?;
    let urls = (0..3).map(|number| format!("{}/{number}/{{{{call_id}}}}", plain.url()));
    let tell: Vec<Listener> =
        [Listener::Profile { id: id.clone(), revision }].into_iter().chain(urls.map(Listener::Url)).collect();
    let log = world.log_as("restore").await?;
    world.start("delivery-1")?;
    for number in 0..200 {
        log.append(&progressed(&format!("call-{number}"), Moment::CallEnd, &tell)?, None).await?;
        if number == 100 {
            world.kill("delivery-1")?;
            world.start("delivery-2")?;
        }
    }
    hears(&crm, 200).await?;
    hears(&plain, 600).await?;
    let ids = |ear: &Ear| ear.taken().iter().map(|heard| heard.headers["webhook-id"].clone()).collect::<BTreeSet<_>>();
    eventually("all are told", async || Ok((ids(&crm).len() == 200 && ids(&plain).len() == 600).then_some(()))).await?;
    let report = format!("/v1/profiles/{id}/report");
    let all = async || Ok((world.get(&report).await?["delivered"] == 200).then_some(()));
    eventually("the report has all", all).await?;
    assert_eq!(world.get(&report).await?["events"], json!({ "call_end": { "delivered": 200 } }));
    // One call is told again, with the same id.
    let before = crm.taken().len();
    let (status, again) = world.post(&format!("/v1/profiles/{id}/retrigger"), &json!({ "call": "call-7" })).await?;
    assert_eq!((status, &again["retriggered"]), (200, &json!(1)), "{again}");
    hears(&crm, before + 1).await?;
    assert_eq!(ids(&crm).len(), 200);
    assert!(crm.taken().last().is_some_and(|heard| heard.target == "/crm/call-7"));
    // It is gone: whoever reads profiles sees that, though delivery alone may say so.
    crm.behave(|_| 410);
    log.append(&progressed("call-gone", Moment::CallEnd, &tell[..1])?, None).await?;
    let shown = async || {
        let shown = world.get(&format!("/v1/profiles/{id}")).await?;
        Ok((shown["status"] == 2).then_some(shown))
    };
    assert_eq!(eventually("it is disabled by itself", shown).await?["cause"], "it answers 410");
    crm.behave(|_| 200);
    let (status, enabled) = world.post(&format!("/v1/profiles/{id}/enable"), &json!({})).await?;
    assert_eq!((status, &enabled["status"]), (200, &json!(1)));
    hears(&crm, before + 2).await?;
    Ok(())
}
