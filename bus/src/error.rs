//! What can go wrong on the bus, in fragments that fit after "failed to".

use std::path::PathBuf;

/// The log or the broker did not do what was asked, or not in time. Trying again later may help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Unavailable {
    what: &'static str,
    why: String,
}

impl Unavailable {
    pub(crate) fn new(what: &'static str, why: impl ToString) -> Self {
        Self { what, why: why.to_string() }
    }
}

/// The bus could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open {}: another callbus process holds it; stop it or use another data_dir", .0.display())]
    Held(PathBuf),
    #[error("open {}: {source}; check that the directory exists and can be written", .path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("open {}: {why}; it is not a callbus log, or it is damaged", .path.display())]
    File { path: PathBuf, why: String },
    #[error("connect to the broker at {url}: {why}")]
    Broker { url: String, why: String },
    #[error("use the broker at {url}: {why}")]
    Setting { url: String, why: String },
}

/// Events could not be made durable. None of them may be acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    #[error("record in the spool: it holds {held_bytes} of at most {bytes_max} bytes; the broker must take some first")]
    Full { held_bytes: u64, bytes_max: u64 },
    #[error("record: {0}")]
    Unavailable(#[from] Unavailable),
}

/// An event was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else wrote to the subject first: read it again and decide again.
    #[error("append: the subject has moved on to sequence {actual:?}")]
    Conflict { actual: Option<u64> },
    /// The broker will never take this event.
    #[error("append: refused for good: {0}")]
    Refused(String),
    #[error("append: {0}")]
    Unavailable(#[from] Unavailable),
}

/// The log could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Something in the log was not written by callbus. Reading goes on behind it.
    #[error("read sequence {seq} of the log: {why}")]
    NotAnEvent { seq: u64, why: String },
    #[error("read the log: {0}")]
    Unavailable(#[from] Unavailable),
}

/// A question got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// Nobody serves the subject; known at once.
    #[error("ask {subject}: nobody serves it")]
    NoResponder { subject: String },
    #[error("ask {subject}: no answer before the deadline")]
    Deadline { subject: String },
    /// Whoever was asked has its hands full; another may not.
    #[error("ask {subject}: the server is busy")]
    Busy { subject: String },
    #[error("ask: {0}")]
    Unavailable(#[from] Unavailable),
}
