//! What can go wrong on the way out, in fragments that fit after "failed to". A URL may hold a token in its path or
//! query, so only its host is named.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("set up the HTTP client: {0}; on Linux, is the package ca-certificates installed?")]
    Client(String),
}

/// The address is not one that strangers may have called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is not called: it lies in {network} ({range}); to call it all the same, name that network or a smaller \
     one in `allow`"
)]
pub struct Refused {
    pub address: IpAddr,
    pub network: IpNet,
    /// What the network is for.
    pub range: &'static str,
}

/// A URL that is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("it is no URL: {0}; write it as https://host/path")]
    Syntax(String),
    #[error("it has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("{0:?} is not called; write an https or http URL")]
    Scheme(String),
    #[error(
        "http is not called, since anybody on the way reads it; write https, or have it allowed: `plain_http = true`, or \
         an address whose network is in `allow`"
    )]
    Plain,
    #[error("it holds a user or a password; send them in a header")]
    Credentials,
    #[error("{0}")]
    Refused(#[from] Refused),
}

/// A request that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("call the URL: {0}")]
    Url(BadUrl),
    /// No address of the host is one that may be called.
    #[error("call {host}: {refused}")]
    Refused { host: String, refused: Refused },
    #[error("send the header {name:?}: {why}")]
    Header { name: String, why: &'static str },
    #[error("resolve {host}: {why}")]
    Resolve { host: String, why: String },
    #[error("connect to {host}: {why}")]
    Connect { host: String, why: String },
    #[error("trust {host}: {why}")]
    Tls { host: String, why: String },
    #[error("call {host}: no answer within {within:?}")]
    Timeout { host: String, within: Duration },
    #[error("read the answer of {host}: its body is larger than {bytes_max} bytes")]
    TooLarge { host: String, bytes_max: usize },
    /// The connection broke, or what came was not HTTP.
    #[error("talk to {host}: {why}")]
    Http { host: String, why: String },
}
