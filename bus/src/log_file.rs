//! One SQLite file that holds events in order and does not forget them at a power cut.
//!
//! It is the embedded log, and it is the spool of an ingress. One thread writes ([`writer`]): it takes all appends that
//! wait into one transaction, pays one fsync, and then answers them all. Readers have connections of their own
//! ([`reader`]) and never hold the writer up. The file can be looked into with the `sqlite3` program: one table per
//! stream, ids as blobs, times as text.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use proto::{Event, EventId, Filter, Stream};
use rusqlite::{Connection, OpenFlags, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bus::{Appended, Recorded};
use crate::error::{AppendError, OpenError, Unavailable};

mod reader;
mod row;
mod schema;
#[cfg(feature = "storm")]
pub(crate) mod storm;
mod writer;

use reader::Readers;
use row::Row;
use writer::Command;

const FILE_NAME: &str = "log.db";
const LOCK_NAME: &str = "lock";
/// Commands that may wait for the writer; callers beyond wait for room.
const COMMANDS_WAITING_MAX: usize = 4096;

/// The file, open. Dropping the last handle lets the writer finish and gives the directory free.
#[derive(Debug)]
pub(crate) struct LogFile {
    directory: PathBuf,
    hands: Hands,
}

/// Who works on the file.
#[derive(Debug)]
enum Hands {
    Threads(Threads),
    /// Whoever calls: no thread, no disk, and a gate at every call.
    #[cfg(feature = "storm")]
    Storm(storm::Hand),
}

#[derive(Debug)]
struct Threads {
    /// `None` when opened for reading only.
    commands: Option<mpsc::Sender<Command>>,
    commits: watch::Receiver<u64>,
    readers: Readers,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl LogFile {
    /// Opens the file in `directory`, both made when missing, and holds the directory against other processes.
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        let at = |source| OpenError::Directory { path: directory.to_owned(), source };
        make_directory(directory)?;
        let lock = File::create(directory.join(LOCK_NAME)).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Held(directory.to_owned())),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        let path = directory.join(FILE_NAME);
        let bad = |error: rusqlite::Error| OpenError::File { path: path.clone(), why: error.to_string() };
        let mut connection = Connection::open(&path).map_err(bad)?;
        schema::prepare(&mut connection).map_err(bad)?;
        schema::limit(&connection).map_err(bad)?;
        let state = writer::State::load(&connection).map_err(bad)?;

        let (commands, waiting) = mpsc::channel(COMMANDS_WAITING_MAX);
        // What a process before this one has left counts as the first.
        let (committed, commits) = watch::channel(1);
        // The thread owns the lock, so that the directory is free only after the last commit.
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer::run(connection, state, waiting, &committed, lock))
            .map_err(at)?;
        Ok(Self {
            directory: directory.to_owned(),
            hands: Hands::Threads(Threads {
                commands: Some(commands),
                commits,
                readers: Readers::new(path),
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    /// Opens an existing file for reading, while another process may be writing it.
    pub(crate) fn open_read_only(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(FILE_NAME);
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|connection| connection.query_row("select count(*) from subject", [], |_| Ok(())))
            .map_err(|error| OpenError::File { path: path.clone(), why: error.to_string() })?;
        let (_, commits) = watch::channel(0);
        Ok(Self {
            directory: directory.to_owned(),
            hands: Hands::Threads(Threads {
                commands: None,
                commits,
                readers: Readers::new(path),
                writer: Mutex::new(None),
            }),
        })
    }

    #[cfg(feature = "storm")]
    pub(crate) fn in_storm(hand: storm::Hand) -> Self {
        Self { directory: PathBuf::new(), hands: Hands::Storm(hand) }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends all events or none, in this order, and returns once they are on the disk.
    pub(crate) async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, AppendError> {
        self.append_noting(events, |_| {}).await
    }

    /// As [`LogFile::append`], and tells `note` how it ended, also when the caller has gone by then. `note` is dropped
    /// uncalled when nothing was written.
    pub(crate) async fn append_noting(
        &self,
        events: &[Event],
        note: impl FnOnce(&Result<Vec<Appended>, AppendError>) + Send + 'static,
    ) -> Result<Vec<Appended>, AppendError> {
        self.append_rows(events.iter().map(Row::of).collect(), None, note).await
    }

    /// Appends events of another log at the places they had there, which must lie behind all that is here.
    pub(crate) async fn append_at(&self, recorded: &[Recorded]) -> Result<Vec<Appended>, AppendError> {
        self.append_rows(recorded.iter().map(Row::at).collect(), None, |_| {}).await
    }

    /// Appends one event if its subject still ends at `expected` (0: has no event yet).
    pub(crate) async fn append_expecting(&self, event: &Event, expected: u64) -> Result<Vec<Appended>, AppendError> {
        self.append_rows(vec![Row::of(event)], Some(expected), |_| {}).await
    }

    async fn append_rows(
        &self,
        rows: Vec<Row>,
        expected: Option<u64>,
        note: impl FnOnce(&Result<Vec<Appended>, AppendError>) + Send + 'static,
    ) -> Result<Vec<Appended>, AppendError> {
        let (tell, answer) = oneshot::channel();
        let reply = Box::new(move |result| {
            note(&result);
            // Who no longer waits does not mind.
            drop(tell.send(result));
        });
        self.send(Command::Append { rows, expected, reply }).await?;
        answer.await.map_err(|_| writer_gone())?
    }

    /// Runs a small change to the file's other tables, within the next commit.
    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Change { change: Box::new(change), reply }).await?;
        answer.await.map_err(|_| writer_gone())?
    }

    async fn send(&self, command: Command) -> Result<(), Unavailable> {
        match &self.hands {
            Hands::Threads(Threads { commands: Some(commands), .. }) => {
                commands.send(command).await.map_err(|_| writer_gone())
            }
            Hands::Threads(Threads { commands: None, .. }) => {
                Err(Unavailable::new("write to the log", "it is open for reading only"))
            }
            #[cfg(feature = "storm")]
            Hands::Storm(hand) => hand.write(command).await,
        }
    }

    /// Up to `limit` events after `after` and up to `up_to`; fewer than `limit` means there are no more.
    pub(crate) async fn page(
        &self,
        filter: &Filter,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Unavailable> {
        let filter = filter.clone();
        self.query(move |connection| reader::page(connection, &filter, after, up_to, limit)).await
    }

    pub(crate) async fn last_seq(&self, filter: &Filter) -> Result<u64, Unavailable> {
        let filter = filter.clone();
        self.query(move |connection| reader::last_seq(connection, &filter)).await
    }

    /// Whether an event stands in a stream, anywhere.
    pub(crate) async fn has(&self, stream: Stream, id: &EventId) -> Result<bool, Unavailable> {
        let (find, id) = (format!("select 1 from {} where id = ?1", table(stream)), row::id_bytes(id));
        self.query(move |connection| connection.prepare_cached(&find)?.exists([id])).await
    }

    /// Brings everything into the one file, for whoever copies it; nobody may have it open.
    pub(crate) fn bring_into_one_file(directory: &Path) -> Result<(), OpenError> {
        let path = directory.join(FILE_NAME);
        let brought = Connection::open(&path).and_then(|connection| {
            connection.pragma_update(None, "wal_checkpoint", "truncate")?;
            connection.close().map_err(|(_, error)| error)
        });
        brought.map_err(|error| OpenError::File { path, why: error.to_string() })
    }

    /// Reads the file's other tables.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        match &self.hands {
            Hands::Threads(threads) => threads.readers.query(query).await,
            #[cfg(feature = "storm")]
            Hands::Storm(hand) => hand.query(query).await,
        }
    }

    /// Changes with every commit; for those who wait for more events.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        match &self.hands {
            Hands::Threads(threads) => threads.commits.clone(),
            #[cfg(feature = "storm")]
            Hands::Storm(hand) => hand.commits(),
        }
    }

    /// Whether the writer still runs.
    pub(crate) fn is_writable(&self) -> bool {
        match &self.hands {
            Hands::Threads(threads) => threads.commands.as_ref().is_some_and(|commands| !commands.is_closed()),
            #[cfg(feature = "storm")]
            Hands::Storm(_) => true,
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.commands = None;
        let writer = self.writer.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // At most one commit long: nobody can send any more. Whoever opens the directory next finds it free.
            let _ = writer.join();
        }
    }
}

