//! What an operator asks of the role while it works: to deliver again, and how its lanes stand.
//!
//! Only who works a group knows its lanes, so everybody is asked, and each answers for the groups it works.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{Bus, Question, Unavailable};
use bytes::Bytes;
use proto::event::json;
use proto::{Delivery, DestinationName, EventId, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the role is told to deliver again.
pub(crate) const AGAIN: &str = "delivery.v1.again";
/// Where it is asked how the lanes of a destination stand.
pub(crate) const STANDING: &str = "delivery.v1.standing";
/// All of them.
pub(crate) const SUBJECTS: [&str; 2] = [AGAIN, STANDING];

/// On a broker an answer takes all of it, since nobody knows how many will come.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// A delivery that is wanted again, or anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    pub delivery: Delivery,
    pub call: String,
    /// Attempts so far.
    pub attempts: u32,
}

/// At most this many are asked for at once.
pub const AGAIN_MAX: usize = 100;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AskedAgain {
    pub destination: DestinationName,
    pub wanted: Vec<Again>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub taken: Vec<EventId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AskedStanding {
    pub destination: DestinationName,
}

/// How one lane of a destination stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneStanding {
    #[schemars(with = "String")]
    pub group: Share,
    /// Deliveries in memory: on their way, or waiting.
    pub open: usize,
    /// It is not asked, but for probes.
    pub broken: bool,
    /// It said that it is not to be asked any more.
    pub gone: bool,
    /// Nothing is sent: an operator paused it, or a secret of it is not to be found.
    #[serde(default)]
    pub waits: bool,
    /// Where more waits in the stream `CALLS`.
    pub behind_from: Option<u64>,
}

/// Asks for deliveries again; answers which were taken. The others are open already, or there is no place for them just
/// now, or nobody works their group.
///
/// # Errors
/// When the broker cannot be reached.
pub async fn again(
    bus: &Bus,
    destination: &DestinationName,
    wanted: Vec<Again>,
) -> Result<BTreeSet<EventId>, Unavailable> {
    let answers: Vec<Taken> = ask(bus, AGAIN, &AskedAgain { destination: destination.clone(), wanted }).await?;
    Ok(answers.into_iter().flat_map(|answer| answer.taken).collect())
}

/// How the lanes of a destination stand: those that somebody works, by group.
///
/// # Errors
/// When the broker cannot be reached.
pub async fn standing(bus: &Bus, destination: &DestinationName) -> Result<Vec<LaneStanding>, Unavailable> {
    let answers: Vec<Vec<LaneStanding>> =
        ask(bus, STANDING, &AskedStanding { destination: destination.clone() }).await?;
    let mut lanes: Vec<LaneStanding> = answers.into_iter().flatten().collect();
    lanes.sort_unstable_by_key(|lane| lane.group);
    Ok(lanes)
}

async fn ask<T: for<'a> Deserialize<'a>>(
    bus: &Bus,
    subject: &str,
    asked: &impl Serialize,
) -> Result<Vec<T>, Unavailable> {
    let question = Question { data: Bytes::from(json(asked)), ..Question::default() };
    let answers = bus.survey(subject, question, ANSWERED_WITHIN).await?;
    // One of another version has nothing to say.
    Ok(answers.iter().filter_map(|answer| serde_json::from_slice(answer).ok()).collect())
}
