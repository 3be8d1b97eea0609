//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    #[arg(long)]
    pub to: String,
    /// The number that is shown.
    #[arg(long)]
    pub from: String,
    /// What is said to whoever answers.
    #[arg(long, required_unless_present_any = ["connect", "policy"], conflicts_with_all = ["connect", "policy"])]
    pub say: Option<String>,
    /// Who is called then.
    #[arg(long, conflicts_with = "policy")]
    pub connect: Option<String>,
    /// The policy is asked with the ACE.
    #[arg(long)]
    pub policy: bool,
    #[command(flatten)]
    pub terms: CallTerms,
}

#[derive(Debug, Args)]
pub(crate) struct CallJoin {
    /// Who is called first.
    #[arg(long)]
    pub from: String,
    /// Who is called once the first has answered.
    #[arg(long)]
    pub to: String,
    /// The number that is shown to both.
    #[arg(long)]
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
    /// How long each leg may last: 10m. Credit is held for no more.
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
    /// Whom to tell of what, as a file of JSON: docs/profiles.md.
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

/// A time that something lies in.
#[derive(Debug, Args)]
pub(crate) struct Between {
    /// A day in UTC or a time; from the beginning without it.
    #[arg(long, value_name = "TIME", value_parser = begin_of_day)]
    pub since: Option<jiff::Timestamp>,
    /// A day in UTC, to its end, or a time; to now without it.
    #[arg(long, value_name = "TIME", value_parser = end_of_day)]
    pub until: Option<jiff::Timestamp>,
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum RebuildCommand {
    /// Empty the SQL tables and fill them from the log. Processes may go on meanwhile; lists are short until it is
    /// done.
    Views,
    /// Load wallets into admission anew, while calls go on: those named, or all.
    Wallets { wallets: Vec<String> },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// All wallets.
    Ls,
    /// One wallet with its open holds.
    Show { wallet: String },
    /// What happened to a wallet.
    Ledger {
        wallet: String,
        /// The newest so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Opening balance, every posting with its cause, closing balance.
    Statement(WalletStatement),
    /// Compare what admission says of a wallet with the log, and its snapshot too; exit 3 when something differs.
    Verify {
        /// All wallets, without it.
        wallet: Option<String>,
        /// All wallets, said aloud.
        #[arg(long, conflicts_with = "wallet")]
        all: bool,
    },
    /// Put money in.
    Topup(TopUp),
    /// Give credit that is spent in its turn, and may expire.
    Grant(WalletGrant),
    /// Give back what a call was charged, or some of it.
    Refund(WalletRefund),
    /// Make what a call was charged another amount.
    Correct(WalletCorrection),
    /// Say what a wallet may be used for; what is not named stays. `none` takes a limit away.
    Set(Box<WalletSet>),
}

#[derive(Debug, Args)]
pub(crate) struct TopUp {
    pub(crate) wallet: String,
    /// Such as 12.50.
    pub(crate) amount: String,
    /// Such as EUR.
    pub(crate) currency: String,
    /// Names the top-up: sent twice, it is posted once. Without it each is a new one.
    #[arg(long)]
    pub(crate) id: Option<String>,
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

#[derive(Debug, Args)]
pub(crate) struct WalletGrant {
    #[command(flatten)]
    pub(crate) top_up: TopUp,
    /// A day, to its end in UTC, or a time such as 2026-12-31T12:00:00Z. Without it the grant never expires.
    #[arg(long, value_name = "TIME", value_parser = end_of_day)]
    pub(crate) expires: Option<jiff::Timestamp>,
    /// The lower, the earlier it is spent. Plain top-ups have 100.
    #[arg(long, default_value_t = money::lots::PRIORITY_DEFAULT)]
    pub(crate) priority: u16,
    /// Somebody paid for it.
    #[arg(long)]
    pub(crate) paid: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WalletStatement {
    pub(crate) wallet: String,
    /// A day in UTC or a time; from the beginning without it.
    #[arg(long, value_name = "TIME", value_parser = begin_of_day)]
    pub(crate) from: Option<jiff::Timestamp>,
    /// A day in UTC, to its end, or a time; to now without it.
    #[arg(long, value_name = "TIME", value_parser = end_of_day)]
    pub(crate) to: Option<jiff::Timestamp>,
    /// Print CSV.
    #[arg(long)]
    pub(crate) csv: bool,
    /// Show numbers in full.
    #[arg(long)]
    pub(crate) reveal: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WalletRefund {
    pub(crate) wallet: String,
    pub(crate) call: String,
    /// All that is left of the charge, without it.
    pub(crate) amount: Option<String>,
    /// Names the refund: sent twice, it is posted once. Without it each is a new one.
    #[arg(long)]
    pub(crate) id: Option<String>,
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

#[derive(Debug, Args)]
pub(crate) struct WalletCorrection {
    pub(crate) wallet: String,
    pub(crate) call: String,
    /// What the call should have cost.
    pub(crate) to: String,
    /// Names the correction: sent twice, it is posted once. Without it each is a new one.
    #[arg(long)]
    pub(crate) id: Option<String>,
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

#[derive(Debug, Args)]
pub(crate) struct WalletSet {
    pub(crate) wallet: String,
    /// active, blocked or closed.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// How far below zero the balance may go.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) credit_limit: Option<String>,
    /// Calls at the same time.
    #[arg(long, value_name = "CALLS")]
    pub(crate) concurrent: Option<String>,
    /// Calls that may begin in a second.
    #[arg(long, value_name = "CALLS")]
    pub(crate) per_second: Option<String>,
    /// What may be charged and held in a day.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) spend_day: Option<String>,
    /// What may be charged and held in a month.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) spend_month: Option<String>,
    /// What a minute may cost.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) minute_price: Option<String>,
    /// Only these may be called: prefixes and countries, such as 46,+4720,DE.
    #[arg(long, value_name = "LIST")]
    pub(crate) allow: Option<String>,
    /// These may not be called.
    #[arg(long, value_name = "LIST")]
    pub(crate) deny: Option<String>,
    /// Whose midnight ends a day, such as Europe/Stockholm.
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// Of a wallet that is not there yet, such as EUR.
    #[arg(long)]
    pub(crate) currency: Option<String>,
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveryCommand {
    /// The newest first.
    Ls {
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// queued, attempted, failed, delivered, dead.
        #[arg(long)]
        state: Option<String>,
        #[arg(long, value_name = "ID")]
        call: Option<String>,
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// One, by its id: the `webhook-id` the receiver saw.
    Show { id: String },
    /// What was given up, counted by destination and cause.
    Dead {
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
    },
    /// Deliver again what was given up: one, or all of a destination.
    Retry {
        #[arg(conflicts_with = "all")]
        id: Option<String>,
        #[arg(long, value_name = "DESTINATION")]
        all: Option<String>,
        /// Only what happened since then.
        #[arg(long, value_name = "TIME", value_parser = begin_of_day, requires = "all")]
        since: Option<jiff::Timestamp>,
    },
    /// Deliver anew what happened in a stretch of time, with ids of its own. Says how many there are; --yes sends them.
    Replay {
        destination: String,
        #[arg(long, value_name = "TIME", value_parser = begin_of_day)]
        from: jiff::Timestamp,
        #[arg(long, value_name = "TIME", value_parser = end_of_day)]
        to: jiff::Timestamp,
        #[arg(long)]
        yes: bool,
    },
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
    /// asked, settled.
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

/// A time, or the begin of a day in UTC.
fn begin_of_day(text: &str) -> Result<jiff::Timestamp, String> {
    let day = |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let begin = text.parse().ok().and_then(day).map(|midnight| midnight.timestamp());
    let time = if text.contains('T') { text.parse().ok() } else { begin };
    time.ok_or_else(|| "write a day such as 2026-12-31 or a time such as 2026-12-31T12:00:00Z".to_owned())
}

/// A time, or the end of a day in UTC.
fn end_of_day(text: &str) -> Result<jiff::Timestamp, String> {
    let day = |date: jiff::civil::Date| date.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let end = text.parse().ok().and_then(day).map(|midnight| midnight.timestamp());
    let time = if text.contains('T') { text.parse().ok() } else { end };
    time.ok_or_else(|| "write a day such as 2026-12-31 or a time such as 2026-12-31T12:00:00Z".to_owned())
}

fn callback_kind(text: &str) -> Result<proto::Kind, String> {
    let kind = proto::Kind::parse(text).filter(|kind| kind.wants_svaml() || *kind == proto::Kind::Dice);
    kind.ok_or_else(|| "write ice, ace, pie or dice".to_owned())
}

fn kind(text: &str) -> Result<proto::Kind, String> {
    proto::Kind::parse(text)
        .ok_or_else(|| format!("write one of {}", proto::Kind::ALL.map(proto::Kind::as_str).join(", ")))
}

/// A stretch of time: days and weeks too.
fn how_long(text: &str) -> Result<jiff::SignedDuration, String> {
    let span = text.parse::<jiff::Span>().ok();
    let time = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    time.filter(jiff::SignedDuration::is_positive).ok_or_else(|| "write a time such as 24h, 7d or 2w".to_owned())
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| time.try_into().ok());
    time.filter(|time: &std::time::Duration| !time.is_zero()).ok_or_else(|| "write a time such as 10s or 1m".to_owned())
}

fn whole_seconds(text: &str) -> Result<u32, String> {
    let secs = match text.parse::<u32>() {
        Ok(secs) => Some(secs),
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|time| u32::try_from(time.as_secs()).ok()),
    };
    secs.ok_or_else(|| "write a time such as 63s or 2m".to_owned())
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
    fn a_day_lasts_to_its_end() {
        for (text, end) in [("2026-12-31", "2027-01-01T00:00:00Z"), ("2026-12-31T12:00:00Z", "2026-12-31T12:00:00Z")] {
            assert_eq!(end_of_day(text), end.parse().map_err(|_| String::new()), "{text}");
        }
        assert_eq!(begin_of_day("2026-12-31"), "2026-12-31T00:00:00Z".parse().map_err(|_| String::new()));
        assert!(["", "tomorrow", "2026-02-30"].into_iter().all(|text| end_of_day(text).is_err()));
    }

    #[test]
    fn a_stretch_of_time_may_be_days() {
        let hours = |hours| Ok(jiff::SignedDuration::from_hours(hours));
        assert_eq!(["24h", "7d", "2w"].map(how_long), [hours(24), hours(168), hours(336)]);
        assert!(["", "yesterday", "-7d"].into_iter().all(|text| how_long(text).is_err()));
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(["63", "63s", "2m"].map(whole_seconds), [Ok(63), Ok(63), Ok(120)]);
        assert!(["-1s", "soon", ""].into_iter().all(|text| whole_seconds(text).is_err()));
    }
}
