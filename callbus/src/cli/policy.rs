//! `callbus policy`: what decides.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::time::how_long;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policy files with their tests: those named, or those of the configuration.
    Check { files: Vec<PathBuf> },
    /// Print the JSON Schema of policy files, for editors.
    Schema,
    /// Check a file and put it in force on all workers. One that says `mode: shadow` only decides beside it.
    Push {
        file: PathBuf,
        /// The app it decides for; not needed where there is only one.
        #[arg(long)]
        app: Option<String>,
        /// Why, for those who read the history.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Put an earlier revision in force again: the one before, or the one named.
    Rollback {
        #[arg(long)]
        app: Option<String>,
        /// Its first digits, as `callbus policy ls` shows them.
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
        #[arg(long, default_value = "")]
        note: String,
    },
    /// End the shadow of an app.
    Unshadow {
        #[arg(long)]
        app: Option<String>,
    },
    /// Which revisions were in force, and which worker decides by which.
    Ls {
        #[arg(long)]
        app: Option<String>,
    },
    /// Print the text of a revision.
    Show {
        revision: String,
        #[arg(long)]
        app: Option<String>,
    },
    /// What a policy file would do with a callback, and why.
    Explain {
        file: PathBuf,
        /// What is given, as in a policy's tests: '{ event: ice, call: { cli: "+46701234567" } }'.
        #[arg(long, required_unless_present = "callback", conflicts_with = "callback")]
        given: Option<String>,
        /// A file with the JSON that Sinch sends.
        #[arg(long, value_name = "FILE")]
        callback: Option<PathBuf>,
    },
    /// Decide recorded callbacks again by another policy file, and list what would change. Nothing is touched.
    Diff(PolicyDiff),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyDiff {
    pub file: PathBuf,
    #[arg(long)]
    pub app: Option<String>,
    /// How far back: 24h, 7d.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = how_long)]
    pub since: jiff::SignedDuration,
    /// Differences listed; all are counted.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Show numbers in full.
    #[arg(long)]
    pub reveal: bool,
}
