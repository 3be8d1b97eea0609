//! `ask:` leaves the answer to somebody else: a callback server that is there already, or a program on the bus.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::errors::quoted;
use crate::reader::Reader;
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["url", "nats", "timeout", "on_error"];
/// Times one decision may ask; a rule that would ask once more refuses the call.
pub(crate) const ASKS_MAX: usize = 3;

const TIMEOUT: Duration = Duration::from_millis(800);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// An ingress gives a worker 1.8 seconds in all.
const TIMEOUT_MAX: Duration = Duration::from_millis(1_500);
const URL_MAX_BYTES: usize = 2_048;

/// Whom to ask, and what to do without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub to: AskTo,
    pub timeout: Duration,
    pub on_error: OnAskError,
}

/// Who is asked. `Display` is what explanations say: host and path, or `nats`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskTo {
    /// A callback server: `http` or `https`, with a host, without credentials, query or fragment.
    Url(String),
    /// A program that serves `decide.v1.<kind>.<app>`.
    Nats,
}

/// What no answer in time, or one that cannot be used, counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnAskError {
    /// The call is refused with `ASK_FAILED`.
    #[default]
    Deny,
    /// The rules after this one are tried.
    Next,
}

impl Ask {
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.map(node, "ask", KEYS);
        node.entries()?;
        let to = match (node.get("url"), node.get("nats")) {
            (Some(entry), None) => AskTo::Url(address(reader, &entry.value)?),
            (None, Some(entry)) => {
                if entry.value.bool() != Some(true) {
                    reader.findings.wrong_hint(entry.value.at, "nats takes no other value", "write nats: true");
                }
                AskTo::Nats
            }
            (Some(_), Some(entry)) => {
                reader.findings.wrong_hint(entry.at, "a rule asks one", "keep one of url and nats");
                return None;
            }
            (None, None) => {
                reader.findings.wrong_hint(node.at, "ask whom?", "add url: https://… or nats: true");
                return None;
            }
        };
        let mut ask = Self { to, timeout: TIMEOUT, on_error: OnAskError::Deny };
        if let Some(entry) = node.get("timeout") {
            ask.timeout = reader.duration(&entry.value, "timeout")?;
            if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&ask.timeout) {
                let hint = "the caller hears nothing meanwhile, and Sinch gives up soon";
                reader.findings.wrong_hint(entry.value.at, "timeout is 10ms to 1500ms", hint);
            }
        }
        if let Some(entry) = node.get("on_error") {
            match reader.text(&entry.value, "on_error")? {
                "deny" => {}
                "next" => ask.on_error = OnAskError::Next,
                _ => reader.findings.wrong(entry.value.at, "on_error is deny or next"),
            }
        }
        Some(ask)
    }
}

fn address(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "url")?;
    let (what, hint) = match Url::parse(text) {
        _ if text.contains("${") => {
            ("an address is constant text", "a caller must not choose who is asked: write a rule for each")
        }
        _ if text.len() > URL_MAX_BYTES => ("an address has at most 2048 bytes", "shorten it"),
        Err(error) => {
            let what = format!("{} is no address: {error}", quoted(text));
            reader.findings.wrong_hint(node.at, what, "write https://callbacks.example.com/sinch");
            return None;
        }
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            ("an address begins with https:// or http://", "write https://…")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            ("an address has no credentials", "the callback is signed: that is how the other side knows it")
        }
        Ok(url) if url.query().is_some() => {
            ("an address has no query", "a signature covers the path alone, so put it into the path")
        }
        Ok(url) if url.fragment().is_some() => ("an address has no fragment", "remove all from '#' on"),
        Ok(url) => return Some(url.into()),
    };
    reader.findings.wrong_hint(node.at, what, hint);
    None
}

impl fmt::Display for AskTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                f.write_str(url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/'))
            }
            Self::Nats => f.write_str("nats"),
        }
    }
}
