//! `callbus wallet`: balances, histories, top-ups, limits.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use money::Micros;
use money::statement::PriceUsed;
use serde_json::{Map, Value, json};

use super::policy::short;

use crate::cli::{TopUp, WalletCorrection, WalletGrant, WalletRefund, WalletSet, WalletStatement};
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::config::secret::random_token;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};

/// Characters of a time without fractions of a second.
const TO_THE_SECOND: usize = "2026-01-02T03:04:05".len();

/// Wallets that are folded for us at the same time.
pub(super) const AT_ONCE_MAX: usize = 4;

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn ls(config: &Config, output: Output) -> Result<(), Failure> {
    let page: Value = ApiClient::new(config)?.get("/v1/wallets").await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |wallet: &Value| {
        let facts = &wallet["facts"];
        let [currency, posted, held, available, status] =
            ["currency", "posted", "held", "available", "status"].map(|name| text(&facts[name]));
        [text(&wallet["wallet"]), posted, held, available, currency, status]
    };
    let rows = items(&page["wallets"]).map(row).collect();
    output.table(["WALLET", "BALANCE", "HELD", "AVAILABLE", "CURRENCY", "STATUS"], rows);
    Ok(())
}

pub(crate) async fn show(config: &Config, output: Output, wallet: &str) -> Result<(), Failure> {
    let page: Value = ApiClient::new(config)?.get(&format!("/v1/wallets/{}", segment(wallet))).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    for name in ["posted", "held", "credit_limit", "available", "currency", "status"] {
        output.line(format!("{name:<20}{}", text(&page["facts"][name])));
    }
    for (name, limit) in page["facts"]["limits"].as_object().into_iter().flatten() {
        output.line(format!("{name:<20}{}", list(limit)));
    }
    let spent = &page["facts"]["spent"];
    if text(&spent["month"]) != "0" {
        output.line(format!(
            "spent on {}: {}, in its month: {}",
            text(&spent["date"]),
            text(&spent["day"]),
            text(&spent["month"])
        ));
    }
    let grants: Vec<_> = items(&page["grants"])
        .map(|lot| {
            let terms = &lot["terms"];
            [&lot["grant"], &lot["left"], &terms["kind"], &terms["priority"], &terms["expires_at"]].map(text)
        })
        .collect();
    if !grants.is_empty() {
        output.line("");
        output.table(["GRANT", "LEFT", "KIND", "PRIORITY", "EXPIRES"], grants);
    }
    let holds: Vec<_> = items(&page["holds"])
        .map(|hold| ["call", "amount", "granted_secs", "prefix", "expires_at"].map(|name| text(&hold[name])))
        .collect();
    if !holds.is_empty() {
        output.line("");
        output.table(["HELD FOR CALL", "AMOUNT", "SECONDS", "PREFIX", "EXPIRES"], holds);
    }
    Ok(())
}

pub(crate) async fn ledger(config: &Config, output: Output, wallet: &str, limit: usize) -> Result<(), Failure> {
    let path = format!("/v1/wallets/{}/ledger?limit={limit}", segment(wallet));
    let page: Value = ApiClient::new(config)?.get(&path).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |line: &Value| {
        let posting = &line["posting"];
        let [what, amount, balance, held] = ["what", "amount", "balance", "held"].map(|name| text(&line[name]));
        let time = text(&line["time"]).chars().take(TO_THE_SECOND).collect();
        let about = ["note", "id", "grant"].into_iter().filter_map(|name| posting[name].as_str());
        // Where nobody names a posting, its id is random: nothing to read.
        let about: Vec<&str> = about.filter(|text| !text.is_empty() && !is_random(text)).collect();
        let kind = text(&line["cause"]["kind"]).to_uppercase();
        let about = about.join(" ");
        [time, what, amount, balance, held, kind, text(&posting["call"]), about, paid_by(posting), rated(line)]
    };
    let rows = items(&page["postings"]).map(row).collect();
    let headings = ["TIME (UTC)", "WHAT", "AMOUNT", "BALANCE", "HELD", "CALLBACK", "CALL", "ABOUT", "PAID BY", "RATED"];
    output.table(headings, rows);
    if let Some(why) = page["causes_missing"].as_str() {
        output.line(output.toned(Tone::Note, format!("which callbacks caused it is not known now: {why}")));
    }
    Ok(())
}

