//! The receivers' code of docs/delivery.md verifies what is really sent, and nothing else.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use delivery::DestinationSpec;
use proto::DestinationName;
use serde_json::{Value, json};
use tests::receiver::Receiver;

use super::{Post, hears, spec};
use crate::bus::Place;

const PAGE: &str = include_str!("../../../docs/delivery.md");

/// Reads what was sent, and says `True` or `true`.
const PYTHON: &str = "
import json, sys
sent = json.load(sys.stdin)
print(verify(sent['secret'], sent['headers'], base64.b64decode(sent['body'])))
";
const JAVASCRIPT: &str = "
import { readFileSync } from 'node:fs';
const sent = JSON.parse(readFileSync(0, 'utf8'));
console.log(verify(sent.secret, sent.headers, Buffer.from(sent.body, 'base64')));
";

/// The page's block in a language.
fn block(language: &str) -> Result<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).with_context(|| format!("a block of {language}"))?;
    Ok(rest.split_once("```").context("its end")?.0)
}

/// Whether both blocks take what was sent.
fn verifies(sent: &Value) -> Result<[bool; 2]> {
    let input = tempfile::NamedTempFile::new()?;
    std::fs::write(input.path(), sent.to_string())?;
    let says = |command: &mut Command| -> Result<bool> {
        let Output { status, stdout, stderr } = command.stdin(input.reopen()?).output()?;
        ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8_lossy(&stdout).trim().eq_ignore_ascii_case("true"))
    };
    let (python, javascript) = (block("python")?.to_owned() + PYTHON, block("js")?.to_owned() + JAVASCRIPT);
    Ok([
        says(Command::new("python3").args(["-c", &python]))?,
        says(Command::new("node").args(["--input-type=module", "-e", &javascript]))?,
    ])
}

#[tokio::test]
async fn the_code_of_the_page_verifies_what_is_sent() -> Result<()> {
    let receiver = Receiver::start().await?;
    let place = Place::embedded()?;
    let mut post = Post::open(&place).await?;
    let mut secrets = Vec::new();
    for method in ["POST", "GET"] {
        let spec: DestinationSpec = spec(&receiver.url(), json!({ "method": method }))?;
        let name = DestinationName::new(method)?;
        let made = post.register.put(&post.outbound, &name, spec, "story").await?.made.context("a secret")?;
        receiver.trust(&made.reveal())?;
        secrets.push((method, made.reveal()));
    }
    post.begin();
    post.happen(1, 1).await?;
    hears(&receiver, 1).await?;
    tests::eventually("both are heard", async || Ok((receiver.heard().len() == 2).then_some(()))).await?;
    post.end().await?;
    for heard in receiver.heard() {
        let (_, secret) = secrets.iter().find(|(method, _)| *method == heard.method).context("its secret")?;
        let header = |name: &str| heard.headers[name].to_str().unwrap_or_default().to_owned();
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: Value = names.iter().map(|name| ((*name).to_owned(), json!(header(name)))).collect();
        let body = if heard.method == "GET" { b"GET /hook?from=callbus".to_vec() } else { heard.body.to_vec() };
        let mut sent = json!({ "secret": secret, "headers": headers, "body": STANDARD.encode(&body) });
        assert_eq!(verifies(&sent)?, [true, true], "{}", heard.method);
        sent["body"] = json!(STANDARD.encode([&body[..], b" "].concat()));
        assert_eq!(verifies(&sent)?, [false, false], "{} with a blank more", heard.method);
    }
    Ok(())
}
