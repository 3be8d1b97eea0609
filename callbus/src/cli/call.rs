//! `callbus call`: calls, and those that are placed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::time::{Between, whole_seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum CallCommand {
    /// The newest calls.
    Ls(CallLs),
    /// Calls somebody should look at: nobody paid, or what they cost rests on a guess.
    Flagged {
        #[arg(long, value_parser = ["unmatched", "late", "disputed", "estimate", "overrun"])]
        flag: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Show numbers in full.
        #[arg(long)]
        reveal: bool,
    },
    /// One call as a ladder, with its bill.
    Show {
        id: String,
        /// Show numbers in full.
        #[arg(long)]
        reveal: bool,
    },
    /// Why each callback of a call was answered as it was.
    Why {
        id: String,
        /// Show numbers in full.
        #[arg(long)]
        reveal: bool,
    },
    /// Call somebody, to say something, to connect another number, or as the policy says.
    Place(CallPlace),
    /// Call two people and join them.
    Join(CallJoin),
    /// End a call that was placed.
    Hangup { id: String },
}

#[derive(Debug, Args)]
pub(crate) struct CallPlace {
    /// Who is called: +46701234567.
    #[arg(long, value_name = "NUMBER", value_parser = phone_number)]
    pub to: String,
    /// The number that is shown.
    #[arg(long, value_name = "NUMBER", value_parser = phone_number)]
    pub from: String,
    #[command(flatten)]
    pub target: CallTarget,
    #[command(flatten)]
    pub terms: CallTerms,
}

/// What happens once the call is answered.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct CallTarget {
    /// What is said to whoever answers; then the call ends.
    #[arg(long, value_name = "TEXT")]
    pub say: Option<String>,
    /// A menu of the policy that whoever answers is led into.
    #[arg(long, value_name = "NAME")]
    pub menu: Option<String>,
    /// Who is called then, and joined with.
    #[arg(long, value_name = "NUMBER", value_parser = phone_number)]
    pub connect: Option<String>,
    /// The policy is asked with the ACE.
    #[arg(long)]
    pub policy: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CallJoin {
    /// Who is called first.
    #[arg(long, value_name = "NUMBER", value_parser = phone_number)]
    pub from: String,
    /// Who is called once the first has answered.
    #[arg(long, value_name = "NUMBER", value_parser = phone_number)]
    pub to: String,
    /// The number that is shown to both.
    #[arg(long, value_name = "NUMBER", value_parser = phone_number)]
    pub bridge: String,
    #[command(flatten)]
    pub terms: CallTerms,
}

/// What all calls that are placed have.
#[derive(Debug, Args)]
pub(crate) struct CallTerms {
    /// Where the configuration has several.
    #[arg(long)]
    pub app: Option<String>,
    /// How long it may ring: 30s.
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub timeout: Option<u32>,
    /// How long each leg may last: 10m, an hour without it. Credit is held for so long.
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub max_duration: Option<u32>,
    /// So many tries more, when nobody answers.
    #[arg(long, value_name = "TIMES", requires = "retry_after")]
    pub retry: Option<u8>,
    /// The pause before each.
    #[arg(long, value_name = "TIME", value_parser = whole_seconds, requires = "retry")]
    pub retry_after: Option<u32>,
    /// Not before: 2026-12-01T09:00:00Z.
    #[arg(long)]
    pub at: Option<jiff::Timestamp>,
    /// Text to find again in all that is told of the call.
    #[arg(long)]
    pub custom: Option<String>,
    /// Whom to tell of what, as a file of JSON (docs/profiles.md); `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    pub callback: Option<PathBuf>,
    /// The same key is the same call: safe to type again.
    #[arg(long)]
    pub key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CallLs {
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    #[arg(long)]
    pub app: Option<String>,
    /// Calls from or to this number.
    #[arg(long)]
    pub number: Option<String>,
    /// Calls this wallet paid for, or was to.
    #[arg(long)]
    pub wallet: Option<String>,
    /// answered, granted, refused or fallback.
    #[arg(long)]
    pub outcome: Option<String>,
    /// Only legs of calls that we placed.
    #[arg(long)]
    pub placed: bool,
    #[command(flatten)]
    pub time: Between,
    /// The page after the one that ended here.
    #[arg(long, value_name = "SEQUENCE")]
    pub before: Option<u64>,
    /// Show numbers in full.
    #[arg(long)]
    pub reveal: bool,
}

/// As people write it, so that whoever mistypes one hears which.
fn phone_number(text: &str) -> Result<String, String> {
    match proto::PhoneNumber::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
