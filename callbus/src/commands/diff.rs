//! `callbus policy diff`: recorded callbacks, decided again by another policy. It reads, and touches nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::Context;
use bus::{Bus, Clock, Recorded, Unavailable};
use bytes::Bytes;
use jiff::Timestamp;
use policy::{Course, LiveLists, Membership, Outline, Replayed};
use proto::signature::Verified;
use proto::svaml::Action;
use proto::{AppName, Callback, EventId, Filter, Kind, ListChanged, Outcome, Stream, Subject, Svaml, WalletId, phone};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::policy::the_app;
use crate::cli::PolicyDiff;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, cut, words};
use crate::policy_files::PolicyFile;
use crate::roles::open_to_read;

/// Callbacks that wait for their decision: it follows at once, so more are of no use.
const WAITING_MAX: usize = 10_000;
/// Of a part of an answer, so much is shown.
const PART_CHARS_MAX: usize = 60;
/// The shortest in E.164.
const DIGITS_OF_A_NUMBER: usize = 7;

/// What came of a replay.
#[derive(Debug, Default, Serialize)]
struct Replay {
    policy: String,
    since: Option<Timestamp>,
    /// Callbacks that were decided again.
    callbacks: u64,
    changed: u64,
    /// Not decided again, because the decision does not say what the new policy reads.
    unknown: u64,
    /// Answered by a fallback: no policy had decided.
    fallbacks: u64,
    /// From what to what, and how often.
    changes: Vec<Change>,
    /// The first so many.
    calls: Vec<ChangedCall>,
    /// What was not recorded, and how often it was missed.
    missing: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Change {
    kind: Kind,
    was: String,
    would_be: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct ChangedCall {
    time: Timestamp,
    call: String,
    kind: Kind,
    was: String,
    would_be: String,
}

/// # Errors
/// When the file is bad, or the log cannot be read.
pub(crate) async fn run(
    config: &Config,
    environment: &Environment,
    output: Output,
    asked: &PolicyDiff,
) -> Result<(), Failure> {
    let app = the_app(config, asked.app.as_deref())?;
    let app = AppName::new(app).context("--app")?;
    let file = PolicyFile::read(&asked.file);
    let file = file.map_err(|fault| Failure::new(Exit::CheckFailed, anyhow::Error::new(fault)))?;
    let bus = open_to_read(config, environment).await?;
    let since = Clock::System.now().checked_sub(asked.since).context("--since")?;
    let unreachable = |error: Unavailable| Failure::new(Exit::Unreachable, error);
    let lists = live_lists(&bus).await.map_err(unreachable)?;
    let from = first_since(&bus, since).await.map_err(unreachable)?;
    let to = bus.last_seq(&Filter::All(Stream::Calls)).await.map_err(unreachable)?;
    let mut replay = Replay { policy: file.policy.revision().to_owned(), since: Some(since), ..Replay::default() };
    let mut again =
        Again { app: &app, file: &file, lists: &lists, asked, waiting: HashMap::new(), counts: BTreeMap::new() };
    let bar = output.bar(to.saturating_sub(from), "events");
    let mut events = bus.events(&Filter::All(Stream::Calls), from);
    while let Some(next) = events.next().await.map_err(unreachable)? {
        again.take(&mut replay, next);
        bar.inc(1);
    }
    bar.finish_and_clear();
    replay.changes = again.changes();
    tell(output, &replay, bar.elapsed());
    Ok(())
}

/// The callbacks of an app, decided again as their decisions come by.
struct Again<'a> {
    app: &'a AppName,
    file: &'a PolicyFile,
    lists: &'a LiveLists,
    asked: &'a PolicyDiff,
    /// Callbacks whose decision has not come yet.
    waiting: HashMap<EventId, Bytes>,
    counts: BTreeMap<(Kind, String, String), u64>,
}

impl Again<'_> {
    fn take(&mut self, replay: &mut Replay, recorded: Recorded) {
        let event = recorded.event;
        let Subject::Call { kind, app, .. } = &event.subject else { return };
        if app != self.app {
            return;
        }
        match kind {
            Kind::Ice | Kind::Ace | Kind::Pie => {
                if self.waiting.len() >= WAITING_MAX {
                    self.waiting.clear();
                }
                self.waiting.insert(event.id, event.data);
            }
            Kind::Decided => self.decide(replay, event.time, &event.about, &event.data).unwrap_or_default(),
            Kind::Dice
            | Kind::Notify
            | Kind::Unknown
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => {}
        }
    }