fn writer_gone() -> Unavailable {
    Unavailable::new("write to the log", "its writer has ended; see the errors before")
}

/// Makes the directory of a file, when it is missing.
pub(crate) fn make_directory(directory: &Path) -> Result<(), OpenError> {
    // It holds phone numbers: nobody else's business on a shared machine.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| OpenError::Directory { path: directory.to_owned(), source })
}

/// Whether a directory has such a file.
pub(crate) fn is_in(directory: &Path) -> bool {
    // Also one that cannot be looked at, or leads nowhere: it is nobody's to write over.
    !matches!(fs::symlink_metadata(directory.join(FILE_NAME)), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Whether two directories have the same file, by whatever paths they were named.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let file = |directory: &Path| fs::metadata(directory.join(FILE_NAME)).ok().map(|file| (file.dev(), file.ino()));
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// The table of a stream.
pub(crate) fn table(stream: Stream) -> String {
    stream.name().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Subject, WalletId};

    fn posting(text: &str) -> Event {
        let wallet = WalletId::new("w").unwrap();
        Event {
            id: EventId::of(&[text]),
            subject: Subject::Wallet(wallet),
            about: "w".to_owned(),
            source: "billing".to_owned(),
            time: jiff::Timestamp::UNIX_EPOCH,
            extra: Vec::new(),
            data: bytes::Bytes::new(),
        }
    }

    #[tokio::test]
    async fn a_failed_commit_fails_all_in_it_and_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        let log = LogFile::open(directory.path()).unwrap();
        let (one, two) = ([posting("1")], [posting("2")]);
        // Sent together, so in one commit or in two; the event that is answered *appended* is there, no other.
        let broken = log.change(|log| log.execute("insert into nowhere values (1)", []).map(drop));
        let (broken, appended) = tokio::join!(broken, log.append(&one));
        assert!(broken.is_err());
        let filter = Filter::All(Stream::Wallets);
        let there = log.page(&filter, 0, u64::MAX, 10).await.unwrap();
        assert_eq!(there.len(), usize::from(appended.is_ok()));
        let next = log.append(&two).await.unwrap();
        assert_eq!(next[0].seq, there.len() as u64 + 1);
        assert_eq!(log.append(&two).await.unwrap(), [Appended { seq: next[0].seq, duplicate: true }]);
    }
}
