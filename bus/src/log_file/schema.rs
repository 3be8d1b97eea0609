//! The tables of the file. Changes to them are additions: a log outlives the program that wrote it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proto::Stream;
use rusqlite::Connection;

use super::table;

/// How long a reader waits for SQLite's own short locks.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log before they are moved into the file (16 MB): rarely, since that costs another fsync.
const CHECKPOINT_PAGES: u32 = 4096;
/// Left free for the write-ahead log, and for moving it into the file: its pages, and half as much for what one commit
/// may add beyond them.
const AHEAD_BYTES: u64 = 24 * 1024 * 1024;
/// As many as SQLite can count.
const PAGES_MAX: u64 = 4_294_967_294;
/// The writer's page cache (64 MB): the index of event ids is written to at random places.
const CACHE_KIB: i64 = 65_536;

/// Keeps the file so small that the write-ahead log always finds room on the disk. Without it nothing could be deleted
/// either, and a disk that was full once would stay so.
pub(super) fn limit(connection: &Connection) -> rusqlite::Result<()> {
    let Some(file) = connection.path().filter(|path| !path.is_empty()) else { return Ok(()) };
    let Some(disk) = Path::new(file).parent().and_then(|directory| rustix::fs::statvfs(directory).ok()) else {
        return Ok(());
    };
    let length = |file: String| fs::metadata(file).map_or(0, |file| file.len());
    let ours = length(file.to_owned()) + length(format!("{file}-wal"));
    let room = (disk.f_bavail.saturating_mul(disk.f_frsize) + ours).saturating_sub(AHEAD_BYTES);
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // SQLite takes what the file has already for the least.
    let pages = (room / page_bytes.max(1)).clamp(1, PAGES_MAX);
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

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
