//! Ports nobody listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

use anyhow::{Context, Result};

/// Below those the system gives to outgoing connections: between our look and the server's bind nobody takes one.
const PORTS: RangeInclusive<u16> = 11_000..=31_000;

const TRIES: usize = 100;

/// A free port on loopback. Drawn by lot, so that tests side by side hardly ever draw the same.
pub fn free() -> Result<u16> {
    let mut drawn = (0..TRIES).map(|_| fastrand::u16(PORTS));
    drawn.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("find a free port")
}
