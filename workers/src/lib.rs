//! The worker: asked about a callback, it answers with SVAML and says why.
//!
//! [`Worker`] serves the asks of its apps in the queue group all workers share. For each it gathers the facts the policy
//! needs, lets the policy decide, holds credit where the rule reserves it ([`reserve`]), and claims the
//! decision key, so that whoever is asked about the same callback gives the same answer. It writes nothing to the log:
//! the ingress records what it answers. Price lists, whose versions are in the log, are read and put in force by [`deck_log`].

mod claim;
mod decide;
mod decks;
pub mod deck_log;
mod facts;
mod reserve;
mod worker;

pub use claim::recall;
pub use deck_log::deck_document;
pub use worker::{App, Worker, WorkerError, WorkerSettings};
