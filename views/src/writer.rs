//! The one writer: a connection with a lock that dies with it.
//!
//! Of several processes that keep the tables, one has the lock and writes; the others stand by. The lock spares work;
//! what makes each event count once is the cursor, which moves in the transaction that writes the rows, and only from
//! where the writer believes it.

use std::fs::File;
use std::time::Duration;

use proto::Stream;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};
use tokio::time::timeout;

use crate::batch::Statements;
use crate::error::Error;
use crate::store::{Cursor, Store, migrator, sqlite_options};
use crate::table::Engine;

/// A batch is written within this, or the database counts as gone.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// Names the lock among all of the database.
const LOCK: i64 = 0x0063_616c_6c62_7573;

#[derive(Debug)]
pub(crate) enum Writer {
    Sqlite {
        connection: SqliteConnection,
        /// Held, not used.
        _lock: File,
    },
    Postgres {
        connection: PgConnection,
    },
}

impl Writer {
    /// Takes the lock and sees that the tables are there; nothing when another process has it.
    pub(crate) async fn open(store: &Store) -> Result<Option<Self>, Error> {
        match store {
            Store::Sqlite { path, .. } => {
                let lock_path = path.with_extension("lock");
                let failed = |cause| Error::Lock { path: lock_path.display().to_string(), cause };
                // The directory may be as new as the process.
                path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
                let lock = File::create(&lock_path).map_err(failed)?;
                match lock.try_lock() {
                    Ok(()) => {}
                    Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                    Err(std::fs::TryLockError::Error(cause)) => return Err(failed(cause)),
                }
                let mut connection = sqlite_options(path).create_if_missing(true).connect().await?;
                migrator().run_direct(None, &mut connection, false).await?;
                Ok(Some(Self::Sqlite { connection, _lock: lock }))
            }
            Store::Postgres { options, .. } => {
                let mut connection = options.connect().await?;
                let ours = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK);
                if !ours.fetch_one(&mut connection).await? {
                    return Ok(None);
                }
                // What a crash takes is made again: the cursor goes with its rows.
                sqlx::query("set synchronous_commit = off").execute(&mut connection).await?;
                migrator().run_direct(None, &mut connection, false).await?;
                Ok(Some(Self::Postgres { connection }))
            }
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite { .. } => Engine::Sqlite,
            Self::Postgres { .. } => Engine::Postgres,
        }
    }

    pub(crate) async fn write(
        &mut self,
        stream: Stream,
        from: u64,
        to: &Cursor,
        statements: Statements,
    ) -> Result<(), Error> {
        let written = timeout(WRITTEN_WITHIN, self.write_now(stream, from, to, statements)).await;
        written.unwrap_or(Err(Error::Silent { within_secs: WRITTEN_WITHIN.as_secs() }))
    }

    async fn write_now(&mut self, stream: Stream, from: u64, to: &Cursor, statements: Statements) -> Result<(), Error> {
        let (stream, from, to, id) = (stream.name(), from.cast_signed(), to.seq.cast_signed(), to.id.as_deref());
        let advance = "update view_cursors set seq = $1, id = $2 where stream = $3 and seq = $4";
        match self {
            Self::Sqlite { connection, .. } => {
                let mut writing = connection.begin_with("begin immediate").await?;
                let moved = sqlx::query(advance).bind(to).bind(id).bind(stream).bind(from);
                let moved = moved.execute(&mut *writing).await?;
                if moved.rows_affected() != 1 {
                    return Err(Error::Moved);
                }
                for (sql, rows) in statements {
                    sqlx::query(AssertSqlSafe(sql)).bind(rows).execute(&mut *writing).await?;
                }
                writing.commit().await?;
            }
            Self::Postgres { connection } => {
                let mut writing = connection.begin().await?;
                let moved = sqlx::query(advance).bind(to).bind(id).bind(stream).bind(from);
                let moved = moved.execute(&mut *writing).await?;
                if moved.rows_affected() != 1 {
                    return Err(Error::Moved);
                }
                for (sql, rows) in statements {
                    sqlx::query(AssertSqlSafe(sql)).bind(rows).execute(&mut *writing).await?;
                }
                writing.commit().await?;
            }
        }
        Ok(())
    }
}
