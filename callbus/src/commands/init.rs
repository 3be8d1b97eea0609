//! `callbus init`: everything a first call needs, written beside the configuration file.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::config::secret::{random_key, random_secret, write_new};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};

const CONFIG: &str = include_str!("../../templates/callbus.toml");
const DECK: &str = include_str!("../../templates/deck.csv");
const POLICY: &str = include_str!("../../../examples/policies/acme.yaml");

/// What the written configuration says.
pub(crate) struct Names<'a> {
    pub app: &'a str,
    pub ingress: &'a str,
    pub api: &'a str,
}

/// # Errors
/// When one of the files exists: nothing is written then.
pub(crate) fn run(config: &Path, output: Output) -> Result<(), Failure> {
    let written = write(config, &Names { app: "acme", ingress: "127.0.0.1:8080", api: "127.0.0.1:8081" })?;
    for file in written {
        output.line(format!("wrote {file}"));
    }
    let config =
        if config == Path::new("callbus.toml") { String::new() } else { format!(" --config {}", config.display()) };
    output.line("");
    output.line(output.toned(Tone::Strong, "Next"));
    for (command, what) in [
        ("config check", "see what would run"),
        ("", "serve: all roles in this process (then, in another terminal)"),
        ("deck import deck.csv", "load the prices"),
        ("wallet topup acme 10 EUR", "give the app credit"),
        ("sim call --to +46701234567 --hangup-after 63s", "play a call out, on credit"),
        ("sim call --did +15550001111 --keys 1", "and one in, to the menu"),
        ("call ls", "see them"),
    ] {
        output.line(format!("  {:<56} {}", format!("callbus{config} {command}"), output.toned(Tone::Faint, what)));
    }
    Ok(())
}

/// Writes the files and says which.
///
/// # Errors
/// As [`run`].
pub(crate) fn write(config: &Path, names: &Names<'_>) -> Result<Vec<String>, Failure> {
    let directory = config.parent().unwrap_or(Path::new(""));
    let text = CONFIG
        .replace("@INGRESS@", names.ingress)
        .replace("@API@", names.api)
        .replace("@NAME@", names.app)
        .replace("@KEY@", &random_key()?)
        .replace("@SECRET@", &random_secret()?);
    let files = [
        (config.to_owned(), text.as_str()),
        (directory.join("policy.yaml"), POLICY),
        (directory.join("deck.csv"), DECK),
    ];
    let there: Vec<String> =
        files.iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.display().to_string()).collect();
    if !there.is_empty() {
        let sentence =
            format!("already there: {}; nothing was written. Choose another directory with --config", there.join(", "));
        return Err(Failure::say(Exit::Failed, sentence));
    }
    for (path, text) in &files {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        write_new(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(files.iter().map(|(path, _)| path.display().to_string()).collect())
}
