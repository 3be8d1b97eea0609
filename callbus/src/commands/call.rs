//! `callbus call`: what calls did, and why.

use jiff::Timestamp;
use policy::Explanation;
use proto::{Kind, Settled};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::placed;
use super::policy::short;
use crate::cli::CallLs;
use crate::client::{ApiClient, Query, segment};
use crate::config::Config;
use crate::exit::Failure;
use crate::ladder::Ladder;
use crate::output::{Output, Tone};
use crate::why;

/// One call, as the API tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub call: String,
    /// How it stands, when we placed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<Value>,
    pub events: Vec<Event>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub seq: u64,
    pub kind: Kind,
    pub time: Timestamp,
    pub id: String,
    pub app: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub body: Value,
}

impl Call {
    /// # Errors
    /// With the exit code of what went wrong; so with all that follow.
    pub(crate) async fn fetch(api: &ApiClient, id: &str, reveal: bool) -> Result<Self, Failure> {
        api.get(&format!("/v1/calls/{}?reveal={}", segment(id), u8::from(reveal))).await
    }

    pub(crate) fn decisions(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.kind == Kind::Decided)
    }

    /// The CDR, once the call is settled.
    pub(crate) fn settled(&self) -> Option<Settled> {
        let bodies = self.events.iter().filter(|event| event.kind == Kind::Settled).map(|event| &event.body);
        let cdrs = bodies.filter_map(|body| serde_json::from_value(body.clone()).ok());
        cdrs.reduce(|before: Settled, cdr: Settled| if cdr.replaces(&before) { cdr } else { before })
    }
}

pub(crate) async fn ls(config: &Config, output: Output, asked: &CallLs) -> Result<(), Failure> {
    let CallLs { limit, app, number, wallet, outcome, placed, time, before, reveal } = asked;
    let mut path = Query::of("/v1/calls");
    path.and("limit", Some(limit)).and("reveal", Some(u8::from(*reveal))).and("app", app.as_ref());
    path.and("number", number.as_ref()).and("wallet", wallet.as_ref()).and("outcome", outcome.as_ref());
    path.and("placed", placed.then_some(true));
    path.and("since", time.since).and("until", time.until).and("before", *before);
    let page: Value = ApiClient::new(config)?.get(path.as_str()).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |call: &Value| {
        let bills = call["bills"].as_array().into_iter().flatten();
        let cost: Vec<String> =
            bills.map(|bill| format!("{} {}", text(&bill["cost"]), text(&bill["currency"]))).collect();
        let ended = call["reason"].as_str().or(call["result"].as_str()).unwrap_or_default().to_owned();
        let duration = call["duration_secs"].as_u64().map(|secs| format!("{secs} s")).unwrap_or_default();
        let started: String = text(&call["started_at"]).chars().take(19).collect();
        [
            started,
            text(&call["from"]),
            text(&call["to"]),
            text(&call["rule"]),
            ended,
            duration,
            cost.join(" + "),
            text(&call["call"]),
        ]
    };
    let rows = page["calls"].as_array().into_iter().flatten().map(row).collect();
    output.table(["STARTED (UTC)", "FROM", "TO", "RULE", "CAME TO", "LASTED", "COST", "CALL"], rows);
    if let Some(next) = page["next"].as_u64() {
        output.line(output.toned(Tone::Faint, format!("more with --before {next}")));
    }
    say_behind(output, &page);
    Ok(())
}

pub(crate) async fn flagged(
    config: &Config,
    output: Output,
    flag: Option<&str>,
    limit: usize,
    reveal: bool,
) -> Result<(), Failure> {
    let flag = flag.map(|flag| format!("&flag={flag}")).unwrap_or_default();
    let path = format!("/v1/flagged?limit={limit}&reveal={}{flag}", u8::from(reveal));
    let page: Value = ApiClient::new(config)?.get(&path).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |call: &Value| {
        let Ok(cdr) = serde_json::from_value::<Settled>(call["cdr"].clone()) else { return Default::default() };
        let flags: Vec<String> = call["flags"].as_array().into_iter().flatten().map(text).collect();
        let cost: Vec<String> =
            cdr.legs.iter().map(|leg| format!("{} {}", leg.cost.normalize(), leg.currency)).collect();
        let other = cdr.disputed.map(|other| {
            let duration = other.duration_secs.map(|secs| format!(" {secs} s")).unwrap_or_default();
            format!("or {}{duration}", other.result.unwrap_or_default())
        });
        [
            cdr.ended_at.map(|at| at.to_string().chars().take(19).collect()).unwrap_or_default(),
            cdr.from.unwrap_or_default(),
            cdr.to.unwrap_or_default(),
            flags.join(", "),
            [Some(format!("{} s", cdr.duration_secs)), other].into_iter().flatten().collect::<Vec<_>>().join(" "),
            cost.join(" + "),
            cdr.call.to_string(),
        ]
    };
    let rows = page["calls"].as_array().into_iter().flatten().map(row).collect();
    output.table(["ENDED (UTC)", "FROM", "TO", "FLAGS", "LASTED", "COST", "CALL"], rows);
    Ok(())
}

/// What a list made of the tables lacks, when they lag.
pub(crate) fn say_behind(output: Output, page: &Value) {
    if let Some(behind) = page["behind"].as_u64() {
        let sentence = format!("the tables are {behind} events behind the log; newer calls are missing");
        output.line(output.toned(Tone::Note, sentence));
    }
}

