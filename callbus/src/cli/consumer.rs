//! `callbus consumer`: who else reads the calls.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ConsumerCommand {
    /// All consumers, and how far they are.
    Ls,
    /// Make a consumer for a program of yours, with its own key and no right but to pull from it.
    Add(ConsumerAdd),
    /// Remove a consumer, and what it remembers.
    Rm {
        #[arg(value_parser = crate::commands::consumer::name)]
        name: String,
        /// Where `callbus keys` keeps the keys; its key goes as well.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Hand a consumer everything from a sequence on again.
    Rewind {
        #[arg(value_parser = crate::commands::consumer::name)]
        name: String,
        #[arg(long, value_name = "SEQ")]
        to: u64,
    },
    /// The events a consumer could not handle, and why.
    Dead {
        #[arg(value_parser = crate::commands::consumer::name)]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConsumerAdd {
    #[arg(value_parser = crate::commands::consumer::name)]
    pub name: String,
    /// Only events of these kinds, with commas between: ice, ace, pie, dice, notify, unknown, decided, emitted,
    /// asked, placed, dialled, progressed, settled.
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    pub kinds: Vec<proto::Kind>,
    /// Only this share of the calls, such as 1/4: several programs that share them out have a consumer each, and every
    /// call comes to one of them, in order.
    #[arg(long, default_value = "1/1", value_name = "NTH/OF")]
    pub share: proto::Share,
    /// beginning, now, or a sequence of the log.
    #[arg(long, default_value = "now", value_name = "WHERE", value_parser = crate::commands::consumer::begin)]
    pub from: bus::Begin,
    /// Where `callbus keys` keeps the keys; without it none is made, for a broker that lets everybody in.
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

fn kind(text: &str) -> Result<proto::Kind, String> {
    proto::Kind::parse(text)
        .ok_or_else(|| format!("write one of {}", proto::Kind::ALL.map(proto::Kind::as_str).join(", ")))
}
