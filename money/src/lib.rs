//! What a call costs, how long a wallet can pay for it, and what happens to the wallet's money.
//!
//! An [`amount`] is whole millionths of a [`currency`]. A [`price`] turns seconds into an amount ([`rate`]), rounded
//! once ([`rounding`]), and an amount into seconds ([`mod@grant`]). A [`deck`] finds the price of a number and is read
//! from CSV ([`import`]). Before a call [`admission`] holds its cost; what then happens to a [`hold`] is a [`posting`],
//! which the [`command`] functions decide and whose fold is the [`wallet`].
//!
//! Nothing here does I/O, reads a clock or uses a float, and all arithmetic is checked: money is never wrong quietly.
#![deny(clippy::arithmetic_side_effects)]

pub mod amount;
pub mod currency;
pub mod rounding;

pub mod price;
pub mod rate;

pub mod grant;

pub mod deck;
pub mod import;

pub mod hold;
pub mod posting;
pub mod wallet;

pub mod command;

pub mod admission;

pub use admission::{Admission, Applied, HoldReply};
pub use amount::{Micros, Nanos, Overflow};
pub use command::{Refused, change, expire, place, settle, top_up};
pub use currency::Currency;
pub use deck::{Deck, DeckRef, DeckRow};
pub use grant::{Grant, grant};
pub use hold::{Ended, Hold};
pub use posting::{Account, Posting, TopUpId, WalletEvent, entries};
pub use price::{BadPrice, Price, Tier};
pub use rate::{Cost, cost};
pub use rounding::{Rounding, RoundingMethod};
pub use wallet::{Wallet, WalletFacts, WalletStatus};
