//! Is what runs here well? For people, and for containers, whose health check is `callbus health ROLE`.
//!
//! Listeners are asked over HTTP. Workers, billing, delivery and views have none, so every process answers
//! `health.v1.<host>.<role>` on the bus: a check in the same container has the same host name and so asks exactly that
//! process, by the way it works. (Two processes of one role on one host answer for each other.) The same way a process
//! finds out that it is ready.

use std::time::Duration;

use bus::{AskError, Bus, Question, ServeSpec, Unavailable};
use bytes::Bytes;
use proto::subject::token;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::broker;
use crate::cli::Role;
use crate::client;
use crate::config::{self, Config};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::Output;

const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const READY_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const ASKS_MAX: usize = 4;
const WELL: &[u8] = b"ok";

/// Answers for this process until asked to stop.
///
/// # Errors
/// When the broker does not let it serve.
pub(crate) async fn serve(bus: &Bus, role: Role, host: &str, stop: CancellationToken) -> Result<(), Unavailable> {
    let spec = ServeSpec {
        name: "callbus-health".to_owned(),
        group: "health".to_owned(),
        subjects: vec![subject(role, host), own_subject(role, host)],
        concurrency_max: ASKS_MAX,
    };
    let asked = bus.clone();
    let answer = move |_| {
        let state = asked.healthy().map_or_else(Bytes::from, |()| Bytes::from_static(WELL));
        async { state }
    };
    bus.serve(spec, answer, stop).await
}

/// Waits until this process reaches itself over the bus: then what it serves is served.
///
/// # Errors
/// When it does not in time.
pub(crate) async fn reached(bus: &Bus, role: Role, host: &str) -> anyhow::Result<()> {
    let subject = own_subject(role, host);
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match bus.ask(&subject, Question::default(), deadline).await {
            Ok(_) => return Ok(()),
            Err(AskError::NoResponder { .. } | AskError::Busy { .. }) if Instant::now() < deadline => {
                sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(anyhow::Error::new(error).context("reach this process over the bus")),
        }
    }
}

/// Asks one role, or both listeners.
///
/// # Errors
/// Exit 6 when somebody does not answer, or is not well.
pub(crate) async fn check(
    config: &Config,
    environment: &Environment,
    role: Option<Role>,
    output: Output,
) -> Result<(), Failure> {
    let (callbacks, api) = (config.callback_url(), format!("{}/healthz", config.api_listener()));
    match role {
        None | Some(Role::All) => {
            client::look(&callbacks).await?;
            client::look(&api).await?;
        }
        Some(Role::Ingress) => client::look(&callbacks).await?,
        Some(Role::Api) => client::look(&api).await?,
        Some(role @ (Role::Worker | Role::Billing | Role::Delivery | Role::Views)) => {
            ask(config, environment, role).await?;
        }
    }
    if output.json {
        output.json(&json!({ "status": "ok" }));
    } else {
        output.line("ok");
    }
    Ok(())
}

async fn ask(config: &Config, environment: &Environment, role: Role) -> Result<(), Failure> {
    let config::Bus::Nats(nats) = &config.bus else {
        let sentence = "with the embedded bus all roles are one process: run `callbus health` without a role";
        return Err(Failure::say(Exit::Usage, sentence));
    };
    let unreachable = |cause: String| Failure::say(Exit::Unreachable, format!("{role}: {cause}"));
    let connected = broker::connect(nats, broker::user(role), environment, None).await;
    let bus = connected.map_err(|error| unreachable(format!("{error:#}")))?;
    let deadline = Instant::now() + ANSWERED_WITHIN;
    match bus.ask(&subject(role, environment.host()), Question::default(), deadline).await {
        Ok(state) if state == WELL => Ok(()),
        Ok(state) => Err(unreachable(String::from_utf8_lossy(&state).into_owned())),
        Err(AskError::NoResponder { .. }) => {
            Err(unreachable(format!("no such process answers on {}; is it running?", environment.host())))
        }
        Err(error) => Err(unreachable(error.to_string())),
    }
}

fn own_subject(role: Role, host: &str) -> String {
    format!("{}.{}", subject(role, host), std::process::id())
}

fn subject(role: Role, host: &str) -> String {
    format!("health.v1.{}.{role}", token(host))
}
