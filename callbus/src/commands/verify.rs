//! `callbus log verify`: every callback's signature again, from what lies in the log beside its body.

use std::collections::HashMap;

use bus::{Bus, ReadError, Recorded};
use futures::StreamExt;
use jiff::Timestamp;
use proto::event::signed;
use proto::signature::{AppSecret, Authorization, SignedParts, Verified};
use proto::{AppName, Filter, Kind, Stream, Subject};
use serde::Serialize;

use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::roles::open_to_read;

/// Failures named; the rest are only counted.
const NAMED_MAX: usize = 100;

#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    pub verified: u64,
    /// Taken while `WEBHOOK_PROTECTION` let unsigned callbacks in, and marked so.
    pub unverified: u64,
    pub failed: u64,
    failures: Vec<FailedEvent>,
}

#[derive(Debug, Serialize)]
struct FailedEvent {
    seq: u64,
    why: String,
}

/// What a callback's signature came to.
enum Checked {
    Good,
    Unverified,
    Bad(String),
    /// One of our own events.
    NotSigned,
}

/// # Errors
/// Exit 3 when a signature does not hold.
pub(crate) async fn run(config: &Config, environment: &Environment, output: Output) -> Result<(), Failure> {
    let tally = tally(config, &open_to_read(config, environment).await?).await?;
    if output.json {
        output.json(&tally);
    } else {
        for failure in &tally.failures {
            output.line(output.toned(Tone::Bad, format!("sequence {}: {}", failure.seq, failure.why)));
        }
        let Tally { verified, unverified, failed, .. } = tally;
        output.line(format!("{verified} verified, {unverified} taken without a signature, {failed} failed"));
    }
    if tally.failed > 0 { Err(Failure::say(Exit::CheckFailed, "the log does not verify")) } else { Ok(()) }
}

/// Checks every callback of a log.
pub(super) async fn tally(config: &Config, bus: &Bus) -> Result<Tally, Failure> {
    let mut secrets = HashMap::new();
    for app in &config.apps {
        secrets.insert(app.name.clone(), app.secrets()?);
    }
    let mut tally = Tally::default();
    let mut recorded = bus.read(&Filter::All(Stream::Calls), 0);
    while let Some(next) = recorded.next().await {
        match next {
            Ok(next) => tally.count(next.seq, check(&next, &secrets)),
            Err(ReadError::NotAnEvent { seq, why }) => tally.count(seq, Checked::Bad(why)),
            Err(error @ ReadError::Unavailable(_)) => return Err(Failure::new(Exit::Unreachable, error)),
        }
    }
    Ok(tally)
}

fn check(recorded: &Recorded, secrets: &HashMap<AppName, Vec<AppSecret>>) -> Checked {
    let event = &recorded.event;
    let Subject::Call { kind, app, .. } = &event.subject else { return Checked::NotSigned };
    match kind {
        Kind::Decided
        | Kind::Emitted
        | Kind::Asked
        | Kind::Placed
        | Kind::Dialled
        | Kind::Progressed
        | Kind::Settled => return Checked::NotSigned,
        Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {}
    }
    if event.attribute(signed::UNVERIFIED).is_some() {
        return Checked::Unverified;
    }
    let Some(secrets) = secrets.get(app) else {
        return Checked::Bad(format!("the app {app} is not in the configuration, so its secret is not known"));
    };
    let part = |name| event.attribute(name).unwrap_or_default();
    let authorization = match Authorization::parse(part(signed::AUTHORIZATION)) {
        Ok(authorization) => authorization,
        Err(refused) => return Checked::Bad(refused.to_string()),
    };
    let parts = SignedParts {
        method: part(signed::METHOD),
        content_type: part(signed::CONTENT_TYPE).as_bytes(),
        timestamp: part(signed::TIMESTAMP).as_bytes(),
        path: part(signed::PATH),
        body: &[],
    };
    // The age was right when it came in; it is not asked again, so no time is needed.
    match Verified::check(event.data.clone(), &parts, &authorization, secrets, Timestamp::UNIX_EPOCH, None) {
        Ok(_) => Checked::Good,
        Err(refused) => Checked::Bad(format!("{refused} (or the log was changed)")),
    }
}

impl Tally {
    fn count(&mut self, seq: u64, checked: Checked) {
        match checked {
            Checked::Good => self.verified += 1,
            Checked::Unverified => self.unverified += 1,
            Checked::NotSigned => {}
            Checked::Bad(why) => {
                self.failed += 1;
                if self.failures.len() < NAMED_MAX {
                    self.failures.push(FailedEvent { seq, why });
                }
            }
        }
    }
}
