//! The tables of the file. Changes to them are additions: a log outlives the program that wrote it.

use std::time::Duration;

use proto::Stream;
use rusqlite::Connection;

use super::table;

/// How long a reader waits for SQLite's own short locks.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log before they are moved into the file (16 MB): rarely, since that costs another fsync.
const CHECKPOINT_PAGES: u32 = 4096;
/// The writer's page cache (64 MB): the index of event ids is written to at random places.
const CACHE_KIB: i64 = 65_536;

pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL: a commit returns after the fsync. With NORMAL a power cut could take acknowledged events.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let transaction = connection.transaction()?;
    for stream in Stream::ALL {
        let table = table(stream);
        transaction.execute_batch(&format!(
            "create table if not exists {table} (
                 seq integer primary key,
                 subject integer not null,
                 id blob not null unique,
                 about text not null,
                 source text not null,
                 time text not null,
                 extra text not null,
                 data blob not null
             ) strict;
             create index if not exists {table}_subject on {table} (subject);"
        ))?;
    }
    transaction.execute_batch(
        "create table if not exists subject (number integer primary key, text text not null unique) strict;
         create table if not exists consumer (name text primary key, floor integer not null) strict, without rowid;
         create table if not exists checkpoint (name text primary key, seq integer not null) strict, without rowid;
         create table if not exists dead (
             number integer primary key,
             consumer text not null,
             stream text not null,
             seq integer not null,
             id text not null,
             subject text not null,
             reason text not null,
             at text not null,
             unique (consumer, stream, seq)
         ) strict;
         create table if not exists document (
             name text primary key, revision text not null, bytes blob not null
         ) strict;
         create table if not exists secret (name text primary key, bytes blob not null) strict;",
    )?;
    transaction.commit()
}
