//! `callbus config check`: reads all there is to read, and says what would run.

use std::path::Path;

use serde_json::json;

use super::policy::short;
use crate::cli::Role;
use crate::config::protection::Protection;
use crate::config::{Admission, Bus, Config};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::platform;
use crate::policy_files::PolicyFile;

/// # Errors
/// Exit 3 with everything that is wrong.
pub(crate) fn run(path: &Path, environment: &Environment, output: Output) -> Result<(), Failure> {
    let failed = |fault| Failure::new(Exit::CheckFailed, anyhow::Error::new(fault));
    let config = Config::load(path, environment).map_err(failed)?;
    let verify = Protection::of(environment).map_err(failed)?.verifies(environment);
    let mut wrong = Vec::new();
    let mut rows = Vec::new();
    for app in &config.apps {
        if let Err(fault) = app.secrets() {
            wrong.push(fault.to_string());
        }
        let (file, revision) = match app.policy.as_deref().map(|path| (path, PolicyFile::read(path))) {
            None => ("pushed".to_owned(), String::new()),
            Some((path, Ok(file))) => (path.display().to_string(), short(file.policy.revision())),
            Some((_, Err(fault))) => {
                wrong.push(fault.to_string());
                continue;
            }
        };
        rows.push([app.name.to_string(), file, revision, app.wallet.to_string(), app.deck.clone()]);
    }
    if let Err(fault) = config.refuse_unsafe(Role::All) {
        wrong.push(fault.to_string());
    }
    if let Err(fault) = platform::open(&config) {
        wrong.push(fault.to_string());
    }
    if !wrong.is_empty() {
        return Err(Failure::say(Exit::CheckFailed, wrong.join("\n")));
    }
    let bus = match &config.bus {
        Bus::Embedded => format!("embedded, in {}", config.data_dir.display()),
        Bus::Nats(nats) => format!("NATS at {}", without_password(&nats.url)),
    };
    let admission = match &config.admission {
        Admission::Memory => "memory".to_owned(),
        Admission::Redis { url } => format!("Redis at {}", without_password(url)),
    };
    let single = [Role::Ingress, Role::Worker, Role::Billing, Role::Api];
    let alone = single.into_iter().all(|role| config.refuse_unsafe(role).is_ok());
    let roles = if alone { "all in one process, or each its own" } else { "all in one process" };
    let signatures = if verify { "required" } else { "NOT REQUIRED: anybody can place calls at your cost" };
    if output.json {
        let apps: Vec<_> = rows
            .iter()
            .map(|[name, policy, revision, wallet, deck]| {
                json!({ "name": name, "policy": policy, "revision": revision, "wallet": wallet, "deck": deck })
            })
            .collect();
        output.json(&json!({
            "callbacks": config.callback_url(), "api": config.api_url(), "bus": bus, "admission": admission,
            "signatures_required": verify, "apps": apps,
        }));
        return Ok(());
    }
    let settings = [
        ("callbacks", config.callback_url()),
        ("api", config.api_url()),
        ("bus", bus),
        ("admission", admission),
        ("platform", config.platform.clone().unwrap_or_else(|| "none: no calls are placed".to_owned())),
        ("roles", roles.to_owned()),
        ("signatures", signatures.to_owned()),
    ];
    for (name, value) in settings {
        output.line(format!("{name:<12}{value}"));
    }
    output.line("");
    output.table(["APP", "POLICY", "REVISION", "WALLET", "DECK"], rows);
    Ok(())
}

/// An address for the screen.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}
