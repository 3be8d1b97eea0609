//! Ending a call that was placed: asked of all delivery processes, of which the one that looks after it takes it.

use std::time::Duration;

use bus::{Bus, Question, Unavailable};
use bytes::Bytes;
use proto::CallId;
use proto::event::json;
use serde::{Deserialize, Serialize};

pub(crate) const SUBJECT: &str = "delivery.v1.hangup";

/// On a broker an answer takes all of it, since nobody knows how many will come.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub call: CallId,
    pub by: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub taken: bool,
}

/// Has a call end; false when nobody looks after it: it is over, or its process is away just now.
///
/// # Errors
/// When the broker cannot be reached.
pub async fn hang_up(bus: &Bus, call: &CallId, by: &str) -> Result<bool, Unavailable> {
    let wanted = Wanted { call: call.clone(), by: by.to_owned() };
    let question = Question { data: Bytes::from(json(&wanted)), ..Question::default() };
    let answers = bus.survey(SUBJECT, question, ANSWERED_WITHIN).await?;
    Ok(answers.iter().any(|answer| serde_json::from_slice(answer).is_ok_and(|Taken { taken }| taken)))
}
