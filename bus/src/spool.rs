//! The spool of an ingress: events are safe on this disk before a callback is answered, and go to the broker from here.
//!
//! It is a [`LogFile`] per process, under `<dir>/<n>/`, and a task that forwards it ([`forward`]). A process takes the
//! first directory nobody holds, with whatever a dead one left in it; at start and every ten seconds it also forwards
//! other directories nobody holds, so that a replica that was removed loses nothing. Directories stay; the next
//! process uses them again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::Event;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bus::Appended;
use crate::error::{AppendError, OpenError, RecordError, Unavailable};
use crate::log_file::LogFile;
use crate::nats::{Broker, Durability, SpoolConfig};

mod forward;

use forward::Forward;

/// Processes that may share one spool directory.
const DIRECTORIES_MAX: usize = 256;
const ADOPT_EVERY: Duration = Duration::from_secs(10);
/// What an event takes beside its body.
const ENVELOPE_BYTES: u64 = 512;
/// How long a drain waits for the broker to take what is left.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Spool {
    log: Arc<LogFile>,
    durability: Durability,
    held_bytes: Arc<AtomicU64>,
    bytes_max: u64,
    /// Something did not fit: what the broker has makes room.
    wants_room: Arc<AtomicBool>,
    /// The commit up to which everything has been forwarded.
    forwarded: watch::Receiver<u64>,
    tasks: Mutex<JoinSet<()>>,
}

impl Spool {
    pub(crate) async fn open(config: SpoolConfig, broker: Broker) -> Result<Self, OpenError> {
        let log = Arc::new(open_first_free(&config)?);
        let usual = config.keep.max(config.sync_interval.saturating_mul(4));
        let keep = Keep { usual, least: config.sync_interval.saturating_add(Keep::MARGIN).min(usual) };
        let unreadable =
            |error: Unavailable| OpenError::File { path: log.directory().to_owned(), why: error.to_string() };
        let (forward, forwarded) = Forward::new(Arc::clone(&log), broker.clone(), keep).await.map_err(unreadable)?;
        let (held_bytes, wants_room) = (forward.held_bytes(), forward.wants_room());
        let mut tasks = JoinSet::new();
        tasks.spawn(forward.run());
        tasks.spawn(adopt(config.dir, broker, keep));
        let (durability, bytes_max) = (config.durability, config.bytes_max);
        Ok(Self { log, durability, held_bytes, bytes_max, wants_room, forwarded, tasks: Mutex::new(tasks) })
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether the broker has all there is. Until then whatever comes goes the same way, behind it.
    pub(crate) fn is_forwarded(&self) -> bool {
        *self.forwarded.borrow() >= *self.log.commits().borrow()
    }

    pub(crate) async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        let recorded = self.record_if_it_fits(events).await;
        // Be it that the bound is reached, or that the disk is full, which is one of the reasons why it cannot be written.
        if recorded.is_err() {
            self.wants_room.store(true, Ordering::Relaxed);
        }
        recorded
    }

