//! Against servers of the test's own on the loopback, which is then allowed, and must not be where it is not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::names::{self, Lookup};
use crate::{IpNet, Outbound, OutboundSettings};

mod bounds;
mod exchange;
mod guard;
mod platform;
mod server;
mod tls;

/// What a test may reach besides the public internet.
fn settings(allow: &[&str]) -> Result<OutboundSettings> {
    let allow = allow.iter().map(|network| network.parse::<IpNet>()).collect::<Result<_, _>>()?;
    Ok(OutboundSettings { allow, plain_http: true, user_agent: "callbus/test".to_owned() })
}

/// Calls the loopback under any name.
fn open() -> Result<Outbound> {
    open_with(&["127.0.0.1/32"], |_| vec![Ipv4Addr::LOCALHOST.into()])
}

/// Names are looked up in the test's own book, which is told how often it was asked.
fn open_with(allow: &[&str], lookup: impl Fn(usize) -> Vec<IpAddr> + Send + Sync + 'static) -> Result<Outbound> {
    let asked = AtomicUsize::new(0);
    let lookup: Lookup = Arc::new(move |_| Ok(lookup(asked.fetch_add(1, Ordering::SeqCst))));
    Ok(Outbound::with(settings(allow)?, lookup, Vec::new())?)
}

/// Looks names up as the system does.
fn open_system(allow: &[&str]) -> Result<Outbound> {
    Ok(Outbound::with(settings(allow)?, Arc::new(names::system), Vec::new())?)
}
