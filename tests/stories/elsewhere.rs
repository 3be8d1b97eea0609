//! Asking elsewhere: a callback server that is there already, with Sinch's signature still good, and programs in other
//! languages. The examples are what is asked, run as a reader would run them; servers that misbehave are made here.

use std::convert::Infallible;
use std::future::pending;

use anyhow::{Context, Result, ensure};
use async_nats::Client;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::post;
use futures::StreamExt;
use proto::svaml::Action;
use proto::{Decided, Kind, Outcome};
use serde_json::{Value, json};
use simulator::{CallReport, CallScript, Caller, Endpoint, Input, SignWith};
use tempfile::TempDir;
use tests::program::{decide_javascript, decide_python, express};
use tests::world::{ALLOWED, APP_KEY, APP_SECRET, WALLET, now};
use tests::{World, eventually};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls::script;

/// Where the world is: the stories' own servers are on loopback, where callbus asks nobody unless told to.
const SETTINGS: &str = "[outbound]\nallow = [\"127.0.0.0/8\"]\n";

/// The policies to begin with, as readers of the page copy them.
fn on_the_page(nth: usize) -> String {
    let page = include_str!("../../docs/elsewhere.md");
    let block = page.split("```yaml\n").nth(nth + 1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    // One stands in a list, three blanks in.
    format!("\n{block}").replace("\n   ", "\n")
}

/// Answers every ICE that comes after a rule that asked and got nothing.
const REST: &str = "{ name: default, deny: NOBODY_SAID }";

/// Tells each story twice: embedded, and on servers.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() -> anyhow::Result<()> {
                super::$story(async |policy: &str| tests::World::embedded_with(policy, super::SETTINGS).await).await
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() -> anyhow::Result<()> {
                super::$story(async |policy: &str| tests::World::nats_with(policy, super::SETTINGS).await).await
            })*
        }
    };
}

stories! {
    a_call_is_led_by_the_server_behind,
    a_server_that_does_not_believe_the_signature,
    a_server_that_gives_no_answer_to_use,
}

async fn a_call_is_led_by_the_server_behind(world: impl AsyncFn(&str) -> Result<World>) -> Result<()> {
    let logs = TempDir::new()?;
    let (server, url) = express(APP_KEY, APP_SECRET, logs.path())?;
    let policy = on_the_page(0).replace("http://127.0.0.1:3000", &url);
    let world = world(&policy).await?;
    world.top_up(WALLET, "100").await?;

    let mut inbound = CallScript::new(Caller::Number("+46700000001".into()), Endpoint::Did("+46850001111".into()));
    inbound.inputs = vec![Input::Digits("1".into())];
    let sales = world.platform(40)?.call(inbound.clone()).await;
    assert_eq!(sales.callbacks(), [Kind::Ice, Kind::Pie, Kind::Ace, Kind::Dice]);
    assert_eq!(sales.heard(), ["Welcome to Acme.", "Press 1 for sales or 2 for support.", "Connecting you."]);
    let connect = sales.answers()[1].action.connect_pstn().context("sales is connected")?;
    assert_eq!(
        (connect.number.as_deref(), connect.max_duration),
        (Some(ALLOWED), Some(5_000)),
        "as long as 100 euros pay"
    );
    let cdr = world.cdr(&sales.call).await?;
    assert_eq!((cdr.legs[0].billed_secs, cdr.legs[0].cost.to_string().as_str()), (30, "0.6"));
    let asked = server.said()?;
    for (kind, is_asked) in [("ice", true), ("pie", true), ("ace", true), ("dice", false)] {
        assert_eq!(asked.contains(&format!("\n{kind} of {}", sales.call)), is_asked, "{kind} in {asked}");
    }

    inbound.inputs = vec![Input::Silence; 9];
    let silent = world.platform(41)?.call(inbound).await;
    assert_eq!(silent.answers().last().map(|answer| &answer.action), Some(&Action::Hangup));
    assert_eq!(world.cdr(&silent.call).await?.legs.len(), 0);
    Ok(())
}

