//! The worker: asked about a callback, it answers with SVAML and says why.
//!
//! [`Worker`] serves the asks of its apps in the queue group all workers share. For each it gathers the facts the
//! policy needs, lets the policy decide, holds credit where the rule reserves it ([`Till`]), and claims the decision
//! key, so that whoever is asked about the same callback gives the same answer. It writes nothing to the log: the
//! ingress records what it answers.
//!
//! Which policy decides, and what is on the live lists, is followed on the bus ([`control`]); [`policies`] keeps the
//! revisions, [`status`] tells who decides by which. A rule may ask [`elsewhere`]. Behind the log, rules for DICE and
//! notify make named events ([`emit`]).
//! What a leg of a call that we placed is answered is [`placed`] with it.
//! Price lists, whose versions are in the log too, are read and put in force by [`deck_log`].

mod claim;
mod control;
mod decide;
mod decks;
pub mod deck_log;
mod elsewhere;
mod emit;
mod facts;
mod handler;
pub mod placed;
pub mod policies;
mod reserve;
pub mod status;
mod worker;

use bus::ConsumerSpec;
use proto::{Event, Subject};

pub use claim::recall;
pub use deck_log::deck_document;
pub use elsewhere::Asking;
pub use handler::{AppCache, CallHandler, Context, Handler, HandlerError, Handlers};
pub use reserve::{Request, Reserved, Till};
pub use worker::{App, Means, Worker, WorkerError, WorkerSettings};

/// The document without which an event of the stream `CONFIG` says nothing, where there is one.
pub fn document_of(event: &Event) -> Option<String> {
    match &event.subject {
        Subject::Policy(_) => policies::document_of(event),
        Subject::Deck(name) => deck_log::document_of(name, event),
        Subject::List(_)
        | Subject::Call { .. }
        | Subject::Wallet(_)
        | Subject::Destination(_)
        | Subject::Profile(_)
        | Subject::Delivery { .. } => None,
    }
}

/// The durable consumers workers work by.
pub fn consumers() -> Vec<ConsumerSpec> {
    emit::KINDS.into_iter().map(emit::consumer).collect()
}
