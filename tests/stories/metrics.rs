//! What processes say of themselves: counted as it happens, and never with a number or a secret in it.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::world::{ALLOWED, APP_SECRET, POLICY, WALLET};
use tests::{World, eventually};

use crate::calls::{script, stories};

stories! {
    super::POLICY => what_happens_is_counted,
    super::POLICY => nothing_that_is_printed_tells_a_number_or_a_secret,
}

/// The series that the dashboard and the alert rules name.
fn shown() -> Vec<String> {
    let shown = [
        include_str!("../../deploy/observability/alerts.yml"),
        include_str!("../../deploy/observability/grafana.json"),
    ];
    let words = shown.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| word.starts_with("callbus_")).map(str::to_owned).collect()
}

/// The value of a series, by the beginning of its line.
fn value(scraped: &str, series: &str) -> Result<u64> {
    let line =
        scraped.lines().find(|line| line.starts_with(series)).with_context(|| format!("{series} in {scraped}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

async fn what_happens_is_counted(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    // Nobody is ever called: there is no such event.
    let elsewhere = json!({ "url": "https://[2001:4860:4860::8888]/", "kinds": ["unknown"] });
    assert_eq!(world.put("/v1/destinations/crm", &elsewhere).await?.0, 200);
    let platform = world.platform(41)?;
    let call = platform.call(script(ALLOWED)).await.call;
    platform.call(script("+15550000000")).await;
    world.cdr(&call).await?;

    let (door, office) = if world.is_embedded() { ("all", "all") } else { ("ingress-1", "billing") };
    let scraped = world.scrape(door, "/metrics").await?;
    for (series, expected) in [
        ("callbus_callbacks_total{kind=\"ice\",outcome=\"granted\"}", 1),
        ("callbus_callbacks_total{kind=\"ice\",outcome=\"refused\"}", 1),
        ("callbus_callbacks_total{kind=\"dice\",outcome=\"recorded\"}", 2),
        ("callbus_answer_seconds_count{kind=\"ice\"}", 2),
    ] {
        ensure!(value(&scraped, series)? == expected, "{series} in {scraped}");
    }
    if world.is_embedded() {
        for name in shown() {
            let counted = async || Ok(world.scrape(door, "/metrics").await?.contains(&name).then_some(()));
            eventually(&format!("{name}, which is shown to operators, is counted"), counted).await?;
        }
    }
    let mut decided = 0;
    for worker in world.deciding() {
        let scraped = world.scrape(&worker, "/metrics").await?;
        decided += value(&scraped, "callbus_decisions_total{kind=\"ice\",outcome=\"granted\"}").unwrap_or_default();
    }
    // A slow worker is hedged, so there may be two.
    ensure!(decided >= 1, "a worker has decided");
    assert_eq!(world.scrape(door, "/healthz").await?, "ok\n");
    assert_eq!(world.scrape(office, "/readyz").await?, "ok\n");
    Ok(())
}

async fn nothing_that_is_printed_tells_a_number_or_a_secret(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(42)?;
    let call = platform.call(script(ALLOWED)).await.call;
    let refused = platform.call(script("+15550000000")).await.call;
    world.cdr(&call).await?;
    let noted = json!({ "id": "noted", "amount": "1", "currency": "EUR", "note": format!("for {ALLOWED}") });
    ensure!(world.post(&format!("/v1/wallets/{WALLET}/topups"), &noted).await?.0 < 300, "a top-up with a number");

    let mut printed = Vec::new();
    for name in world.running() {
        ensure!(!world.said(&name)?.contains("the broker refused"), "{name} lacks a right: {}", world.said(&name)?);
        printed.push((format!("the log of {name}"), world.said(&name)?));
        printed.push((format!("the metrics of {name}"), world.scrape(&name, "/metrics").await?));
    }
    for command in [
        &["call", "ls"][..],
        &["call", "show", call.as_str()],
        &["call", "why", call.as_str()],
        &["call", "why", refused.as_str()],
        &["call", "show", call.as_str(), "--json"],
        &["wallet", "show", WALLET],
        &["wallet", "ledger", WALLET],
        &["wallet", "statement", WALLET, "--csv"],
        &["cdr", "ls"],
        &["cdr", "show", call.as_str()],
        &["call", "flagged"],
        &["margin"],
        &["config", "check"],
    ] {
        let output = world.callbus(command)?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        printed.push((format!("callbus {command:?}"), String::from_utf8(output.stdout)?));
    }
    for (what, text) in printed {
        for secret in ["46701234567", "46700000001", "15550000000", APP_SECRET, "token-of-the-stories"] {
            ensure!(!text.contains(secret), "{what} tells {secret}: {text}");
        }
    }
    Ok(())
}
