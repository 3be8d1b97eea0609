//! `callbus consumer …`: who reads the calls by a durable name, how far they are, and what they could not handle.

use std::path::Path;

use bus::{Begin, Bus, DeadLetter, Lag, Subscribed, Subscription};
use proto::{Filter, Stream};
use serde_json::json;

use super::keys;
use crate::broker;
use crate::cli::{ConsumerAdd, ConsumerCommand};
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(crate) async fn run(
    command: ConsumerCommand,
    config: &Config,
    environment: &Environment,
    output: Output,
) -> Result<(), Failure> {
    let nats = broker::settings(config).map_err(|error| Failure::new(Exit::Usage, error))?;
    let connected = broker::connect_to_provision(nats, environment).await;
    let bus = connected.map_err(|error| Failure::new(Exit::Unreachable, error))?;
    match command {
        ConsumerCommand::Ls => ls(&bus, output).await,
        ConsumerCommand::Add(add) => self::add(&bus, add, output).await,
        ConsumerCommand::Rm { name, keys } => rm(&bus, &name, keys.as_deref(), output).await,
        ConsumerCommand::Rewind { name, to } => rewind(&bus, &name, to, output).await,
        ConsumerCommand::Dead { name } => dead(&bus, &name, output).await,
    }
}

async fn ls(bus: &Bus, output: Output) -> Result<(), Failure> {
    let lags = bus.lags().await.map_err(unreachable)?;
    if output.json {
        let lags: Vec<_> = lags.iter().map(shown).collect();
        output.json(&lags);
        return Ok(());
    }
    let rows = lags.into_iter().map(|lag| {
        [
            lag.name,
            lag.filters.join(" "),
            lag.floor.to_string(),
            lag.pending.to_string(),
            lag.unacknowledged.to_string(),
            lag.redelivered.to_string(),
        ]
    });
    output.table(["CONSUMER", "READS", "DONE TO", "WAITING", "IN WORK", "AGAIN"], rows.collect());
    Ok(())
}

fn shown(lag: &Lag) -> serde_json::Value {
    let Lag { name, stream, filters, floor, pending, unacknowledged, redelivered } = lag;
    json!({
        "name": name, "stream": stream.name(), "filters": filters, "floor": floor, "pending": pending,
        "unacknowledged": unacknowledged, "redelivered": redelivered,
    })
}

async fn add(bus: &Bus, add: ConsumerAdd, output: Output) -> Result<(), Failure> {
    let ConsumerAdd { name, kinds, share, from: begin, keys } = add;
    refuse_own(&name)?;
    if let Begin::At(seq) = begin {
        in_log(bus, seq).await?;
    }
    let subscription = Subscription { name: name.clone(), kinds, share, begin };
    let made = match bus.subscribe(&subscription).await.map_err(unreachable)? {
        Subscribed::Made => true,
        Subscribed::Was => false,
        Subscribed::ReadsOther(subjects) => {
            let reads = subjects.join(" ");
            let todo = format!("choose another name, or remove it first: callbus consumer rm {name}");
            return Err(Failure::say(Exit::Failed, format!("{name} is there, and reads {reads}: {todo}")));
        }
    };
    let key = match &keys {
        Some(directory) => Some(keys::of_consumer(directory, &name)?),
        None => None,
    };
    if output.json {
        output.json(&json!({ "name": name, "made": made, "stream": "CALLS", "key": key }));
        return Ok(());
    }
    output.line(if made {
        format!("made: {name} reads the calls")
    } else {
        format!("{name} is there, reads the same, and stays where it is")
    });
    if let Some(key) = key {
        output.line(format!("its key: {}; inbox prefix: _INBOX_{name}", key.display()));
        output.line("the broker knows it once it has read its accounts again: send it SIGHUP");
    }
    Ok(())
}

async fn rm(bus: &Bus, name: &str, keys: Option<&Path>, output: Output) -> Result<(), Failure> {
    refuse_own(name)?;
    let was_there = bus.unsubscribe(name).await.map_err(unreachable)?;
    let had_key = match keys {
        Some(directory) => keys::forget_consumer(directory, name)?,
        None => false,
    };
    if !was_there && !had_key {
        return Err(no_such(name));
    }
    if output.json {
        output.json(&json!({ "name": name, "removed": true }));
    } else {
        output.line(format!("removed: {name}"));
    }
    Ok(())
}

