//! `callbus sim` and `callbus bench`: be the platform.

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::time::{duration, whole_seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Place one call, with signed callbacks over real HTTP.
    Call(Box<SimCall>),
    /// Be the platform that calls are placed by (`callbus call place`), until interrupted. They last as long as real ones.
    Platform(SimPlatform),
}

#[derive(Debug, Args)]
pub(crate) struct SimPlatform {
    /// Where its REST API is: what `[platform] url` names.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Where callbacks go, instead of this installation's own address.
    #[arg(long)]
    pub url: Option<String>,
    /// The app that is called for; the first of the configuration.
    #[arg(long)]
    pub app: Option<String>,
    /// Whoever is called answers after so long: 5s.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = whole_seconds)]
    pub answer_after: u32,
    /// And hangs up after so long.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = whole_seconds)]
    pub hangup_after: u32,
    /// Is busy instead.
    #[arg(long, conflicts_with = "no_answer")]
    pub busy: bool,
    /// Does not answer.
    #[arg(long)]
    pub no_answer: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimCall {
    /// What is dialled: a number, a SIP address (user@host) or the name of an in-app user.
    #[arg(long, required_unless_present = "did")]
    pub to: Option<String>,
    /// The rented number that is called, instead of --to.
    #[arg(long, conflicts_with = "to")]
    pub did: Option<String>,
    /// The caller's number, `private`, or a SIP address (user@host).
    #[arg(long, default_value = crate::commands::sim::CALLER)]
    pub from: String,
    /// An in-app user calls, instead of a number.
    #[arg(long, conflicts_with = "from")]
    pub user: Option<String>,
    /// What the caller does at each menu in turn: keys, `say:words`, `silence` or `hangup`, with commas between.
    #[arg(long, value_delimiter = ',')]
    pub keys: Vec<simulator::Input>,
    /// The same in a conference: `12#,silence,hangup`. A comma is a pause longer than the conference waits.
    #[arg(long, value_delimiter = ',', value_name = "KEYS")]
    pub conference_keys: Vec<simulator::Input>,
    /// Who picks up: human or machine.
    #[arg(long, value_name = "STATUS", conflicts_with_all = ["busy", "no_answer"])]
    pub amd: Option<PickedUpBy>,
    /// The machine that picked up beeps after this time: 9s.
    #[arg(long, value_name = "TIME", value_parser = whole_seconds, requires = "amd")]
    pub beep_after: Option<u32>,
    /// The called side is busy.
    #[arg(long, conflicts_with = "no_answer")]
    pub busy: bool,
    /// Nobody picks up.
    #[arg(long)]
    pub no_answer: bool,
    /// Callbacks that get lost on their way: dice, or ace,dice.
    #[arg(long, value_delimiter = ',', value_name = "KINDS", value_parser = callback_kind)]
    pub lose: Vec<proto::Kind>,
    /// When the caller hangs up, counted from the connection: 63s, 2m.
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub hangup_after: Option<u32>,
    /// The app that is called; the first one without it.
    #[arg(long)]
    pub app: Option<String>,
    /// Where callbacks go; this configuration's ingress without it.
    #[arg(long)]
    pub url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What is dialled: a number the policy lets through, on a wallet with credit.
    #[arg(long, default_value = "+46701234567")]
    pub to: String,
    /// So many callers, each of whom calls again as soon as the call is over: what this system can do.
    #[arg(long, default_value_t = 64, conflicts_with = "rate")]
    pub callers: usize,
    /// So many calls a second, whether or not earlier ones are over: how fast answers are at this rate.
    #[arg(long, value_name = "CALLS")]
    pub rate: Option<std::num::NonZeroU32>,
    /// How long calls begin: 10s, 1m.
    #[arg(long = "for", default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub lasts: std::time::Duration,
    /// How long a call lasts, in its own time.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = whole_seconds)]
    pub hangup_after: u32,
    /// Where callbacks go; this configuration's ingress without it.
    #[arg(long)]
    pub url: Option<String>,
    /// Tried where the first does not answer.
    #[arg(long)]
    pub fallback_url: Option<String>,
    /// Then follow every acknowledged callback into the log, and every call to its bill, for so long: 30s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub check: Option<std::time::Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PickedUpBy {
    Human,
    Machine,
}

fn callback_kind(text: &str) -> Result<proto::Kind, String> {
    let kind = proto::Kind::parse(text).filter(|kind| kind.wants_svaml() || *kind == proto::Kind::Dice);
    kind.ok_or_else(|| "write ice, ace, pie or dice".to_owned())
}
