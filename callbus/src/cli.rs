//! The command line: what there is to say, each noun in a file of its own.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod sim;
mod call;
mod cdr;
mod wallet;
mod deck;
mod policy;
mod list;
mod destination;
mod profile;
mod delivery;
mod consumer;
mod time;

pub(crate) use self::call::{CallCommand, CallJoin, CallLs, CallPlace, CallTarget, CallTerms};
pub(crate) use self::cdr::{CdrCommand, CdrFormat, CdrWhich};
pub(crate) use self::consumer::{ConsumerAdd, ConsumerCommand};
pub(crate) use self::deck::{DeckCommand, DeckDiff, DeckImport, DeckPrice, DeckSheet};
pub(crate) use self::delivery::DeliveryCommand;
pub(crate) use self::destination::DestinationCommand;
pub(crate) use self::list::{ListCommand, ListEdit};
pub(crate) use self::policy::{PolicyCommand, PolicyDiff};
pub(crate) use self::profile::ProfileCommand;
pub(crate) use self::sim::{Bench, PickedUpBy, SimCall, SimCommand, SimPlatform};
use self::time::how_long;
pub(crate) use self::wallet::{
    TopUp, WalletCommand, WalletCorrection, WalletGrant, WalletRefund, WalletSet, WalletStatement,
};

/// An event-sourced callback processor for voice calls.
///
/// Without a command all roles run in this process. Exit codes: 0 ok, 1 failed, 2 usage, 3 check failed, 4 not
/// authorized, 5 not found, 6 unreachable.
#[derive(Debug, Parser)]
#[command(name = "callbus", version)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "CALLBUS_CONFIG", default_value = "callbus.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Serve(Role),
    /// Deliver events to destinations; or, with a command, see what became of deliveries, and deliver again.
    Delivery {
        #[command(subcommand)]
        command: Option<DeliveryCommand>,
    },
    #[command(flatten)]
    Operate(Operation),
}