    async fn record_if_it_fits(&self, events: &[Event]) -> Result<(), RecordError> {
        let sizes: Vec<u64> = events.iter().map(size_of).collect();
        let room = Room::take(&self.held_bytes, sizes.iter().sum(), self.bytes_max)?;
        // The writer writes also when the caller has given up waiting, so the room follows the writer.
        let note = move |recorded: &Result<Vec<Appended>, AppendError>| {
            let Ok(places) = recorded else { return };
            // What was there already takes no room.
            room.keep(sizes.iter().zip(places).filter(|(_, place)| !place.duplicate).map(|(size, _)| size).sum());
        };
        match self.log.append_noting(events, note).await {
            Ok(_) => Ok(()),
            Err(AppendError::Unavailable(error)) => Err(error.into()),
            Err(error @ (AppendError::Conflict { .. } | AppendError::Refused(_))) => {
                Err(Unavailable::new("write to the spool", error).into())
            }
        }
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn healthy(&self) -> Result<(), String> {
        let held = self.held_bytes.load(Ordering::Relaxed);
        if !self.log.is_writable() {
            Err(format!("the spool in {} cannot be written", self.log.directory().display()))
        } else if held >= self.bytes_max {
            Err(format!("the spool in {} is full with {held} bytes", self.log.directory().display()))
        } else {
            Ok(())
        }
    }

    /// Waits a little for the broker to take all, then ends the tasks. What was not taken stays on the disk.
    pub(crate) async fn drain(&self) {
        let committed = *self.log.commits().borrow();
        let mut forwarded = self.forwarded.clone();
        let all = forwarded.wait_for(|upto| *upto >= committed);
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::warn!("the broker has not taken the whole spool; the rest goes out after the next start");
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

/// How long an event stays here after the broker has acknowledged it.
#[derive(Debug, Clone, Copy)]
struct Keep {
    usual: Duration,
    /// Where there is no room for more: by then the broker has it on its own disk, as it says of itself.
    least: Duration,
}

impl Keep {
    /// A broker syncs when it comes to it.
    const MARGIN: Duration = Duration::from_secs(1);
}

/// Room for events on their way to the disk. What was not kept is given back.
struct Room {
    held_bytes: Arc<AtomicU64>,
    size: u64,
}

impl Room {
    fn take(held_bytes: &Arc<AtomicU64>, size: u64, bytes_max: u64) -> Result<Self, RecordError> {
        let room = Self { held_bytes: Arc::clone(held_bytes), size };
        let held = held_bytes.fetch_add(size, Ordering::Relaxed);
        if held.saturating_add(size) > bytes_max {
            return Err(RecordError::Full { held_bytes: held, bytes_max });
        }
        Ok(room)
    }

    /// Keeps what was written.
    fn keep(mut self, written: u64) {
        self.size = self.size.saturating_sub(written);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What an event takes in the spool, nearly: its body, envelope and place in the indexes.
fn size_of(event: &Event) -> u64 {
    ENVELOPE_BYTES + event.data.len() as u64
}

fn open_first_free(config: &SpoolConfig) -> Result<LogFile, OpenError> {
    for number in 0..DIRECTORIES_MAX {
        match LogFile::open(&config.dir.join(number.to_string())) {
            Err(OpenError::Held(_)) => {}
            opened => return opened,
        }
    }
    Err(OpenError::Held(config.dir.clone()))
}

/// Forwards what dead processes left behind, directory by directory.
async fn adopt(dir: PathBuf, broker: Broker, keep: Keep) {
    let mut adopted = JoinSet::new();
    let mut every = tokio::time::interval(ADOPT_EVERY);
    loop {
        tokio::select! {
            _ = every.tick() => for number in 0..DIRECTORIES_MAX {
                match adopt_one(dir.join(number.to_string()), &broker, keep).await {
                    Ok(Some(forward)) => drop(adopted.spawn(forward.run_until_empty())),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "an abandoned spool was not adopted"),
                }
            },
            Some(_) = adopted.join_next() => {}
        }
    }
}

/// `None` when there is no such directory, or somebody holds it.
async fn adopt_one(directory: PathBuf, broker: &Broker, keep: Keep) -> Result<Option<Forward>, Unavailable> {
    const WHAT: &str = "open an abandoned spool";
    if !directory.is_dir() {
        return Ok(None);
    }
    let opened = tokio::task::spawn_blocking(move || LogFile::open(&directory)).await;
    match opened.map_err(|error| Unavailable::new(WHAT, error))? {
        Ok(log) => Forward::new(Arc::new(log), broker.clone(), keep).await.map(|(forward, _)| Some(forward)),
        Err(OpenError::Held(_)) => Ok(None),
        Err(error) => Err(Unavailable::new(WHAT, error)),
    }
}
