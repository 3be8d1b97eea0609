//! `callbus cdr`: what calls came to.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::time::Between;

#[derive(Debug, Subcommand)]
pub(crate) enum CdrCommand {
    /// The calls that ended last, and what they came to.
    Ls {
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        which: CdrWhich,
    },
    /// All that one call came to.
    Show {
        call: String,
        /// Show numbers in full.
        #[arg(long)]
        reveal: bool,
    },
    /// Write a file of them.
    Export {
        #[command(flatten)]
        which: CdrWhich,
        #[arg(long, value_enum, default_value = "csv")]
        format: CdrFormat,
        /// Without it, stdout.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// A call belongs to the time at which it ended.
#[derive(Debug, Args)]
pub(crate) struct CdrWhich {
    #[command(flatten)]
    pub time: Between,
    #[arg(long)]
    pub app: Option<String>,
    #[arg(long)]
    pub wallet: Option<String>,
    /// Show numbers in full.
    #[arg(long)]
    pub reveal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CdrFormat {
    Csv,
    /// One object a line.
    Json,
    Parquet,
}
