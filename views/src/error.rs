//! What can go wrong with the tables, in fragments that fit after "failed to".

use bus::Unavailable;

/// The tables were not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the database URL: {0}; write postgres://user:password@host/database")]
    Url(String),
    #[error("use the tables of views: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("make the tables of views: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("lock {path}: {cause}")]
    Lock { path: String, cause: std::io::Error },
    #[error("write the tables of views: the database did not answer within {within_secs} s")]
    Silent { within_secs: u64 },
    /// The tables were emptied, or somebody else wrote.
    #[error("write the tables of views: they are no longer as we left them")]
    Moved,
    /// A broker lost its newest events, as by a power cut.
    #[error("read on in {stream}: the log has another event at {seq}, or none, than the tables were written from")]
    Lost { stream: &'static str, seq: u64 },
    #[error("read a row of the tables of views: {0}; were they made by another version?")]
    Row(#[from] serde_json::Error),
    #[error("make a file of the rows: {0}")]
    Export(String),
    #[error(transparent)]
    Log(#[from] Unavailable),
}
