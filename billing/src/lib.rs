//! What calls cost, and who pays.
//!
//! Before a call, [`credit`] says what a wallet can pay for and holds it, in memory or in Redis ([`admission`]). After
//! it, [`Billing`] reads the log: it folds each call ([`call`]), posts what happened to the wallets ([`ledger`]) and
//! writes the CDR; how a call ended it asks the platform where nobody told it ([`Enquiries`]). It alone writes
//! `WALLETS`, what people ask for included ([`mod@order`]). Losing Redis loses no money: it is loaded again from the
//! wallets' own events ([`history`]), of which a snapshot may stand for the first many.

pub mod admission;
mod ask;
mod billing;
mod call;
pub mod credit;
mod enquiry;
mod expiry;
mod group;
pub mod history;
mod ledger;
pub mod order;
pub mod rebuild;
mod snapshot;
mod steady;
pub mod tombstone;
pub mod verify;

pub use admission::{Admission, AdmissionError, HoldReply};
pub use billing::{Billing, BillingError};
pub use credit::Credit;
pub use enquiry::Enquiries;
pub use group::{CONSUMER, GROUPS, consumers, floor};
pub use history::fold;

/// Whether a document is one that billing keeps to read less of the log. It belongs to that log and to no copy of it.
pub fn made_from_log(document: &str) -> bool {
    snapshot::is_one(document) || document == expiry::KEPT
}
