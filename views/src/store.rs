//! The database: a file of SQLite, or PostgreSQL by URL. For those who read; who writes has a
//! [`Writer`](crate::writer).

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use proto::Stream;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use crate::error::Error;
use crate::table::Engine;

/// The file in a data directory.
const FILE: &str = "views.db";

/// Connections for those who read.
const CONNECTIONS_MAX: u32 = 4;
/// How long somebody waits for one; a database that is away is tried for as long.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// How long a file waits for whoever writes it.
const LOCKED_WITHIN: Duration = Duration::from_secs(5);

const TABLES: &str = include_str!("../migrations/1_tables.sql");
const CURSOR_IDS: &str = include_str!("../migrations/2_cursor_ids.sql");
const DELIVERIES: &str = include_str!("../migrations/3_deliveries.sql");
const TOLD: &str = include_str!("../migrations/4_told.sql");
const PLACED: &str = include_str!("../migrations/5_placed.sql");

/// Where the tables are. Clones share the connections; none is made before it is needed.
#[derive(Debug, Clone)]
pub enum Store {
    Sqlite { path: PathBuf, pool: SqlitePool },
    Postgres { options: Box<PgConnectOptions>, pool: PgPool },
}

/// A place in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub seq: u64,
    /// The event there; unknown where it is no event.
    pub id: Option<String>,
}

/// A value for a place in a statement.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    Text(String),
    Integer(i64),
}

impl Store {
    /// A file in a directory, made when somebody writes.
    pub fn sqlite(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECTED_WITHIN)
            .connect_lazy_with(sqlite_options(&path).create_if_missing(false));
        Self::Sqlite { path, pool }
    }

    /// A database of PostgreSQL: `postgres://user:password@host/database`. It may be away for now.
    ///
    /// # Errors
    /// When it is not such a URL.
    pub fn postgres(url: &str) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url).map_err(|error| Error::Url(error.to_string()))?;
        // Times come back as text in the zone of the session.
        let options = options.application_name("callbus-views").options([("timezone", "UTC")]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECTED_WITHIN)
            .connect_lazy_with(options.clone());
        Ok(Self::Postgres { options: Box::new(options), pool })
    }

    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite { .. } => Engine::Sqlite,
            Self::Postgres { .. } => Engine::Postgres,
        }
    }

    /// Up to where a stream is in the tables.
    ///
    /// # Errors
    /// When the database cannot be reached, or has no tables yet.
    pub async fn seq(&self, stream: Stream) -> Result<u64, Error> {
        Ok(self.cursor(stream).await?.seq)
    }

    /// The same, and the event that is there.
    pub(crate) async fn cursor(&self, stream: Stream) -> Result<Cursor, Error> {
        let find = AssertSqlSafe(format!("select seq, id from view_cursors where stream = '{}'", stream.name()));
        let (seq, id): (i64, Option<String>) = match self {
            Self::Sqlite { pool, .. } => sqlx::query_as(find).fetch_one(pool).await,
            Self::Postgres { pool, .. } => sqlx::query_as(find).fetch_one(pool).await,
        }?;
        Ok(Cursor { seq: seq.unsigned_abs(), id })
    }

    /// Empties the tables: they are made again from the beginning of the log by whoever keeps them.
    ///
    /// # Errors
    /// When the database cannot be reached, or has no tables yet.
    pub async fn clear(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite { pool, .. } => {
                let mut writing = pool.begin_with("begin immediate").await?;
                for emptied in ["calls", "decisions", "cdr_legs", "wallet_entries", "deliveries"] {
                    sqlx::query(AssertSqlSafe(format!("delete from {emptied}"))).execute(&mut *writing).await?;
                }
                sqlx::query("update view_cursors set seq = 0, id = null").execute(&mut *writing).await?;
                writing.commit().await?;
            }
            Self::Postgres { pool, .. } => {
                let mut writing = pool.begin().await?;
                // First the cursors: in the order in which the writer takes its locks.
                sqlx::query("update view_cursors set seq = 0, id = null").execute(&mut *writing).await?;
                sqlx::query("truncate calls, decisions, cdr_legs, wallet_entries, deliveries")
                    .execute(&mut *writing)
                    .await?;
                writing.commit().await?;
            }
        }
        Ok(())
    }

    /// The rows of a statement that gives one JSON object for each.
    pub(crate) async fn rows(&self, sql: String, arguments: Vec<Argument>) -> Result<Vec<String>, Error> {
        let sql = AssertSqlSafe(sql);
        let rows = match self {
            Self::Sqlite { pool, .. } => {
                let query = arguments.into_iter().fold(sqlx::query_scalar(sql), |query, argument| match argument {
                    Argument::Text(text) => query.bind(text),
                    Argument::Integer(integer) => query.bind(integer),
                });
                query.fetch_all(pool).await
            }
            Self::Postgres { pool, .. } => {
                let query = arguments.into_iter().fold(sqlx::query_scalar(sql), |query, argument| match argument {
                    Argument::Text(text) => query.bind(text),
                    Argument::Integer(integer) => query.bind(integer),
                });
                query.fetch_all(pool).await
            }
        };
        Ok(rows?)
    }
}

pub(crate) fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // What a power cut takes is made again: the cursor goes with its rows.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(LOCKED_WITHIN)
}

/// What makes the tables. Each migration is for ever; a change is a new one.
pub(crate) fn migrator() -> Migrator {
    let tables = Migration::new(1, "tables".into(), MigrationType::Simple, TABLES.into_sql_str(), false);
    let ids = Migration::new(2, "cursor ids".into(), MigrationType::Simple, CURSOR_IDS.into_sql_str(), false);
    let deliveries = Migration::new(3, "deliveries".into(), MigrationType::Simple, DELIVERIES.into_sql_str(), false);
    let told = Migration::new(4, "told".into(), MigrationType::Simple, TOLD.into_sql_str(), false);
    let placed = Migration::new(5, "placed".into(), MigrationType::Simple, PLACED.into_sql_str(), false);
    Migrator::with_migrations(vec![tables, ids, deliveries, told, placed])
}
