//! `callbus profile`: who is told of calls that are placed.

use std::path::PathBuf;

use clap::Subcommand;

use super::time::begin_of_day;

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// As a JSON file says: title, http_method, url and more (docs/profiles.md).
    Create {
        /// `-` reads stdin.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// In the order they were created.
    Ls {
        /// Part of the title.
        #[arg(long)]
        title: Option<String>,
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
        #[arg(long, value_name = "COUNT")]
        offset: Option<usize>,
    },
    /// One, and whether it answers.
    Show { id: String },
    /// Change what a JSON file says, and nothing else.
    Set {
        id: String,
        /// `-` reads stdin.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove it. Calls that were placed before are told still.
    Rm { id: String },
    /// Send what is parked, in order; also to one that did not answer.
    Enable { id: String },
    /// Send nothing; what comes is parked, and no new call may name it.
    Disable { id: String },
    /// A new one that is as this one.
    Duplicate {
        id: String,
        #[arg(long)]
        title: Option<String>,
    },
    /// What it would be told of a call: an example, or what a JSON file says. Sends nothing.
    Preview {
        id: String,
        /// `-` reads stdin.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// What it was told, counted by event and outcome.
    Report {
        id: String,
        #[arg(long, value_name = "TIME", value_parser = begin_of_day)]
        since: Option<jiff::Timestamp>,
    },
    /// Tell it again: all of a call, or one delivery by its id.
    Retrigger {
        id: String,
        #[arg(long, value_name = "ID", conflicts_with = "delivery", required_unless_present = "delivery")]
        call: Option<String>,
        #[arg(long, value_name = "ID")]
        delivery: Option<String>,
    },
}
