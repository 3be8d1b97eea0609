//! Billing alone writes wallets and reaches all that is known of them: whoever wants something of it asks.

use std::time::Duration;

use bus::{AskError, Bus, Question};
use bytes::Bytes;
use proto::event::json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// What billing replies to a question, be it good or bad.
///
/// # Errors
/// A sentence, when no reply came: what was asked for may be done all the same.
pub(crate) async fn ask<Reply: DeserializeOwned>(
    bus: &Bus,
    subject: &str,
    question: &impl Serialize,
    within: Duration,
) -> Result<Reply, String> {
    let question = Question { headers: Vec::new(), data: Bytes::from(json(question)) };
    match bus.ask(subject, question, Instant::now() + within).await {
        Ok(reply) => serde_json::from_slice(&reply).map_err(|error| error.to_string()),
        Err(AskError::NoResponder { .. }) => Err("no billing role is running".to_owned()),
        Err(error @ (AskError::Deadline { .. } | AskError::Busy { .. } | AskError::Unavailable(_))) => {
            Err(error.to_string())
        }
    }
}