/// As [`random_token`] makes ids of postings that nobody names: 32 bytes in base64.
fn is_random(id: &str) -> bool {
    id.len() == 43 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Seconds, price, and where the price stands: `63 s × 1.2 per 60 s, 46 of standard@9c0d1e2b`.
fn rated(line: &Value) -> String {
    let Ok(used) = serde_json::from_value::<PriceUsed>(line["price"].clone()) else { return String::new() };
    let mut terms = Vec::new();
    if let Some(secs) = line["posting"]["billed_secs"].as_u64() {
        let tiers = used.price.tiers();
        let rates = tiers.iter().map(|tier| format!("{} per {} s", tier.rate, tier.unit_secs));
        let rates: BTreeSet<String> = rates.collect();
        let periods = if used.price.has_periods() { ", by period" } else { "" };
        terms.push(format!("{secs} s × {}{periods}", rates.into_iter().collect::<Vec<_>>().join(" or ")));
    }
    if used.price.connect_fee() > Micros::ZERO {
        terms.push(format!("connect fee {}", used.price.connect_fee()));
    }
    terms.push(format!("{} of {}@{}", used.prefix, used.deck.name, short(&used.deck.version)));
    terms.join(", ")
}

/// What grants paid, or with a minus got back.
fn paid_by(posting: &Value) -> String {
    let shares = |list: &Value, sign: &str| -> Vec<String> {
        items(list).map(|share| format!("{} {sign}{}", text(&share["grant"]), text(&share["amount"]))).collect()
    };
    [shares(&posting["paid_by"], ""), shares(&posting["returned_to"], "-")].concat().join(", ")
}

pub(crate) async fn statement(config: &Config, output: Output, asked: WalletStatement) -> Result<(), Failure> {
    let WalletStatement { wallet, from, to, csv, reveal } = asked;
    let mut path = format!("/v1/wallets/{}/statement?reveal={}", segment(&wallet), u8::from(reveal));
    for (name, time) in [("from", from), ("to", to)] {
        if let Some(time) = time {
            path += &format!("&{name}={time}");
        }
    }
    let page: Value = ApiClient::new(config)?.get(&path).await?;
    let statement = &page["statement"];
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |line: &Value| {
        let price = &line["price"];
        let [time, what, amount, balance, call, leg] =
            ["time", "what", "amount", "balance", "call", "leg"].map(|name| text(&line[name]));
        let [deck, version] = ["name", "version"].map(|name| text(&price["deck"][name]));
        let [billed, id, note] = ["billed_secs", "id", "note"].map(|name| text(&line[name]));
        [time, what, amount, balance, call, leg, deck, version, text(&price["prefix"]), billed, id, note]
    };
    let rows: Vec<_> = items(&statement["lines"]).map(row).collect();
    let [opening, closing, currency] = ["opening", "closing", "currency"].map(|name| text(&statement[name]));
    if csv {
        let headings = [
            "time",
            "what",
            "amount",
            "balance",
            "call",
            "leg",
            "deck",
            "version",
            "prefix",
            "billed_secs",
            "id",
            "note",
        ];
        let bare = |what: &str, balance: &str| {
            let mut row: [String; 12] = Default::default();
            (row[1], row[3]) = (what.to_owned(), balance.to_owned());
            row
        };
        return output.stream(|out| {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(headings)?;
            csv.write_record(bare("opening", &opening))?;
            rows.iter().try_for_each(|row| csv.write_record(guarded(row)))?;
            csv.write_record(bare("closing", &closing))?;
            Ok(csv.flush()?)
        });
    }
    output.line(format!("opening {opening} {currency}"));
    let short = |[time, what, amount, balance, call, _, deck, _, prefix, billed, id, note]: [String; 12]| {
        let time: String = time.chars().take(TO_THE_SECOND).collect();
        [time, what, amount, balance, call, [deck, prefix].join(" "), billed, id, note]
    };
    let rows = rows.into_iter().map(short).collect();
    output.table(["TIME (UTC)", "WHAT", "AMOUNT", "BALANCE", "CALL", "PRICE", "BILLED", "ID", "NOTE"], rows);
    output.line(format!("closing {closing} {currency}"));
    Ok(())
}

/// # Errors
/// Exit 3 when something differs.
pub(crate) async fn verify(config: &Config, output: Output, wallet: Option<String>) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let wallets = match wallet {
        Some(wallet) => vec![wallet],
        None => all(&api).await?,
    };
    let bar = output.bar(wallets.len() as u64, "wallets");
    let pages = stream::iter(wallets).map(async |wallet| {
        let page = api.get::<Value>(&format!("/v1/wallets/{}/verify", segment(&wallet))).await;
        bar.inc(1);
        page
    });
    let verified: Vec<Value> = pages.buffered(AT_ONCE_MAX).try_collect().await?;
    bar.finish_and_clear();
    let differences = |page: &Value| -> Vec<[String; 5]> {
        let row = |difference: &Value| {
            let [field, log, admission, by] = ["field", "log", "admission", "by"].map(|name| text(&difference[name]));
            [text(&page["wallet"]), field, log, admission, by]
        };
        items(&page["differences"]).map(row).collect()
    };
    let rows: Vec<_> = verified.iter().flat_map(differences).collect();
    let differ = !rows.is_empty();
    if output.json {
        output.json(&verified);
    } else {
        let loaded = verified.iter().filter(|page| page["seq"].is_u64()).count();
        output.line(format!("{} wallets, {loaded} of them in admission, {} differences", verified.len(), rows.len()));
        if differ {
            output.table(["WALLET", "FIELD", "LOG", "ADMISSION", "BY"], rows);
        }
    }
    if differ { Err(Failure::say(Exit::CheckFailed, "admission differs from the log")) } else { Ok(()) }
}

