//! `callbus deck`: price lists.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::time::whole_seconds;

#[derive(Debug, Subcommand)]
pub(crate) enum DeckCommand {
    /// Check a CSV file whole, and put it in force.
    Import(DeckImport),
    /// The price lists of the apps.
    Ls,
    /// All versions of a price list, and when they are in force.
    Versions {
        #[arg(default_value = "standard")]
        name: String,
    },
    /// What changes from one version of a price list to another.
    Diff(DeckDiff),
    /// What a call costs, and how it comes to that.
    Price(DeckPrice),
    /// Filter rows of JSON on stdin: what each call costs.
    Rate,
    /// Filter rows of JSON on stdin: how long the credit lasts.
    Grant,
    /// Filter rows of JSON on stdin: which prefix a number has.
    Match,
}

#[derive(Debug, Args)]
pub(crate) struct DeckImport {
    pub file: PathBuf,
    /// The name apps call it by.
    #[arg(long, default_value = "standard")]
    pub name: String,
    #[command(flatten)]
    pub sheet: DeckSheet,
    /// When it comes into force, such as 2026-12-01T00:00:00Z; at once without it.
    #[arg(long, value_name = "TIME")]
    pub from: Option<jiff::Timestamp>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// What a rate sheet does not say itself.
#[derive(Debug, Args)]
pub(crate) struct DeckSheet {
    /// Whose format it is in; found by the header without it.
    #[arg(long = "as", value_name = "FORMAT", value_parser = money::DeckFormat::ALL.map(money::DeckFormat::as_str))]
    pub format: Option<String>,
    /// Where the sheet names none, such as EUR.
    #[arg(long)]
    pub currency: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeckDiff {
    pub name: String,
    /// A version, or a file to compare with what is in force.
    pub old: String,
    /// The version that `old` is compared with.
    pub new: Option<String>,
    #[command(flatten)]
    pub sheet: DeckSheet,
    /// How many changes are listed; all are counted.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DeckPrice {
    /// The number that is called, such as +46701234567.
    pub number: String,
    /// How long the call lasts: 61, 61s, 2m.
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub duration: u32,
    #[arg(long, default_value = "standard")]
    pub deck: String,
    /// When it is answered, such as 2026-01-02T18:00:00Z; now without it.
    #[arg(long, value_name = "TIME")]
    pub at: Option<jiff::Timestamp>,
}
