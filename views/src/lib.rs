//! The log folded into SQL: what calls did, why, what they cost, and where every wallet's money went, for those who ask
//! in tables.
//!
//! [`Views`] is the role: it follows the log and writes what each event says, and how far it is in the same
//! transaction, into a [`Store`]: a file of SQLite or PostgreSQL. An event makes rows of [`calls`], [`decisions`],
//! [`cdrs`], [`entries`] and [`deliveries`], gathered in a `batch` and written by the one `writer`. A `table` says it in the words of
//! either engine. All of it can be emptied and made again ([`Store::clear`]).
//!
//! Who reads asks by [`query`]; [`export`] makes files of CDRs.

mod error;
mod value;
mod table;

pub mod calls;
pub mod decisions;
pub mod cdrs;
pub mod entries;
pub mod deliveries;
mod batch;

mod store;
mod writer;
mod follow;

pub mod query;
pub mod export;

pub use error::Error;
pub use follow::Views;
pub use query::{CallFilter, Cdr, CdrFilter, CdrPlace, DeliveryFilter, Order};
pub use store::Store;
pub use value::Time;