/// The names of all wallets, page by page.
pub(super) async fn all(api: &ApiClient) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().map(|last| segment(last)).unwrap_or_default();
        let page: Value = api.get(&format!("/v1/wallets?after={after}")).await?;
        let before = names.len();
        names.extend(items(&page["wallets"]).map(|wallet| text(&wallet["wallet"])));
        if names.len() == before {
            return Ok(names);
        }
    }
}

pub(crate) async fn top_up(config: &Config, output: Output, top_up: TopUp) -> Result<(), Failure> {
    let TopUp { wallet, amount, currency, id, note } = top_up;
    let what = format!("{amount} {currency}");
    let body = json!({ "amount": amount, "currency": currency, "note": note });
    post(config, output, &wallet, "topups", id, &what, body).await
}

pub(crate) async fn grant(config: &Config, output: Output, grant: WalletGrant) -> Result<(), Failure> {
    let WalletGrant { top_up: TopUp { wallet, amount, currency, id, note }, expires, priority, paid } = grant;
    let (what, kind) = (format!("{amount} {currency}"), if paid { "paid" } else { "granted" });
    let body = json!({
        "amount": amount, "currency": currency, "note": note, "kind": kind, "priority": priority, "expires_at": expires,
    });
    post(config, output, &wallet, "grants", id, &what, body).await
}

pub(crate) async fn refund(config: &Config, output: Output, refund: WalletRefund) -> Result<(), Failure> {
    let WalletRefund { wallet, call, amount, id, note } = refund;
    let body = json!({ "call": call, "amount": amount, "note": note });
    post(config, output, &wallet, "refunds", id, "the refund", body).await
}

pub(crate) async fn correct(config: &Config, output: Output, correction: WalletCorrection) -> Result<(), Failure> {
    let WalletCorrection { wallet, call, to, id, note } = correction;
    let body = json!({ "call": call, "to": to, "note": note });
    post(config, output, &wallet, "corrections", id, "the correction", body).await
}

