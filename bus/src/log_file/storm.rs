//! The log of a storm: in memory and without a thread, so that a seed is a history, with a gate at every call.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::EventId;
use rusqlite::Connection;
use tokio::sync::watch;

use super::row::{self, Row};
use super::schema;
use super::writer::{self, Command, State};
use crate::error::Unavailable;
use crate::storm::Gate;

/// What lies on the disk, and outlives whoever writes it.
pub(crate) struct Disk {
    books: Mutex<(Connection, State)>,
    /// One for everybody who waits: of many on one, tokio wakes some first by chance.
    waiting: Mutex<Vec<watch::Sender<u64>>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

/// What an ingress has made durable, and the log does not have yet.
pub(crate) type Spool = Arc<Mutex<VecDeque<Vec<Row>>>>;

/// Who writes and reads it.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) disk: Arc<Disk>,
    pub(crate) gate: Gate,
    pub(crate) spool: Option<Spool>,
}

impl Disk {
    pub(crate) fn new() -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::prepare(&mut connection)?;
        let state = State::load(&connection)?;
        Ok(Self { books: Mutex::new((connection, state)), waiting: Mutex::default() })
    }

    /// Hands the oldest of a spool over to the log; false when there is none.
    pub(crate) fn forward(&self, spool: &Spool) -> rusqlite::Result<bool> {
        let Some(rows) = lock(spool).pop_front() else { return Ok(false) };
        self.take(Command::Append { rows, expected: None, reply: Box::new(drop) })?;
        Ok(true)
    }

    fn take(&self, command: Command) -> rusqlite::Result<()> {
        let (connection, state) = &mut *lock(&self.books);
        writer::take(connection, state, &mut vec![command], || self.tell())
    }

    fn tell(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|told| told.receiver_count() > 0);
        waiting.iter().for_each(|told| told.send_modify(|count| *count = count.wrapping_add(1)));
    }
}

/// The events in a spool, oldest first.
pub(crate) fn spooled(spool: &Spool) -> Vec<EventId> {
    lock(spool).iter().flatten().filter_map(|row| EventId::try_from(row::hex(&row.id)).ok()).collect()
}

impl Hand {
    pub(super) fn commits(&self) -> watch::Receiver<u64> {
        let (told, commits) = watch::channel(0);
        lock(&self.disk.waiting).push(told);
        commits
    }

    pub(super) async fn write(&self, command: Command) -> Result<(), Unavailable> {
        let call = match command {
            Command::Append { .. } => "append",
            Command::Change { .. } => "keep",
        };
        let written = self.gate.around(call, async {
            match (command, &self.spool) {
                (Command::Append { rows, expected: None, reply }, Some(spool)) => {
                    lock(spool).push_back(rows);
                    reply(Ok(Vec::new()));
                    Ok(())
                }
                (command, _) => self.disk.take(command),
            }
        });
        written.await.ok_or_else(|| lost(call))?.map_err(|error| Unavailable::new("write to the log", error))
    }

    pub(super) async fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Unavailable> {
        let read = self.gate.around("read", async { query(&lock(&self.disk.books).0) });
        read.await.ok_or_else(|| lost("read"))?.map_err(|error| Unavailable::new("read the log file", error))
    }
}

fn lost(what: &'static str) -> Unavailable {
    Unavailable::new(what, "the storm took it")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