    /// `None` where there is nothing to compare.
    fn decide(&mut self, replay: &mut Replay, time: Timestamp, call: &str, body: &[u8]) -> Option<()> {
        let decided: Past = serde_json::from_slice(body).ok()?;
        let callback = self.waiting.remove(&decided.callback)?;
        if decided.outcome == Outcome::Fallback {
            replay.fallbacks += 1;
            return None;
        }
        let callback = Callback::parse(&Verified::unchecked(callback)).ok()?;
        let (Known { facts, lists }, wallet) = (decided.explanation.as_ref()?, decided.wallet.as_ref());
        let past = policy::Recorded { callback: &callback, facts, lists, wallet };
        let would = match self.file.policy.replay(&past, self.lists) {
            Replayed::Decided(decision) => Came::of(Outline::of(&decision)),
            Replayed::Unknown(missing) => {
                replay.unknown += 1;
                for name in missing {
                    *replay.missing.entry(name).or_default() += 1;
                }
                return None;
            }
        };
        replay.callbacks += 1;
        let was = Came::recorded(&decided)?;
        if was.as_good_as(&would) {
            return None;
        }
        replay.changed += 1;
        let (was, would_be) = told_apart(&was, &would, self.asked.reveal);
        *self.counts.entry((decided.kind, was.clone(), would_be.clone())).or_default() += 1;
        if replay.calls.len() < self.asked.limit {
            replay.calls.push(ChangedCall { time, call: call.to_owned(), kind: decided.kind, was, would_be });
        }
        None
    }

    fn changes(&mut self) -> Vec<Change> {
        let mut changes: Vec<Change> = std::mem::take(&mut self.counts)
            .into_iter()
            .map(|((kind, was, would_be), count)| Change { kind, was, would_be, count })
            .collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.count));
        changes
    }
}

/// Of [`proto::Decided`], what it takes to decide again, read in one go: what is left out is most of it, above all the
/// rules that were tried.
#[derive(Deserialize)]
struct Past {
    kind: Kind,
    callback: EventId,
    answer: Box<RawValue>,
    outcome: Outcome,
    reason: Option<String>,
    rule: Option<String>,
    wallet: Option<WalletId>,
    #[serde(default)]
    reserve: bool,
    explanation: Option<Known>,
}

/// Of [`policy::Explanation`].
#[derive(Deserialize)]
struct Known {
    facts: Map<String, Value>,
    #[serde(default)]
    lists: Vec<Membership>,
}

/// What a decision came to, for the caller and for who pays.
struct Came {
    course: Course,
    reason: Option<String>,
    /// `None` where the credit was refused, and so nothing says what would have been connected.
    answer: Option<Svaml>,
    wallet: Option<WalletId>,
    rule: String,
}

impl Came {
    fn of(outline: Outline) -> Self {
        let Outline { outcome: course, reason, rule, answer, wallet, asks: _ } = outline;
        Self { course, reason: reason.map(|reason| reason.to_string()), answer, wallet, rule }
    }

    /// What was recorded. A refusal for want of credit was the policy's yes.
    fn recorded(decided: &Past) -> Option<Self> {
        let answer: Svaml = serde_json::from_str(decided.answer.get()).ok()?;
        let (course, answer) = match decided.outcome {
            Outcome::Answered => (Course::Answered, Some(answer)),
            Outcome::Granted => (Course::Reserved, Some(answer)),
            Outcome::Refused if decided.reserve => (Course::Reserved, None),
            Outcome::Refused => (Course::Refused, Some(answer)),
            Outcome::Fallback => return None,
        };
        let reason = decided.reason.clone().filter(|_| course == Course::Refused);
        let wallet = decided.wallet.clone().filter(|_| course == Course::Reserved);
        Some(Self { course, reason, answer, wallet, rule: decided.rule.clone().unwrap_or_default() })
    }

    /// Nobody would notice. What credit allowed was at most what the policy did, so a longer limit is no difference.
    fn as_good_as(&self, would: &Self) -> bool {
        if (self.course, &self.reason, &self.wallet) != (would.course, &would.reason, &would.wallet) {
            return false;
        }
        let (Some(was), Some(would)) = (&self.answer, &would.answer) else { return true };
        if self.course != Course::Reserved {
            return was == would;
        }
        let limit = |svaml: &Svaml| svaml.action.connect_pstn().and_then(|connect| connect.max_duration);
        let without = |svaml: &Svaml| {
            let mut svaml = svaml.clone();
            if let Action::ConnectPstn(connect) = &mut svaml.action {
                connect.max_duration = None;
            }
            svaml
        };
        limit(was) <= limit(would) && without(was) == without(would)
    }

    /// In a few words; numbers are masked unless they may be seen.
    fn shown(&self, reveal: bool) -> String {
        let number = |text: &str| if reveal { text.to_owned() } else { phone::mask(text) };
        let what = match (self.course, &self.reason, &self.answer) {
            (Course::Refused, Some(reason), _) => format!("refused {reason}"),
            (Course::Refused, None, _) => "refused".to_owned(),
            (Course::Asked, _, _) => "asked elsewhere".to_owned(),
            (Course::Reserved, _, None) => "connectPstn on credit".to_owned(),
            (Course::Answered | Course::Reserved, _, Some(Svaml { action: Action::ConnectPstn(connect), .. })) => {
                let to = connect.number.as_deref().map(|to| format!(" {}", number(to))).unwrap_or_default();
                let credit = self.wallet.as_ref().map(|wallet| format!(" on {wallet}'s credit")).unwrap_or_default();
                format!("connectPstn{to}{credit}")
            }
            (Course::Answered | Course::Reserved, _, Some(svaml)) => svaml.action.name().to_owned(),
            (Course::Answered, _, None) => "answered".to_owned(),
        };
        format!("{what} ({})", self.rule)
    }
}