async fn a_server_that_does_not_believe_the_signature(world: impl AsyncFn(&str) -> Result<World>) -> Result<()> {
    let logs = TempDir::new()?;
    let (server, url) = express(APP_KEY, "YW5vdGhlciBzZWNyZXQ=", logs.path())?;
    let world = world(&format!(
        "version: 1\nice:\n  \
         - {{ name: next, when: has(call.custom), ask: {{ url: \"{url}\", on_error: next }} }}\n  \
         - {{ name: deny, when: call.to.type == 'did', ask: {{ url: \"{url}\", on_error: deny }} }}\n  \
         - {REST}\n"
    ))
    .await?;

    let mut call = CallScript::new(Caller::Private, Endpoint::Did("+46850001111".into()));
    let denied = ice(&world, &call).await?;
    assert_eq!((denied.rule.as_deref(), denied.reason.as_deref()), (Some("deny"), Some("ASK_FAILED")));
    assert!(why(&denied)?.contains("401"), "{}", why(&denied)?);

    call.custom = Some("go on".into());
    call.to = Endpoint::Number(ALLOWED.into());
    let gone_on = ice(&world, &call).await?;
    assert_eq!((gone_on.rule.as_deref(), gone_on.reason.as_deref()), (Some("default"), Some("NOBODY_SAID")));
    assert!(!server.said()?.contains(" of "), "it takes no callback it cannot verify");
    Ok(())
}

/// What a server does to an ICE, and what of it stands in the explanation.
const MISBEHAVIOURS: &[(&str, &str)] = &[
    ("slow", "time"),
    ("nonsense", "SVAML"),
    ("empty", "SVAML"),
    ("illegal", "refused"),
    ("unbillable", "billed"),
    ("unratable", "number"),
    ("broken", "500"),
    ("moved", "307"),
    ("huge", "bytes"),
];

