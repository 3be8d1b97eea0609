//! `callbus delivery`: what became of deliveries.

use clap::Subcommand;

use super::time::{begin_of_day, end_of_day};

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveryCommand {
    /// The newest first.
    Ls {
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// queued (it waits), attempted (on its way), failed (is tried again), delivered, or dead (given up).
        #[arg(long, value_parser = ["queued", "attempted", "failed", "delivered", "dead"], hide_possible_values = true)]
        state: Option<String>,
        #[arg(long, value_name = "ID")]
        call: Option<String>,
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// One, by its id: the `webhook-id` the receiver saw, or its first digits.
    Show { id: String },
    /// What was given up, counted by destination and cause.
    Dead {
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
    },
    /// Deliver again what was given up: one, or all of a destination.
    Retry {
        #[arg(conflicts_with = "all")]
        id: Option<String>,
        #[arg(long, value_name = "DESTINATION")]
        all: Option<String>,
        /// Only what happened since then.
        #[arg(long, value_name = "TIME", value_parser = begin_of_day, requires = "all")]
        since: Option<jiff::Timestamp>,
    },
    /// Deliver anew what happened in a stretch of time, with ids of its own. Says how many there are; --yes sends them.
    Replay {
        destination: String,
        #[arg(long, value_name = "TIME", value_parser = begin_of_day)]
        from: jiff::Timestamp,
        #[arg(long, value_name = "TIME", value_parser = end_of_day)]
        to: jiff::Timestamp,
        #[arg(long)]
        yes: bool,
    },
}
