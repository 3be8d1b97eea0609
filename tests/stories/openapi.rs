//! The OpenAPI document says what is so. Each reply that a story gets of the API is held against it
//! ([`tests::openapi`]); here one of each kind is asked for, and the document itself is tried.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use simulator::Callee;
use tests::ear::Ear;
use tests::eventually;
use tests::openapi::OpenApi;
use tests::program::installed;
use tests::world::{WALLET, client};

use crate::placing::{CLI, OTHER, Office, TO, stories};

stories![what_is_replied_is_as_the_document_says];

async fn what_is_replied_is_as_the_document_says(office: Office) -> Result<()> {
    let (world, ear) = (&office.world, Ear::start().await?);
    let served = client().get(world.api("/v1/openapi.json")).send().await?;
    assert_eq!(served.json::<Value>().await?, published()?, "everybody may read it");

    let profile = json!({ "title": "Told of it", "http_method": "GET", "url": format!("{}/told", ear.url()) });
    let (_, profile) = world.post("/v1/profiles", &profile).await?;
    let profile = profile["id"].as_str().context("an id")?.to_owned();
    let hook = json!({ "url": format!("{}/hook", ear.url()), "kinds": ["settled"] });
    let (status, _) = world.put("/v1/destinations/hook", &hook).await?;
    ensure!(status == 200, "{status}");
    world.post("/v1/lists/blocked", &json!({ "add": [OTHER] })).await?;

    office.callee(TO, Callee::Answers { after_secs: 1 }, 3);
    let call = office.say(json!({ "callback": { "call_end": { "callback_profile": [profile] } } })).await?;
    let form = format!("from={}&to={}&bridge={}", enc(TO), enc(OTHER), enc(CLI));
    let (status, joined) = world.order("/v1/calls/click-to-call", Some("joined"), &json!(form)).await?;
    ensure!(status == 202, "{joined}");
    office.over(&call).await?;
    world.billing_caught_up().await?;
    eventually("both are told", async || {
        let page = world.get("/v1/deliveries?state=delivered").await?;
        let rows = page["deliveries"].as_array().context("deliveries")?;
        Ok((rows.len() >= 2).then_some(rows[0]["id"].clone()))
    })
    .await?;
    let delivery = world.get("/v1/deliveries").await?["deliveries"][0]["id"].as_str().context("an id")?.to_owned();

    for path in [
        "/healthz".to_owned(),
        "/v1/calls?reveal=1".to_owned(),
        format!("/v1/calls/{call}"),
        "/v1/cdrs".to_owned(),
        "/v1/flagged".to_owned(),
        "/v1/wallets".to_owned(),
        format!("/v1/wallets/{WALLET}"),
        format!("/v1/wallets/{WALLET}/ledger"),
        format!("/v1/wallets/{WALLET}/statement"),
        format!("/v1/wallets/{WALLET}/verify"),
        "/v1/decks/standard".to_owned(),
        "/v1/decks/standard/versions".to_owned(),
        format!("/v1/decks/standard/price?number={}&duration=61", enc(TO)),
        "/v1/policies/acme".to_owned(),
        "/v1/lists".to_owned(),
        "/v1/lists/blocked".to_owned(),
        format!("/v1/lists/blocked?has={}", enc(OTHER)),
        "/v1/destinations".to_owned(),
        "/v1/destinations/hook".to_owned(),
        "/v1/destinations/hook/preview".to_owned(),
        "/v1/profiles".to_owned(),
        format!("/v1/profiles/{profile}"),
        format!("/v1/profiles/{profile}/report"),
        format!("/v1/deliveries/{delivery}"),
        "/v1/deliveries/dead".to_owned(),
        "/v1/views".to_owned(),
        "/v1/rejected".to_owned(),
    ] {
        world.get(&path).await?;
    }
    for (path, body, expected) in [
        (format!("/v1/wallets/{WALLET}/topups"), json!({ "id": "again", "amount": "1", "currency": "EUR" }), 201),
        (format!("/v1/wallets/{WALLET}/topups"), json!({ "id": "again", "amount": "1", "currency": "EUR" }), 200),
        (format!("/v1/wallets/{WALLET}/topups"), json!({ "id": "again", "amount": "2", "currency": "EUR" }), 409),
        (format!("/v1/profiles/{profile}/preview"), json!({}), 200),
        (format!("/v1/profiles/{profile}/retrigger"), json!({ "call": call }), 200),
        ("/v1/destinations/hook/retry".to_owned(), json!({}), 200),
        ("/v1/destinations/nobody/pause".to_owned(), json!({}), 404),
        ("/v1/calls/outbound".to_owned(), json!({ "to": "0701234567" }), 422),
    ] {
        let (status, reply) = world.post(&path, &body).await?;
        assert_eq!(status, expected, "{path} {reply}");
    }
    Ok(())
}

#[test]
fn what_the_document_does_not_say_is_found() -> Result<()> {
    let document = OpenApi::read()?;
    let check = |path: &str, status, body: Value| document.check("get", path, status, "application/json", &body);
    check("/v1/calls", 200, json!({ "calls": [] }))?;
    check("/v1/deliveries/dead", 200, json!({ "dead": [] }))?;
    assert!(check("/v1/calls", 200, json!({ "calls": [], "more": 1 })).is_err(), "a field of no name");
    assert!(check("/v1/calls", 200, json!({})).is_err(), "a field that is not there");
    assert!(check("/v1/calls", 201, json!({ "calls": [] })).is_err(), "another status");
    assert!(check("/v1/others", 200, json!({})).is_err(), "another address");
    assert!(document.check("get", "/v1/calls", 503, "application/json", &json!({})).is_err(), "no problem details");
    Ok(())
}

#[test]
fn the_document_is_openapi() -> Result<()> {
    let packages = installed("target/tools/openapi")?;
    let judge = |document: &Value| -> Result<String> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("openapi.json");
        fs::write(&file, document.to_string())?;
        let mut python = Command::new("python3");
        let said = python.args(["-m", "openapi_spec_validator"]).arg(&file).env("PYTHONPATH", &packages).output()?;
        Ok(if said.status.success() {
            String::new()
        } else {
            String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
        })
    };
    let mut document = published()?;
    assert_eq!(judge(&document)?, "");
    document["paths"]["/v1/calls"]["get"]["parameters"][0]["in"] = json!("nowhere");
    assert_ne!(judge(&document)?, "");
    Ok(())
}

fn published() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// A number as it stands in a query.
fn enc(number: &str) -> String {
    number.replace('+', "%2B")
}
