//! Hears of every call that ended, from a consumer of its own:
//!
//! ```sh
//! callbus consumer add crm --kinds settled --from beginning --keys keys
//! NKEY_FILE=keys/consumers/crm/nkey cargo run -p tests --example subscribe
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of its own, and no part of callbus"
)]

use std::env;
use std::error::Error;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind, Message};
use futures::StreamExt;
use serde_json::Value;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let name = setting("CONSUMER", "crm");
    let mut options = ConnectOptions::new().custom_inbox_prefix(format!("_INBOX_{name}"));
    if let Ok(file) = env::var("NKEY_FILE") {
        options = options.nkey(std::fs::read_to_string(file)?.trim().to_owned());
    }
    let client = options.connect(setting("NATS_URL", "nats://127.0.0.1:4222")).await?;
    let consumer: PullConsumer = jetstream::new(client).get_consumer_from_stream(&name, "CALLS").await?;
    let mut events = consumer.messages().await?;
    println!("ready");
    while let Some(event) = events.next().await {
        let event = event?;
        match take(&event) {
            // Not acknowledged, it comes again after a while: also when this program dies here.
            Ok(()) => event.ack().await?,
            Err(why) => {
                eprintln!("refused: {why}");
                event.ack_with(AckKind::Term).await?;
            }
        }
    }
    Ok(())
}

/// An event is a CloudEvent: who it is stands in the headers, what happened in the body. It may come twice, so whatever
/// is done with it is done once per `ce-id`.
fn take(event: &Message) -> Result<(), Failure> {
    let headers = event.headers.as_ref().ok_or("it has no headers")?;
    let header = |name: &str| headers.get(name).map(|value| value.as_str()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&event.payload)?;
    println!("{} of {}: {}", header("ce-type"), header("ce-subject"), body["result"]);
    Ok(())
}
