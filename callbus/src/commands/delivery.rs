//! `callbus delivery`: what became of every delivery, and delivering again.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::destination::words;
use crate::cli::DeliveryCommand;
use crate::client::{ApiClient, Query, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The lane has no place just now: it is asked again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// So often in a row nothing was taken, and it is given up.
const STEPS_IN_VAIN_MAX: usize = 20;

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn run(config: &Config, output: Output, command: DeliveryCommand) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    match command {
        DeliveryCommand::Ls { destination, state, call, limit } => {
            let mut query = Query::of("/v1/deliveries");
            query.and("destination", destination).and("state", state).and("call", call).and("limit", limit);
            let page: Value = api.get(query.as_str()).await?;
            ls(output, &page);
            Ok(())
        }
        DeliveryCommand::Show { id } => {
            let row: Value = api.get(&format!("/v1/deliveries/{}", segment(&id))).await?;
            if output.json {
                output.json(&row);
                return Ok(());
            }
            for (name, value) in row.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                output.line(format!("{name}: {}", words(value)));
            }
            Ok(())
        }
        DeliveryCommand::Dead { destination } => {
            let mut query = Query::of("/v1/deliveries/dead");
            query.and("destination", destination);
            let page: Value = api.get(query.as_str()).await?;
            if output.json {
                output.json(&page);
                return Ok(());
            }
            let row = |dead: &Value| [&dead["destination"], &dead["count"], &dead["cause"]].map(words);
            let rows = page["dead"].as_array().into_iter().flatten().map(row).collect();
            output.table(["DESTINATION", "GIVEN UP", "CAUSE"], rows);
            Ok(())
        }
        DeliveryCommand::Retry { id: Some(id), .. } => {
            let retried: Value = api.post(&format!("/v1/deliveries/{}/retry", segment(&id)), &json!({})).await?;
            say(output, &retried, "retried");
            Ok(())
        }
        DeliveryCommand::Retry { id: None, all, since } => {
            let Some(destination) = all else {
                return Err(Failure::say(Exit::Usage, "name one by its id, or --all DESTINATION"));
            };
            let path = format!("/v1/destinations/{}/retry", segment(&destination));
            let step = async |step: &Value| {
                api.post::<Value>(&path, &json!({ "since": since, "before": step["before"] })).await
            };
            let retried = steps(step, "retried").await?;
            say(output, &json!({ "retried": retried }), "retried");
            Ok(())
        }
        DeliveryCommand::Replay { destination, from, to, yes } => {
            let path = format!("/v1/destinations/{}/replay", segment(&destination));
            let counted: Value = api.post(&path, &json!({ "from": from, "to": to, "count": true })).await?;
            if !yes {
                if output.json {
                    output.json(&counted);
                } else {
                    output.line(format!("{} events go out anew; --yes sends them", counted["deliveries"]));
                }
                return Ok(());
            }
            let step = async |before: &Value| {
                let (after, number) = (before["after_seq"].as_u64().unwrap_or(0), &counted["replay"]);
                let body = json!({ "from": from, "to": to, "after_seq": after, "replay": number });
                api.post::<Value>(&path, &body).await
            };
            let sent = steps(step, "deliveries").await?;
            say(output, &json!({ "replay": counted["replay"], "deliveries": sent }), "deliveries");
            Ok(())
        }
    }
}

/// Asks step by step until there is no more; answers how many in all. A step is told what the one before said.
async fn steps(step: impl AsyncFn(&Value) -> Result<Value, Failure>, count: &str) -> Result<u64, Failure> {
    let (mut total, mut in_vain, mut before) = (0, 0, Value::Null);
    loop {
        let done = step(&before).await?;
        let taken = done[count].as_u64().unwrap_or(0);
        total += taken;
        if done["more"] != true {
            return Ok(total);
        }
        let moved = taken > 0 || done["after_seq"] != before["after_seq"];
        in_vain = if moved { 0 } else { in_vain + 1 };
        if in_vain >= STEPS_IN_VAIN_MAX {
            let sentence = format!("{total} were taken, and no more just now: is the destination paused or broken?");
            return Err(Failure::say(Exit::Failed, sentence));
        }
        if !moved {
            sleep(ASK_AGAIN_AFTER).await;
        }
        before = done;
    }
}

fn say(output: Output, done: &Value, count: &str) {
    if output.json {
        output.json(done);
    } else {
        output.line(format!("{} {count}", done[count]));
    }
}

fn ls(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    let row = |delivery: &Value| {
        ["destination", "state", "attempts", "kind", "call", "id", "cause"].map(|name| words(&delivery[name]))
    };
    let rows = page["deliveries"].as_array().into_iter().flatten().map(row).collect();
    output.table(["DESTINATION", "STATE", "ATTEMPTS", "KIND", "CALL", "ID", "CAUSE"], rows);
}
