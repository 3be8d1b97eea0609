//! What a call costs, how long a wallet can pay for it, and what happens to the wallet's money.
//!
//! An [`amount`] is whole millionths of a [`currency`]. A [`price`] turns seconds into an amount ([`rate`]), rounded
//! once ([`rounding`]), and an amount into seconds ([`mod@grant`]). It may differ by [`period`], by the clock of a time
//! [`zone`]; how a cost came about can be shown ([`mod@explain`]), and prices as samples write them be read ([`spec`]).
//! A [`deck`] finds the price of a number and is read from CSV ([`import`]) and written ([`Deck::to_csv`]); two are
//! compared ([`mod@diff`]), and of its [`versions`] one is in force. Before a call [`admission`] holds its cost, where
//! the wallet's [`limits`] let it; what then happens to a [`hold`] is a [`posting`], which the [`command`] functions
//! decide and whose fold is the [`wallet`], which a [`mod@snapshot`] may shorten. [`lots`] are what of it came as
//! grants, a [`charge`] may be refunded and corrected, and a [`mod@statement`] tells it all.
//!
//! The rules of rating, with worked examples, stand in `docs/rating.md`; those of holds in `ARCHITECTURE.md`.
//!
//! Nothing here does I/O, reads a clock or uses a float, and all arithmetic is checked: money is never wrong quietly.
#![deny(clippy::arithmetic_side_effects)]

pub mod amount;
pub mod currency;
pub mod rounding;

pub mod zone;
pub mod price;
pub mod period;
pub mod rate;

pub mod grant;
pub mod explain;
pub mod spec;

pub mod deck;
pub mod import;
mod export;
pub mod diff;
pub mod versions;

pub mod hold;
pub mod limits;
pub mod lots;
pub mod posting;
pub mod charge;
mod closed;
pub mod wallet;
pub mod snapshot;

pub mod command;

pub mod admission;
pub mod statement;

pub use admission::{Admission, Applied, HoldReply, Limit};
pub use amount::{Micros, Nanos, Overflow};
pub use charge::{Charged, Standing};
pub use command::{Refused, change, correct, expire, expire_grant, place, refund, settle, top_up};
pub use currency::Currency;
pub use deck::{Deck, DeckRef, DeckRow};
pub use diff::{ChangeKind, DeckChange, DeckDiff};
pub use grant::{Answer, Grant, grant, least};
pub use hold::{Ended, Hold};
pub use import::{DeckFormat, Sheet};
pub use limits::{Barred, Destination, Destinations, Edit, Limits, LimitsEdit, Spent, check_call};
pub use lots::{GrantKind, GrantTerms, Lot, Share};
pub use period::{Among, Period};
pub use posting::{Account, Posting, PostingId, WalletEvent, entries};
pub use price::{BadPrice, ConnectFeeMode, MaxCost, MaxCostStrategy, Price, PriceRows, Tier};
pub use rate::{CannotRate, Cost, connect_fee, cost, first_minute};
pub use rounding::{Rounding, RoundingMethod};
pub use snapshot::Snapshot;
pub use statement::{Line, Statement, statement};
pub use versions::{DeckVersion, DeckVersions};
pub use wallet::{Wallet, WalletFacts, WalletStatus};
pub use zone::Zone;
