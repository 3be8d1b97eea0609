//! `callbus demo`: five calls through everything there is, in a directory of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;
use bus::Clock;
use money::Deck;
use proto::{DeckName, Kind, Outcome};
use serde_json::{Value, json};
use simulator::{CallScript, Callee, Caller, Endpoint, Hangup, Input, Party};
use tempfile::TempDir;
use workers::Handlers;
use workers::deck_log;

use super::call::Call;
use super::{init, sim};
use crate::Asked;
use crate::cli::{Demo, Role};
use crate::client::ApiClient;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::roles::{Ground, Running};

const PORT: u16 = 8080;
const DECK: &str = include_str!("../../templates/deck.csv");
const DECK_NAME: &str = "standard";
/// Who has credit: who calls out, and the app for what its menu connects.
const TOP_UPS: [(&str, &str); 2] = [("alice", "10"), ("acme", "25")];

/// One call, what it shows, and what must come of it.
struct Scene {
    title: &'static str,
    script: CallScript,
    /// Kind, rule and outcome of each decision, in order.
    decisions: &'static [(Kind, &'static str, Outcome)],
    /// The code of the refusal.
    refused: Option<&'static str>,
    /// The wallet that is charged.
    payer: Option<&'static str>,
}

/// # Errors
/// When something cannot start, or with `--exit` a call went otherwise than told.
pub(crate) async fn run(demo: &Demo, environment: &Environment, output: Output) -> Result<(), Failure> {
    let mut asked = Asked::to_stop()?;
    let directory = tempfile::Builder::new().prefix("callbus-demo-").tempdir().context("make a directory")?;
    let (config, mut running) = start(demo, &directory, environment).await?;
    let stays = async {
        let went_as_told = play(&config, output).await?;
        if demo.exit {
            return if went_as_told { Ok(()) } else { Err(Failure::say(Exit::Failed, "a call did not go as told")) };
        }
        invite(&config, output).await?;
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = stays => ended,
        () = asked.wait() => Ok(()),
        failed = running.failed() => Err(Failure::from(failed)),
    };
    running.drain().await;
    ended
}

/// All roles on the embedded parts, with prices loaded.
async fn start(demo: &Demo, directory: &TempDir, environment: &Environment) -> Result<(Config, Running), Failure> {
    let (callbacks, api) = ports(demo.port)?;
    let file: PathBuf = directory.path().join("callbus.toml");
    let at = |port: u16| format!("127.0.0.1:{port}");
    init::write(&file, &init::Names { app: "acme", ingress: &at(callbacks), api: &at(api) })?;
    // Settings for a real installation may stand in the environment; the demo is none.
    let config = Config::load(&file, &Environment::default())?;
    let ground = Ground::open(Role::All, &config, environment).await?;
    let deck = Deck::from_csv(DECK_NAME, DECK.as_bytes()).context("read the demo's price list")?;
    deck_log::import(&ground.bus, &DeckName::new(DECK_NAME)?, &deck, None, Clock::System.now()).await?;
    let running = ground.start(Role::All, &config, environment, Handlers::default()).await?;
    Ok((config, running))
}

/// Tops up, places the calls, and says whether all went as told.
async fn play(config: &Config, output: Output) -> Result<bool, Failure> {
    let api = ApiClient::new(config)?;
    output.line(output.toned(Tone::Strong, "callbus demo: five calls, signed and over real HTTP, in one process"));
    output.line(output.toned(Tone::Faint, format!("callbacks {}, api {}", config.callback_url(), config.api_url())));
    for (wallet, amount) in TOP_UPS {
        let body = json!({ "id": "demo", "amount": amount, "currency": "EUR", "note": "to begin with" });
        let _: Value = api.post(&format!("/v1/wallets/{wallet}/topups"), &body).await?;
        output.line(format!("{wallet} has {amount} EUR"));
    }
    let app = config.apps.first().context("the demo has no app")?;
    let platform = sim::platform(app, &config.callback_url(), None)?;
    let mut rows = Vec::new();
    let mut all_good = true;
    for (index, scene) in scenes().into_iter().enumerate() {
        output.line("");
        output.line(output.toned(Tone::Strong, format!("{}. {}", index + 1, scene.title)));
        let report = sim::play(&platform, scene.script.clone(), output).await;
        let call = sim::settled(&api, &report).await?;
        sim::tell(output, &call);
        let wrong = scene.differs(&call);
        all_good &= wrong.is_none();
        let verdict = wrong.unwrap_or_else(|| "as told".to_owned());
        let cost = call.settled().map(|settled| settled.legs.iter().map(|leg| leg.cost).sum());
        let cost: rust_decimal::Decimal = cost.unwrap_or_default();
        rows.push([scene.title.to_owned(), format!("{} EUR", cost.normalize()), verdict, call.call]);
    }
    output.line("");
    output.table(["CALL", "COST", "WENT", "ID"], rows);
    Ok(all_good)
}

