//! `callbus list`: what policies ask.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ListCommand {
    /// All lists that were ever edited.
    Ls,
    /// All entries, one a line.
    Show { name: String },
    /// Whether an entry is on the list: exit 0 if it is, else 5.
    Has { name: String, entry: String },
    /// Put entries on the list.
    Add(ListEdit),
    /// Take entries off the list.
    Remove(ListEdit),
    /// Make these entries all there is on the list.
    Replace(ListEdit),
}

#[derive(Debug, Args)]
pub(crate) struct ListEdit {
    pub name: String,
    /// Numbers or names.
    pub entries: Vec<String>,
    /// A file with one entry a line; `-` reads stdin.
    #[arg(long)]
    pub file: Option<PathBuf>,
}
