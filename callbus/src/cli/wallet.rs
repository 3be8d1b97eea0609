//! `callbus wallet`: who pays.

use clap::{Args, Subcommand};

use super::time::{begin_of_day, end_of_day};

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