/// What an operator asks for.
#[derive(Debug, Subcommand)]
pub(crate) enum Operation {
    /// Play five calls through everything, in a directory of its own.
    Demo(Demo),
    /// Write a commented callbus.toml, a policy and a price list to begin with.
    Init,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Be the platform: place simulated calls.
    #[command(subcommand)]
    Sim(SimCommand),
    /// Calls: what they did, and why.
    #[command(subcommand)]
    Call(CallCommand),
    /// Call detail records: what calls came to.
    #[command(subcommand)]
    Cdr(CdrCommand),
    /// Wallets: what they hold, and what happened to it.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Price lists.
    #[command(subcommand)]
    Deck(DeckCommand),
    /// Policies: check them, put them in force, ask what they would do.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Lists that policies ask, edited while calls go on.
    #[command(subcommand)]
    List(ListCommand),
    /// Destinations: whom events are delivered to.
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Callback profiles: who is told of calls that are placed, and how.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Typed as [`Command::Delivery`].
    #[command(skip)]
    Delivery(DeliveryCommand),
    /// Play many calls, and say how fast they were answered and what it cost. They spend the wallet's credit as real
    /// calls do.
    Bench(Bench),
    /// Make again from the log what is made from it.
    #[command(subcommand)]
    Rebuild(RebuildCommand),
    /// The log itself.
    #[command(subcommand)]
    Log(LogCommand),
    /// Copy the log, and what goes with it, into a directory; again, and only what is new is copied.
    Backup {
        /// Made when missing. Afterwards it is an embedded log of its own.
        dir: PathBuf,
    },
    /// Put a backup into an empty installation.
    Restore {
        /// What `callbus backup` wrote.
        dir: PathBuf,
        /// Only try it: restore into a scratch directory, check everything, and compare it with what runs; exit 3 when
        /// they differ.
        #[arg(long)]
        drill: bool,
    },
    /// Compare the log's CDRs with the platform's own list, or by asking it about each call; exit 3 when they differ.
    Reconcile(Reconcile),
    /// What calls were charged, less what Sinch charges for them: by day, app and prefix.
    Margin {
        /// How far back: 24h, 7d.
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = how_long)]
        since: jiff::SignedDuration,
    },
    /// Who reads the calls on the broker by a name of their own, in any language.
    #[command(subcommand)]
    Consumer(ConsumerCommand),
    /// Make keys for the broker, one for each role, and the file that tells the broker what each may do.
    Keys {
        /// Where they are kept; what is there stays.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// A key as well for a program of yours that decides (`ask: { nats: true }`).
        #[arg(long, value_name = "NAME", value_parser = crate::commands::consumer::name)]
        decider: Option<String>,
    },
    /// Make at the broker what is missing: streams, stores, consumers. What is there stays as it is.
    Provision {
        /// Say what would be made, and make nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Exit 0 when what runs here is well, else 6.
    Health {
        /// Ask one role only; without it, the listeners.
        #[arg(value_parser = role)]
        role: Option<Role>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// How far back our calls are looked at: 24h, 7d.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = how_long)]
    pub since: jiff::SignedDuration,
    /// The platform's list, with a header: call id, duration, result, debit; `-` reads stdin. Without it the platform
    /// is asked about each call.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the calls: 0 if all went as told, else 1.
    #[arg(long)]
    pub exit: bool,
    /// Take callbacks on this port, and serve the API on the next. Free ports are found when 8080 or 8081 is taken.
    #[arg(long)]
    pub port: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read configuration, secrets and policies, and say what would run.
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RebuildCommand {
    /// Empty the SQL tables and fill them from the log. Processes may go on meanwhile; lists are short until it is
    /// done.
    Views,
    /// Load wallets into admission anew, while calls go on: those named, or all.
    Wallets { wallets: Vec<String> },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check the signature of every callback in the log again.
    Verify,
    /// Print the AsyncAPI document of all events, or the JSON Schema of one type.
    Schema {
        /// Such as callbus.call.settled.v1.
        #[arg(value_name = "TYPE")]
        name: Option<String>,
    },
}

/// What one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Role {
    /// Everything, in one process: the default.
    #[command(skip)]
    All,
    /// Take callbacks: verify, ask, record, answer.
    Ingress,
    /// Decide what to answer, by policy.
    Worker,
    /// Settle calls and keep the wallets.
    Billing,
    /// Deliver events to destinations. Typed as [`Command::Delivery`].
    #[command(skip)]
    Delivery,
    /// Keep the SQL tables.
    Views,
    /// Serve the REST API.
    Api,
}

impl Role {
    /// Those that are a process of their own.
    const ALONE: [Self; 6] = [Self::Ingress, Self::Worker, Self::Billing, Self::Delivery, Self::Views, Self::Api];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ingress => "ingress",
            Self::Worker => "worker",
            Self::Billing => "billing",
            Self::Delivery => "delivery",
            Self::Views => "views",
            Self::Api => "api",
        }
    }

    /// Whether a process of this role does `part` too.
    pub(crate) fn does(self, part: Self) -> bool {
        self == Self::All || self == part
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALONE.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| format!("write {}", Role::ALONE.map(Role::as_str).join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use simulator::Input;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn roles_are_commands_and_none_is_all_of_them() {
        let role = |arguments: &[&str]| Cli::try_parse_from(arguments).map(|cli| cli.command);
        assert!(matches!(role(&["callbus"]), Ok(None)));
        assert!(matches!(role(&["callbus", "--config", "x", "worker"]), Ok(Some(Command::Serve(Role::Worker)))));
        assert!(matches!(role(&["callbus", "delivery"]), Ok(Some(Command::Delivery { command: None }))));
        assert!(role(&["callbus", "all"]).is_err());
        assert!(role(&["callbus", "sim", "call"]).is_err(), "whom?");
        assert!(role(&["callbus", "sim", "call", "--to", "+1", "--busy", "--no-answer"]).is_err());
        assert!(role(&["callbus", "sim", "call", "--to", "+1", "--beep-after", "9s"]).is_err(), "who beeps?");
    }

    #[test]
    fn a_simulated_caller_presses_and_speaks() {
        let arguments =
            ["callbus", "sim", "call", "--did", "+1", "--keys", "1,say:my bill", "--conference-keys", "12#"];
        let Ok(Some(Command::Operate(Operation::Sim(SimCommand::Call(call))))) =
            Cli::try_parse_from(arguments).map(|cli| cli.command)
        else {
            panic!("not a call")
        };
        assert_eq!(call.keys, [Input::Digits("1".into()), Input::Words("my bill".into())]);
        assert_eq!(call.conference_keys, [Input::Digits("12#".into())]);
    }

    #[test]
    fn a_call_that_is_placed_names_its_target_and_numbers_that_are_some() {
        let place = |more: &[&str]| {
            let given = ["callbus", "call", "place", "--to", "+46701234567", "--from", "+46850000001"];
            Cli::try_parse_from(given.iter().chain(more)).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(place(&["--policy"]), Ok(()));
        let lacking = place(&[]).expect_err("for what?");
        assert!(["--say", "--connect", "--policy"].iter().all(|target| lacking.contains(target)), "{lacking}");
        assert!(place(&["--say", "Hello.", "--policy"]).is_err());
        let wrong = place(&["--connect", "070-1234567"]).expect_err("no E.164");
        assert!(wrong.contains("--connect"), "{wrong}");
    }
}