/// What to try next.
async fn invite(config: &Config, output: Output) -> Result<(), Failure> {
    let calls: Value = ApiClient::new(config)?.get("/v1/calls?limit=5").await?;
    let refused = calls["calls"].as_array().into_iter().flatten().find(|call| call["reason"] == "NO_CREDIT");
    let id = refused.and_then(|call| call["call"].as_str()).unwrap_or("<id>");
    let program = std::env::args().next().unwrap_or_else(|| "callbus".to_owned());
    let config_file = config.file.display();
    output.line("");
    output.line(output.toned(Tone::Strong, "Try, in another terminal"));
    for command in [
        "call ls".to_owned(),
        format!("call why {id}"),
        format!("call show {id}"),
        "wallet ledger alice".to_owned(),
        "wallet topup bob 5 EUR".to_owned(),
        "sim call --to +15612600684 --user bob --hangup-after 63s".to_owned(),
        "log verify".to_owned(),
    ] {
        output.line(format!("  {program} --config {config_file} {command}"));
    }
    output.line("");
    output.line(output.toned(Tone::Faint, "Ctrl-C ends the demo and removes its directory."));
    output.line(format!("api: {}", config.api_url()));
    Ok(())
}

fn scenes() -> [Scene; 5] {
    let user = |name: &str, number: &str| CallScript::new(Caller::User(name.into()), Endpoint::Number(number.into()));
    let hangup = |after_secs| Hangup { after_secs, by: Party::Caller };
    [
        Scene {
            title: "alice calls an allowlisted number",
            script: CallScript { hangup: hangup(63), ..user("alice", "+15612600684") },
            decisions: &[(Kind::Ice, "allowlisted", Outcome::Granted), (Kind::Ace, "default", Outcome::Answered)],
            refused: None,
            payer: Some("alice"),
        },
        Scene {
            title: "alice calls a number that is not on the list",
            script: user("alice", "+447700900123"),
            decisions: &[(Kind::Ice, "default", Outcome::Refused)],
            refused: Some("NOT_ALLOWLISTED"),
            payer: None,
        },
        Scene {
            title: "bob calls without credit",
            script: user("bob", "+15612600684"),
            decisions: &[(Kind::Ice, "allowlisted", Outcome::Refused)],
            refused: Some("NO_CREDIT"),
            payer: None,
        },
        Scene {
            title: "somebody calls Acme and asks for sales",
            script: CallScript {
                inputs: vec![Input::Digits("1".into())],
                hangup: hangup(125),
                ..CallScript::new(Caller::Number("+15550100200".into()), Endpoint::Did("+15550001111".into()))
            },
            decisions: &[
                (Kind::Ice, "inbound", Outcome::Answered),
                (Kind::Pie, "sales", Outcome::Granted),
                (Kind::Ace, "default", Outcome::Answered),
            ],
            refused: None,
            payer: Some("acme"),
        },
        Scene {
            title: "alice reaches an answering machine",
            script: CallScript { callee: Callee::Machine { after_secs: 4 }, ..user("alice", "+46701234567") },
            decisions: &[(Kind::Ice, "allowlisted", Outcome::Granted), (Kind::Ace, "machine", Outcome::Answered)],
            refused: None,
            // A machine has picked up too: the platform charges from there, and so do we.
            payer: Some("alice"),
        },
    ]
}

impl Scene {
    /// What went otherwise, if anything did.
    fn differs(&self, call: &Call) -> Option<String> {
        let decisions: Vec<(Kind, String, Outcome)> = call
            .decisions()
            .filter_map(|event| {
                let decided: proto::Decided = serde_json::from_value(event.body.clone()).ok()?;
                Some((decided.kind, decided.rule.unwrap_or_default(), decided.outcome))
            })
            .collect();
        let told: Vec<(Kind, String, Outcome)> =
            self.decisions.iter().map(|(kind, rule, outcome)| (*kind, (*rule).to_owned(), *outcome)).collect();
        if decisions != told {
            return Some(format!("decided {decisions:?}, not {told:?}"));
        }
        let Some(settled) = call.settled() else { return Some("not settled".to_owned()) };
        if settled.refused.as_deref() != self.refused {
            return Some(format!("refused {:?}, not {:?}", settled.refused, self.refused));
        }
        let payer = settled.legs.iter().find(|leg| !leg.cost.is_zero()).map(|leg| leg.wallet.as_str());
        (payer != self.payer).then(|| format!("{payer:?} paid, not {:?}", self.payer))
    }
}

/// The asked-for ports, or the usual ones, or free ones.
fn ports(asked: Option<u16>) -> Result<(u16, u16), Failure> {
    if let Some(port) = asked {
        return Ok((port, port.checked_add(1).context("--port: leave room for one more")?));
    }
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let (Ok(_), Ok(_)) = (bind(PORT), bind(PORT + 1)) {
        return Ok((PORT, PORT + 1));
    }
    // Both are held until both are known, so that they differ.
    let (first, second) = (bind(0)?, bind(0)?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}
