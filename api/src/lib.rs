//! The REST API: what calls did and why, what wallets hold, which price lists are in use.
//!
//! [`Api`] is the listener. Everything under `/v1` needs the bearer [`Token`]; `/healthz` does not. The tables of
//! `views` are asked for [`calls`] and [`cdrs`], and [`standing`] says how far they are; all else is read from the log
//! on request, where [`wallets`] keep a fold of all balances and [`flagged`] one of the calls to look at. Calls are placed ([`placing`]) by an event, too. Changes are
//! asked of whoever owns them: top-ups of billing, [`decks`] of the bus's documents, [`rejected`] of the ingress;
//! [`policies`] and [`lists`] are changed by an event each, which workers follow. [`Metrics`] is a listener of its own,
//! for machines that watch. Phone numbers are [`masked`] unless a request says `reveal=1`. Every status stands in
//! [`problem`]. The table of [`routes`] is also the [`openapi`] document.

mod server;
mod routes;
mod openapi;
mod token;
mod problem;
mod address;
mod body;
mod reply;
mod calls;
mod cdrs;
mod flagged;
mod standing;
mod why;
mod masked;
mod placing;
mod form;
mod wallet_statement;
mod wallets;
mod wallet_list;
mod decks;
mod destinations;
mod deliveries;
mod profiles;
mod policies;
mod lists;
pub mod rejected;
mod metrics;

pub use metrics::{Metrics, MetricsError};
pub use server::{Api, ApiSettings, BuildError};
pub use token::{BadToken, Token};