async fn rewind(bus: &Bus, name: &str, to: u64, output: Output) -> Result<(), Failure> {
    find(bus, name).await?;
    in_log(bus, to).await?;
    if !bus.rewind(name, to).await.map_err(unreachable)? {
        let todo = format!("callbus consumer rm {name}, and add it again --from {to}");
        return Err(Failure::say(Exit::Failed, format!("{name} began later than {to}: {todo}")));
    }
    if output.json {
        output.json(&json!({ "name": name, "from": to }));
    } else {
        output.line(format!("{name} is handed everything from {to} on again"));
    }
    Ok(())
}

async fn dead(bus: &Bus, name: &str, output: Output) -> Result<(), Failure> {
    find(bus, name).await?;
    let letters = bus.dead_letters(name).await.map_err(unreachable)?;
    if output.json {
        let letters: Vec<_> = letters.iter().map(letter).collect();
        output.json(&letters);
        return Ok(());
    }
    if letters.is_empty() {
        output.line(format!("{name} has put nothing aside"));
        return Ok(());
    }
    let rows = letters.into_iter().map(|letter| {
        let subject = letter.subject.map(|subject| subject.to_string()).unwrap_or_default();
        [letter.seq.to_string(), letter.at.to_string(), subject, letter.reason]
    });
    output.table(["SEQ", "AT", "EVENT", "WHY"], rows.collect());
    output.line(format!("once the cause is mended: callbus consumer rewind {name} --to SEQ"));
    Ok(())
}

fn letter(letter: &DeadLetter) -> serde_json::Value {
    let DeadLetter { seq, id, subject, reason, at } = letter;
    json!({
        "seq": seq, "id": id, "subject": subject.as_ref().map(ToString::to_string), "reason": reason, "at": at,
    })
}

async fn in_log(bus: &Bus, seq: u64) -> Result<(), Failure> {
    let end = bus.last_seq(&Filter::All(Stream::Calls)).await.map_err(unreachable)?;
    if (1..=end).contains(&seq) {
        return Ok(());
    }
    Err(Failure::say(Exit::Usage, format!("the log has no sequence {seq}: it goes from 1 to {end}")))
}

async fn find(bus: &Bus, name: &str) -> Result<(), Failure> {
    let lags = bus.lags().await.map_err(unreachable)?;
    if lags.iter().any(|lag| lag.name == name) { Ok(()) } else { Err(no_such(name)) }
}

/// Callbus's own consumers are made by `callbus provision`.
fn refuse_own(name: &str) -> Result<(), Failure> {
    let own =
        billing::GROUPS.into_iter().flat_map(|groups| broker::consumers(groups, groups)).any(|own| own.name == name);
    // The tables count as views-calls and so on where lags are shown.
    let is_own = own || broker::users().iter().any(|(own, _)| *own == name) || name.starts_with("views-");
    if is_own {
        return Err(Failure::say(Exit::Usage, format!("{name} is callbus's own: choose another name")));
    }
    Ok(())
}

fn no_such(name: &str) -> Failure {
    Failure::say(Exit::NotFound, format!("there is no consumer {name}: callbus consumer ls"))
}

fn unreachable(error: bus::Unavailable) -> Failure {
    Failure::new(Exit::Unreachable, error)
}

/// Where a subscription begins, as people write it.
pub(crate) fn begin(text: &str) -> Result<Begin, String> {
    match text {
        "beginning" => Ok(Begin::Beginning),
        "now" => Ok(Begin::Now),
        seq => seq.parse().map(Begin::At).map_err(|_| "write beginning, now, or a sequence of the log".to_owned()),
    }
}

/// A name the broker takes, for a consumer and for a user.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let is_good = (1..=32).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_good { Ok(text.to_owned()) } else { Err("write 1 to 32 letters, digits, - or _, and no - first".to_owned()) }
}
