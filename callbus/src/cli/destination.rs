//! `callbus destination`: whom events are delivered to.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// All of them.
    Ls,
    /// One, and whether it can be reached.
    Show { name: String },
    /// Put it as a JSON file says: url, kinds and more (docs/delivery.md), or a CRM (docs/crm.md). A new webhook is given a
    /// signing secret, which is shown this once.
    Put {
        name: String,
        /// `-` reads stdin.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// A recipe in YAML, for a destination that is written to by one.
        #[arg(long, value_name = "FILE")]
        recipe: Option<PathBuf>,
    },
    /// What it would be sent: of the newest event of one of its kinds, or of one by its place in the log. Sends nothing.
    Preview {
        name: String,
        #[arg(long, value_name = "SEQ")]
        seq: Option<u64>,
    },
    /// Give it a new signing secret; the one before signs beside it for a day.
    Rotate { name: String },
    /// Send nothing; what comes is parked.
    Pause { name: String },
    /// Send what is parked, in order. Also brings back one that said it is gone.
    Resume { name: String },
    /// Remove it; what is not delivered is given up.
    Rm { name: String },
}
