//! The guarded HTTP client: whatever callbus calls because somebody wrote a URL into a policy or a form.
//!
//! Who may write a URL must not thereby reach what only this machine can reach: its own ports, the private network, a
//! cloud's metadata. So a URL is checked when it is saved ([`Outbound::check`]) and again when it is called
//! ([`Outbound::send`]), by one [`Guard`]; a name is resolved once per connection, and the addresses that passed are
//! the ones connected to. Redirects are not followed, no proxy is taken from the environment, nothing is decompressed,
//! and everything is bounded: the time in all, heads, bodies, look-ups, idle connections.
//!
//! [`Platform`] asks Sinch's own REST API through it, at the address of the configuration.
//!
//! `http` is allowed beside `https`: what callbus forwards is signed, and many a server stands behind a tunnel.

mod client;
mod error;
mod guard;
mod names;
mod platform;
#[cfg(test)]
mod tests;

pub use client::{Outbound, OutboundSettings, Reply, Request, check_header};
pub use error::{BadUrl, OpenError, Refused, SendError};
pub use guard::{Guard, check_url};
pub use ipnet::IpNet;
pub use platform::{Callout, NotCalled, NotTold, Platform};
pub use reqwest::{Method, Url};