async fn a_server_that_gives_no_answer_to_use(world: impl AsyncFn(&str) -> Result<World>) -> Result<()> {
    let server = Misbehaving::start().await?;
    let mut policy = "version: 1\nice:\n".to_owned();
    for (name, _) in MISBEHAVIOURS {
        let url = format!("{}/{name}", server.address);
        policy += &format!(
            "  - {{ name: {name}, when: call.custom == '{name}', reserve: true, ask: {{ url: \"{url}\", timeout: 300ms, on_error: next }} }}\n"
        );
    }
    let world = world(&format!("{policy}  - {REST}\n")).await?;
    world.top_up(WALLET, "100").await?;
    for (name, why_not) in MISBEHAVIOURS {
        let mut call = script(ALLOWED);
        call.custom = Some((*name).into());
        let decided = ice(&world, &call).await?;
        // A worker said so, in time: had none, the fallback would stand here.
        assert_eq!(
            (decided.rule.as_deref(), decided.reason.as_deref()),
            (Some("default"), Some("NOBODY_SAID")),
            "{name}"
        );
        assert!(why(&decided)?.contains(why_not), "{name}: {}", why(&decided)?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_in_two_languages_share_the_calls() -> Result<()> {
    let mut world = World::nats_without_keys(&on_the_page(1)).await?;
    world.top_up(WALLET, "1000").await?;
    let (logs, nats) = (TempDir::new()?, world.servers()?.0.url());
    let python = decide_python(&nats, logs.path())?;
    let javascript = decide_javascript(&nats, logs.path())?;

    let first = call(&world, ALLOWED).await?;
    assert_eq!(first.callbacks(), [Kind::Ice, Kind::Ace, Kind::Dice]);
    assert_eq!(first.answers()[0].action.connect_pstn().and_then(|connect| connect.max_duration), Some(600));
    assert_eq!(first.answers()[1].action, Action::Continue);
    let decided = world.decisions(&first.call).await?;
    assert_eq!((decided[0].rule.as_deref(), decided[0].outcome), (Some("deciders"), Outcome::Granted));
    assert_eq!(decided[1].rule.as_deref(), Some("deciders"));
    assert_eq!(world.cdr(&first.call).await?.legs[0].cost.to_string(), "0.6");

    let abroad = call(&world, "+15551234567").await?;
    assert_eq!(abroad.heard(), ["We connect calls to Sweden only."]);
    assert_eq!(world.decisions(&abroad.call).await?[0].outcome, Outcome::Answered);

    eventually("both have decided something", async || {
        call(&world, ALLOWED).await?;
        Ok((python.said()?.contains(" of ") && javascript.said()?.contains(" of ")).then_some(()))
    })
    .await?;

    python.kill();
    eventually("the broker knows that one is gone", async || granted(&world).await).await?;
    for _ in 0..5 {
        ensure!(granted(&world).await?.is_some(), "the other one decides alone");
    }
    let ended = javascript.terminate()?;
    assert!(ended.success(), "it drains and ends by itself: {ended}");
    let nobody = ice(&world, &script(ALLOWED)).await?;
    assert_eq!((nobody.rule.as_deref(), nobody.reason.as_deref()), (Some("default"), Some("NOBODY_SAID")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_told_everything_and_believed_nothing() -> Result<()> {
    let mut world = World::nats_without_keys(&on_the_page(1)).await?;
    world.top_up(WALLET, "1").await?;
    let client = async_nats::connect(world.servers()?.0.url()).await?;

    let connect = |action: Value| json!({ "instructions": [], "action": action });
    let (question, decided) =
        reply(&world, &client, &connect(json!({ "name": "connectPstn", "number": ALLOWED, "maxDuration": 600 })))
            .await?;
    assert_eq!((decided.outcome, hold_secs(&decided)?), (Outcome::Granted, 50), "one euro, not ten minutes");
    assert_eq!(question["app"], "acme");
    assert_eq!(question["kind"], "ice");
    assert_eq!(question["call"], question["callback"]["callid"]);
    assert_eq!(question["callback"]["to"]["endpoint"], ALLOWED);
    assert_eq!(question["facts"]["call"]["to"], json!({ "type": "number", "endpoint": ALLOWED }));
    assert_eq!(question["facts"]["app"], json!({ "name": "acme", "wallet": WALLET }));

    let (_, broke) = reply(&world, &client, &connect(json!({ "name": "connectPstn", "number": ALLOWED }))).await?;
    assert_eq!(broke.reason.as_deref(), Some("NO_CREDIT"), "the first call holds it all");

    for bad in [json!("yes"), json!({}), connect(json!({ "name": "continue" })), connect(json!({ "name": "fly" }))] {
        let (_, decided) = reply(&world, &client, &bad).await?;
        assert_eq!(
            (decided.rule.as_deref(), decided.reason.as_deref()),
            (Some("default"), Some("NOBODY_SAID")),
            "{bad}"
        );
    }
    Ok(())
}

/// Plays a worker for one ICE: what it was asked, and what came of its reply.
async fn reply(world: &World, client: &Client, reply: &Value) -> Result<(Value, Decided)> {
    let mut questions = client.queue_subscribe("decide.v1.ice.acme", "deciders".to_owned()).await?;
    client.flush().await?;
    let (mut asked, reply) = (None, serde_json::to_vec(reply)?);
    let call = script(ALLOWED);
    let mut decided = std::pin::pin!(ice(world, &call));
    // On a busy machine a second worker of callbus asks too.
    loop {
        tokio::select! {
            decided = &mut decided => break Ok((asked.context("a question")?, decided?)),
            Some(question) = questions.next() => {
                asked = Some(serde_json::from_slice(&question.payload)?);
                client.publish(question.reply.context("where the reply goes")?, reply.clone().into()).await?;
            }
        }
    }
}

async fn call(world: &World, to: &str) -> Result<CallReport> {
    Ok(world.platform(seed())?.call(script(to)).await)
}

async fn granted(world: &World) -> Result<Option<()>> {
    let outcome = ice(world, &script(ALLOWED)).await?.outcome;
    Ok((outcome == Outcome::Granted).then_some(()))
}

/// What is decided about the ICE of a call, which then does not go on.
async fn ice(world: &World, script: &CallScript) -> Result<Decided> {
    let platform = world.platform(seed())?;
    let facts = platform.facts(script);
    platform.send(facts.ice(now()), SignWith::default()).await?;
    world.decisions(&facts.call).await?.into_iter().next().context("a decision")
}

/// Call ids come of the platform's seed, so each call has one of its own.
fn seed() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(4_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn why(decided: &Decided) -> Result<&str> {
    Ok(decided.explanation.as_ref().context("an explanation")?.get())
}

fn hold_secs(decided: &Decided) -> Result<u32> {
    let hold: money::Hold = serde_json::from_str(decided.hold.as_ref().context("a hold")?.get())?;
    Ok(hold.granted_secs)
}

/// A callback server in which everything goes wrong, under the path that says what.
struct Misbehaving {
    address: String,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Misbehaving {
    async fn start() -> Result<Self> {
        const GOOD: &str = r#"{"instructions":[],"action":{"name":"hangup"}}"#;
        let connect = |field: &str| format!(r#"{{"instructions":[],"action":{{"name":"connectPstn",{field}}}}}"#);
        let unbillable = connect(r#""number":"+46701234567","suppressCallbacks":true"#);
        let unratable = connect(r#""number":"sales""#);
        let huge = GOOD.replace("[]", &format!("[{}]", " ".repeat(1 << 20)));
        let router = Router::new()
            .route("/slow", post(async || pending::<Infallible>().await.to_string()))
            .route("/nonsense", post(async || "Hello!"))
            .route("/empty", post(async || "{}"))
            .route("/illegal", post(async || GOOD.replace("hangup", "continue")))
            .route("/unbillable", post(async || unbillable))
            .route("/unratable", post(async || unratable))
            .route("/broken", post(async || (StatusCode::INTERNAL_SERVER_ERROR, GOOD)))
            .route("/moved", post(async || Redirect::temporary("/good")))
            .route("/good", post(async || GOOD))
            .route("/huge", post(async || huge));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, _serving: serving })
    }
}