/// In a few words each; where these are the same, with the first part of the answer that is not.
fn told_apart(was: &Came, would: &Came, reveal: bool) -> (String, String) {
    let (one, other) = (was.shown(reveal), would.shown(reveal));
    if one != other {
        return (one, other);
    }
    let json = |came: &Came| came.answer.as_ref().map(|svaml| json!(svaml)).unwrap_or_default();
    let Some((place, before, after)) = first_difference(String::new(), &json(was), &json(would)) else {
        return (one, other);
    };
    let part = |value: &Value| {
        let text = if value.is_null() { "nothing".to_owned() } else { words(value) };
        let digits = text.chars().filter(char::is_ascii_digit).count();
        // A number may stand in it.
        cut(&if reveal || digits < DIGITS_OF_A_NUMBER { text } else { phone::mask(&text) }, PART_CHARS_MAX)
    };
    (format!("{one} {place}: {}", part(&before)), format!("{other} {place}: {}", part(&after)))
}

/// Where two answers first differ, and what each has there.
fn first_difference(place: String, one: &Value, other: &Value) -> Option<(String, Value, Value)> {
    let within = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (one, other) {
        _ if one == other => None,
        (Value::Object(fields), Value::Object(others)) => {
            let keys: BTreeSet<&String> = fields.keys().chain(others.keys()).collect();
            keys.into_iter().find_map(|key| first_difference(within(key), &one[key], &other[key]))
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let pairs = items.iter().zip(others).zip(1..);
            pairs.into_iter().find_map(|((one, other), nth)| first_difference(within(&nth.to_string()), one, other))
        }
        _ => Some((place, one.clone(), other.clone())),
    }
}

fn tell(output: Output, replay: &Replay, took: Duration) {
    if output.json {
        output.json(replay);
        return;
    }
    if !replay.calls.is_empty() {
        let row = |call: &ChangedCall| {
            let time: String = call.time.to_string().chars().take(19).collect();
            [time, call.kind.to_string(), call.was.clone(), call.would_be.clone(), call.call.clone()]
        };
        output.table(["TIME (UTC)", "EVENT", "WAS", "WOULD BE", "CALL"], replay.calls.iter().map(row).collect());
        output.line("");
        let row = |change: &Change| {
            [change.count.to_string(), change.kind.to_string(), change.was.clone(), change.would_be.clone()]
        };
        output.table(["CALLBACKS", "EVENT", "WAS", "WOULD BE"], replay.changes.iter().map(row).collect());
        output.line("");
    }
    let tone = if replay.changed == 0 { Tone::Good } else { Tone::Note };
    let each = u128::from(replay.callbacks) * 1_000 / took.as_millis().max(1);
    output.line(output.toned(
        tone,
        format!("{} of {} callbacks would be decided otherwise ({each} a second)", replay.changed, replay.callbacks),
    ));
    if replay.fallbacks > 0 {
        output.line(format!("{} were answered by a fallback, not by a policy", replay.fallbacks));
    }
    if replay.unknown > 0 {
        let missing: Vec<&str> = replay.missing.keys().map(String::as_str).collect();
        output.line(format!(
            "{} could not be decided again: the log does not have what the new policy reads there ({})",
            replay.unknown,
            missing.join(", ")
        ));
    }
}

async fn live_lists(bus: &Bus) -> Result<LiveLists, Unavailable> {
    let lists = LiveLists::default();
    let mut events = bus.events(&Filter::All(Stream::Config), 0);
    while let Some(Recorded { seq, event }) = events.next().await? {
        if let Subject::List(list) = &event.subject
            && let Ok(change) = serde_json::from_slice::<ListChanged>(&event.data)
        {
            lists.apply(list, seq, &change);
        }
    }
    Ok(lists)
}

/// The sequence after which events are not older than that; found by halving, since a log may be long.
pub(super) async fn first_since(bus: &Bus, since: Timestamp) -> Result<u64, Unavailable> {
    let calls = Filter::All(Stream::Calls);
    let (mut old, mut young) = (0, bus.last_seq(&calls).await?);
    while old < young {
        let middle = old + (young - old) / 2;
        match bus.events(&calls, middle).next().await? {
            Some(next) if next.event.time < since => old = next.seq,
            Some(_) | None => young = middle,
        }
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting that changed is what is seen, and not twice the same words.
    #[test]
    fn what_differs_is_what_is_shown() {
        let came = |text: &str| Came {
            course: Course::Answered,
            reason: None,
            answer: serde_json::from_value(json!({
                "instructions": [{ "name": "say", "text": text }],
                "action": { "name": "hangup" },
            }))
            .ok(),
            wallet: None,
            rule: "inbound".to_owned(),
        };
        let (was, would_be) = told_apart(&came("Hello."), &came("Good day."), false);
        assert!(was.starts_with("hangup (inbound)") && was.ends_with("text: Hello."), "{was}");
        assert!(would_be.ends_with("text: Good day."), "{would_be}");
        let (was, _) = told_apart(&came("Call +46701234567."), &came("Hello."), false);
        assert!(!was.contains("701234"), "{was}");
    }
}