pub(crate) async fn show(config: &Config, output: Output, id: &str, reveal: bool) -> Result<(), Failure> {
    let call = Call::fetch(&ApiClient::new(config)?, id, reveal).await?;
    if output.json {
        output.json(&call);
        return Ok(());
    }
    if let Some(placed) = &call.placed {
        placed::show(output, &call, placed);
        return Ok(());
    }
    let Some(begin) = call.events.first().map(|event| event.time) else { return Ok(()) };
    let ladder = Ladder::begin(output);
    for event in &call.events {
        let at_ms = u64::try_from(event.time.duration_since(begin).as_millis()).unwrap_or_default();
        match event.kind {
            Kind::Decided => ladder.answer(at_ms, &event.body["answer"], &found(event)),
            Kind::Emitted | Kind::Asked | Kind::Placed | Kind::Dialled | Kind::Progressed | Kind::Settled => {}
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {
                ladder.callback(at_ms, event.kind, &event.body);
            }
        }
    }
    output.line("");
    bill(output, &call);
    Ok(())
}

pub(crate) async fn why(config: &Config, output: Output, id: &str, reveal: bool) -> Result<(), Failure> {
    let call = Call::fetch(&ApiClient::new(config)?, id, reveal).await?;
    if output.json {
        let decisions: Vec<&Event> = match call.placed {
            Some(_) => placed::steps(&call).collect(),
            None => call.decisions().collect(),
        };
        output.json(&decisions);
        return Ok(());
    }
    if call.placed.is_some() {
        placed::why(output, &call);
        return Ok(());
    }
    if call.decisions().next().is_none() {
        output.line(format!("nothing was decided about it; `callbus call show {id}` says what happened"));
    }
    for event in call.decisions() {
        reasons(output, event);
        let Ok(explanation) = serde_json::from_value::<Explanation>(event.body["explanation"].clone()) else {
            continue;
        };
        why::table(output, &explanation);
        if let Some(credit) = credit(&event.body) {
            output.line(credit);
        }
        let policy = short(&explanation.policy);
        output.line(output.toned(Tone::Faint, format!("policy {policy}, decided by {}", by(event))));
        output.line("");
    }
    Ok(())
}

/// What was held for a grant, or where to look when money was the reason.
fn credit(decided: &Value) -> Option<String> {
    let wallet = decided["wallet"].as_str().unwrap_or_default();
    held(&decided["hold"], wallet).or_else(|| money_hint(decided["reason"].as_str()?, wallet))
}

/// What was held, for how long, and by which price.
pub(super) fn held(hold: &Value, wallet: &str) -> Option<String> {
    let hold: money::Hold = serde_json::from_value(hold.clone()).ok()?;
    Some(format!(
        "credit {} {} held on {wallet} for {} s: prefix {} of {}@{}",
        hold.amount,
        hold.price.currency(),
        hold.granted_secs,
        hold.prefix,
        hold.deck.name,
        hold.deck.version,
    ))
}

/// Where to look when money was the reason.
pub(super) fn money_hint(reason: &str, wallet: &str) -> Option<String> {
    match reason {
        "NO_RATE" => {
            Some("no price fits the number: see `callbus deck ls` and `callbus deck price <number>`".to_owned())
        }
        "NO_CREDIT" => Some(format!("{wallet} cannot pay the first increment: see `callbus wallet show {wallet}`")),
        _ => None,
    }
}

/// One line for each decision.
pub(crate) fn reasons(output: Output, event: &Event) {
    let kind = event.body["kind"].as_str().unwrap_or_default().to_uppercase();
    let tone = match event.body["outcome"].as_str() {
        Some("refused" | "fallback") => Tone::Bad,
        Some(_) | None => Tone::Good,
    };
    output.line(format!("{}  {}", output.toned(tone, kind), event.why.as_deref().unwrap_or_default()));
}

/// What the call came to.
pub(crate) fn bill(output: Output, call: &Call) {
    let Some(settled) = call.settled() else {
        output.line("bill  not settled yet");
        return;
    };
    let name = output.toned(Tone::Strong, "bill");
    if settled.legs.is_empty() {
        output.line(format!("{name}  nothing: no credit was held"));
    }
    for leg in &settled.legs {
        let cost = output.toned(Tone::Strong, format!("{} {}", leg.cost.normalize(), leg.currency));
        let mut notes = Vec::new();
        if leg.overrun {
            notes.push("more than was held");
        }
        if leg.estimate {
            notes.push("an estimate");
        }
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        output.line(format!(
            "{name}  {cost} from {}: {} s of {} s granted, {} held, prefix {} of {}@{}{notes}",
            leg.wallet,
            leg.billed_secs,
            leg.granted_secs,
            leg.held.normalize(),
            leg.prefix,
            leg.deck,
            leg.deck_version,
        ));
    }
}

/// How an answer was found: rule, reason, time.
fn found(event: &Event) -> String {
    let body = &event.body;
    let rule = body["rule"].as_str().map(|rule| format!("rule {rule}"));
    let reason = body["reason"].as_str().map(str::to_owned);
    let took = body["took_micros"].as_u64().map(|micros| format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100));
    let outcome = body["outcome"].as_str().map(str::to_owned);
    [outcome, rule, reason, took].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn by(event: &Event) -> &str {
    event.body["by"].as_str().unwrap_or_default()
}