/// Posts something under an id, which makes it safe to send again.
async fn post(
    config: &Config,
    output: Output,
    wallet: &str,
    to: &str,
    id: Option<String>,
    what: &str,
    mut body: Value,
) -> Result<(), Failure> {
    body["id"] = match id {
        Some(id) => json!(id),
        None => json!(random_token()?),
    };
    let path = format!("/v1/wallets/{}/{to}", segment(wallet));
    let receipt: Value = ApiClient::new(config)?.post(&path, &body).await?;
    if output.json {
        output.json(&receipt);
        return Ok(());
    }
    let done = if receipt["duplicate"] == true { "was posted before" } else { "posted" };
    let balance = output.toned(Tone::Good, text(&receipt["wallet"]["posted"]));
    output.line(format!("{what} {done}; {wallet} has {balance} {}", text(&receipt["wallet"]["currency"])));
    Ok(())
}

pub(crate) async fn set(config: &Config, output: Output, set: WalletSet) -> Result<(), Failure> {
    let whole = |text: &str| text.parse::<u32>().map_or_else(|_| json!(text), |number| json!(number));
    let amount = |text: &str| json!(text);
    let destinations = |text: &str| text.split(',').map(str::trim).collect();
    let edit = |named: &Option<String>, value: &dyn Fn(&str) -> Value| match named.as_deref() {
        None => None,
        Some("none") => Some(Value::Null),
        Some(text) => Some(value(text)),
    };
    let limits: Map<String, Value> = [
        ("concurrent_max", edit(&set.concurrent, &whole)),
        ("calls_per_sec_max", edit(&set.per_second, &whole)),
        ("spend_day_max", edit(&set.spend_day, &amount)),
        ("spend_month_max", edit(&set.spend_month, &amount)),
        ("minute_price_max", edit(&set.minute_price, &amount)),
        ("allowed", edit(&set.allow, &destinations)),
        ("denied", edit(&set.deny, &destinations)),
        ("time_zone", set.time_zone.as_deref().map(amount)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    let WalletSet { wallet, status, credit_limit, currency, note, .. } = set;
    let body = json!({
        "status": status, "credit_limit": credit_limit, "currency": currency, "limits": limits, "note": note,
    });
    let receipt: Value = ApiClient::new(config)?.patch(&format!("/v1/wallets/{}", segment(&wallet)), &body).await?;
    if output.json {
        output.json(&receipt);
        return Ok(());
    }
    let what = if receipt["duplicate"] == true { "is so already" } else { "is set" };
    let available = output.toned(Tone::Good, text(&receipt["wallet"]["available"]));
    output.line(format!("{wallet} {what}; {available} {} available", text(&receipt["wallet"]["currency"])));
    Ok(())
}

/// Text that a spreadsheet would take for a formula begins with an apostrophe; amounts and seconds stay as they are.
fn guarded(row: &[String; 12]) -> impl Iterator<Item = String> {
    const NUMBERS: [usize; 3] = [2, 3, 9];
    row.iter().enumerate().map(|(column, text)| {
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !NUMBERS.contains(&column);
        if formula { format!("'{text}") } else { text.clone() }
    })
}

/// A list as the command line takes it.
fn list(value: &Value) -> String {
    match value.as_array() {
        Some(entries) => entries.iter().map(text).collect::<Vec<_>>().join(","),
        None => text(value),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_statement_is_a_formula_and_numbers_stay_numbers() {
        let row =
            ["t", "charged", "-0.6", "+1", "=1+1", "-a", "@x", "\ty", "46", "-3", "i=1", "+4670"].map(str::to_owned);
        let guarded: Vec<String> = guarded(&row).collect();
        assert_eq!(guarded, ["t", "charged", "-0.6", "+1", "'=1+1", "'-a", "'@x", "'\ty", "46", "-3", "i=1", "'+4670"]);
    }
}
