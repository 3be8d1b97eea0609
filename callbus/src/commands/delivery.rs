//! `callbus delivery`: what became of every delivery, and delivering again.

use std::collections::BTreeMap;
use std::time::Duration;

use delivery::lane_of_profile;
use proto::ProfileId;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::policy::short;
use crate::cli::DeliveryCommand;
use crate::client::{ApiClient, Query, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, cut, to_the_second, words};

/// The lane has no place just now: it is asked again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// So often in a row nothing was taken, and it is given up.
const STEPS_IN_VAIN_MAX: usize = 20;
/// What the API lists at once. An id of which only the beginning is given is looked for among so many.
const LISTED_MAX: usize = 1000;
/// Digits of an id.
const ID_DIGITS: usize = 64;
/// Of the tables' names of those who are told by placed calls.
const PROFILE: &str = "profile-";
const URL: &str = "url-";
/// The whole cause stands in `callbus delivery show`.
const CAUSE_CHARS_MAX: usize = 60;

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn run(config: &Config, output: Output, command: DeliveryCommand) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    match command {
        DeliveryCommand::Ls { destination, state, call, limit } => {
            let mut query = Query::of("/v1/deliveries");
            query.and("destination", destination).and("state", state).and("call", call).and("limit", limit);
            let page: Value = api.get(query.as_str()).await?;
            ls(&api, output, &page).await
        }
        DeliveryCommand::Show { id } => show(&api, output, &whole_id(&api, id).await?).await,
        DeliveryCommand::Dead { destination } => {
            let mut query = Query::of("/v1/deliveries/dead");
            query.and("destination", destination);
            let page: Value = api.get(query.as_str()).await?;
            if output.json {
                output.json(&page);
                return Ok(());
            }
            let titles = titles(&api, &page["dead"]).await?;
            let row =
                |dead: &Value| [named(&titles, &dead["destination"]), words(&dead["count"]), words(&dead["cause"])];
            let rows = page["dead"].as_array().into_iter().flatten().map(row).collect();
            output.table(["DESTINATION", "GIVEN UP", "CAUSE"], rows);
            Ok(())
        }
        DeliveryCommand::Retry { id: Some(id), .. } => {
            let id = whole_id(&api, id).await?;
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

/// Asks step by step until there is no more; answers how many in all. A step is told what the one before said. One that is
/// repeated, because not all of it was taken, counts what was taken before as well, so it counts once.
async fn steps(step: impl AsyncFn(&Value) -> Result<Value, Failure>, count: &str) -> Result<u64, Failure> {
    let (mut total, mut of_this_step, mut in_vain, mut before) = (0, 0, 0, Value::Null);
    loop {
        let done = step(&before).await?;
        let taken = done[count].as_u64().unwrap_or(0);
        let new = taken.saturating_sub(of_this_step);
        total += new;
        if done["more"] != true {
            return Ok(total);
        }
        let (asked, passed) = (before["after_seq"].as_u64().unwrap_or(0), done["after_seq"].as_u64());
        let stays = passed == Some(asked);
        of_this_step = if stays { of_this_step.max(taken) } else { 0 };
        let moved = new > 0 || passed.is_some_and(|passed| passed > asked);
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

async fn ls(api: &ApiClient, output: Output, page: &Value) -> Result<(), Failure> {
    if output.json {
        output.json(page);
        return Ok(());
    }
    let titles = titles(api, &page["deliveries"]).await?;
    let row = |delivery: &Value| {
        let [kind, moment, id, call, cause] =
            ["kind", "moment", "id", "call", "cause"].map(|name| words(&delivery[name]));
        [
            to_the_second(&delivery["noted_at"]),
            named(&titles, &delivery["destination"]),
            words(&delivery["state"]),
            words(&delivery["attempts"]),
            if moment.is_empty() { kind } else { moment },
            short(&id),
            cut(&cause, CAUSE_CHARS_MAX),
            call,
        ]
    };
    let rows = page["deliveries"].as_array().into_iter().flatten().map(row).collect();
    output.table(["SINCE (UTC)", "TO", "STATE", "TRIES", "OF", "ID", "CAUSE", "CALL"], rows);
    Ok(())
}

async fn show(api: &ApiClient, output: Output, id: &str) -> Result<(), Failure> {
    let row: Value = api.get(&format!("/v1/deliveries/{}", segment(id))).await?;
    if output.json {
        output.json(&row);
        return Ok(());
    }
    let line = |name: &str, value: &str| output.line(format!("{name:<14}{value}"));
    let rows = json!([row]);
    let titles = titles(api, &rows).await?;
    line("id", id);
    let state = words(&row["state"]);
    let state = if state == "dead" { output.toned(Tone::Bad, "dead: it was given up") } else { state };
    line("state", &format!("{state}, since {}", to_the_second(&row["noted_at"])));
    if row["state"] == "failed" {
        line("next try", &to_the_second(&row["next_at"]));
    }
    line("to", &named(&titles, &row["destination"]));
    if let Some(url) = url(api, &row).await? {
        line("url", &url);
    }
    for (name, value) in row.as_object().into_iter().flatten() {
        let said = ["id", "state", "noted_at", "next_at", "destination", "first_seq", "seq"].contains(&name.as_str());
        if !said && !value.is_null() && *value != 0 {
            line(name, &words(value));
        }
    }
    Ok(())
}

/// Where it goes: as its destination or profile has it now, or as the call named it.
async fn url(api: &ApiClient, row: &Value) -> Result<Option<String>, Failure> {
    let lane = words(&row["destination"]);
    let found = if let Some(id) = lane.strip_prefix(PROFILE) {
        api.get::<Value>(&format!("/v1/profiles/{}", segment(id))).await.map(|profile| profile["url"].clone())
    } else if let Some(listener) = row["listener"].as_u64().and_then(|place| usize::try_from(place).ok()) {
        let call: Value = api.get(&format!("/v1/calls/{}", segment(&words(&row["call"])))).await?;
        let step = call["events"].as_array().into_iter().flatten().find(|event| event["seq"] == row["event_seq"]);
        Ok(step.map(|step| step["body"]["tell"][listener]["url"].clone()).unwrap_or_default())
    } else {
        api.get::<Value>(&format!("/v1/destinations/{}", segment(&lane))).await.map(|page| page["is"]["url"].clone())
    };
    match found {
        Ok(url) => Ok(url.as_str().map(str::to_owned)),
        // It was removed since.
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What profiles are called, by the names the tables have for them; nothing is asked where no row is of one.
async fn titles(api: &ApiClient, rows: &Value) -> Result<BTreeMap<String, String>, Failure> {
    let mut rows = rows.as_array().into_iter().flatten();
    if !rows.any(|row| words(&row["destination"]).starts_with(PROFILE)) {
        return Ok(BTreeMap::new());
    }
    let page: Value = api.get(&format!("/v1/profiles?limit={LISTED_MAX}")).await?;
    let title = |profile: &Value| {
        let id = ProfileId::new(words(&profile["id"])).ok()?;
        Some((lane_of_profile(&id).to_string(), words(&profile["title"])))
    };
    Ok(page["profiles"].as_array().into_iter().flatten().filter_map(title).collect())
}

/// A destination by its name, a profile by its title; of plain URLs there is but the digest of their host.
fn named(titles: &BTreeMap<String, String>, destination: &Value) -> String {
    let name = words(destination);
    match (titles.get(&name), name.strip_prefix(URL)) {
        (Some(title), _) => format!("profile {title}"),
        (None, Some(digest)) => format!("{URL}{}", short(digest)),
        (None, None) => name,
    }
}

/// An id, of which the beginning may do.
async fn whole_id(api: &ApiClient, id: String) -> Result<String, Failure> {
    if id.len() >= ID_DIGITS {
        return Ok(id);
    }
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let sentence = format!(
            "{id:?} is no id of a delivery: it is the webhook-id, {ID_DIGITS} hexadecimal digits, or its beginning"
        );
        return Err(Failure::say(Exit::Usage, sentence));
    }
    let page: Value = api.get(&format!("/v1/deliveries?limit={LISTED_MAX}")).await?;
    let ids = page["deliveries"].as_array().into_iter().flatten().map(|delivery| words(&delivery["id"]));
    let mut found = ids.filter(|whole| whole.starts_with(&id.to_ascii_lowercase()));
    match (found.next(), found.next()) {
        (Some(whole), None) => Ok(whole),
        (Some(_), Some(_)) => {
            Err(Failure::say(Exit::Usage, format!("several deliveries begin with {id}: write more of it")))
        }
        (None, _) => {
            let sentence = format!("none of the newest {LISTED_MAX} deliveries begins with {id}: write all of it");
            Err(Failure::say(Exit::NotFound, sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    async fn told(said: &[Value]) -> Result<u64, Failure> {
        let left = RefCell::new(said.iter());
        steps(async |_| Ok(left.borrow_mut().next().cloned().unwrap_or_default()), "deliveries").await
    }

    #[tokio::test]
    async fn a_step_that_is_repeated_counts_what_is_new() -> Result<(), Failure> {
        let step = |after_seq: u64, deliveries: u64, more: bool| json!({ "after_seq": after_seq, "deliveries": deliveries, "more": more });
        // The first took 3 of 5, and was asked for again; the last of it is known by then.
        let said = [step(0, 3, true), step(0, 4, true), step(10, 5, true), step(20, 2, false)];
        assert_eq!(told(&said).await?, 7);
        // What is retried is gone from what there is to retry.
        let retried = |count: u64, more: bool| json!({ "deliveries": count, "more": more });
        assert_eq!(told(&[retried(3, true), retried(3, true), retried(0, false)]).await?, 6);
        Ok(())
    }
}
