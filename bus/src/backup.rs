//! Backups: a copy of the log and of what goes with it, which is itself an embedded log, whatever it was copied from.
//!
//! Beside the file stands a manifest ([`manifest`]), written last and in one step: what it names is the backup, and what
//! the file holds beyond, of a run that did not end, is not. So a second run goes on from where the first ended. Before
//! the first event is copied a manifest stands there too, which says that it is none yet: a log without one is somebody's
//! only log, and is never touched.
//!
//! The order is what makes a copy of a log that goes on be written sound. How far consumers are is asked first, so that
//! all they have written is copied with what they read; the wallets are copied before the calls, so that no posting is
//! there whose call is not. What billing had done in between it does again, and posts nothing twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use proto::{Event, Filter, Stream};
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, Recorded};
use crate::embedded::{Embedded, revision_of};
use crate::error::{AppendError, OpenError, ReadError, Unavailable};
use crate::log_file;

mod compare;
mod manifest;
mod restore;
mod take;

pub use compare::Compared;
pub use manifest::{Extent, Manifest};

/// Events copied at a time.
const BATCH: usize = 500;

/// The order events are copied in: see above.
const ORDER: [Stream; 4] = [Stream::Config, Stream::Wallets, Stream::Deliveries, Stream::Calls];

/// How far a durable consumer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub name: String,
    /// What it reads.
    pub stream: Stream,
    /// All up to this sequence of its stream is done.
    pub floor: u64,
    /// The subjects it is handed; not known of an embedded log, whose consumers are callbus's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
}

/// Why there is no backup, or none that may be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(
        "find a backup in {0}: it has no backup.json; name the directory that `callbus backup` wrote, whose first run has ended"
    )]
    None(String),
    /// What lies there is somebody's log, and may be the only one.
    #[error("back up to {directory}: {why}; name a directory that is empty, or holds a backup of this log")]
    NotABackup { directory: String, why: String },
    #[error("back up to {0}: another backup is being written there; wait until it has ended")]
    Busy(String),
    #[error("use {path}: {why}")]
    File { path: String, why: String },
    #[error("use the backup: {0}; it was damaged or changed, take another one")]
    Damaged(String),
    #[error(
        "go on with the backup: the log's {stream} has another event at sequence {seq}, so it is not the log this backup is of; use another directory"
    )]
    AnotherLog { stream: &'static str, seq: u64 },
    #[error("restore: {0} there already; restore into an empty log, before anything else writes to it")]
    NotEmpty(String),
    #[error(
        "restore: something else writes to {0}, a role or another restore; stop it, empty the log, and restore again"
    )]
    NotAlone(&'static str),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A backup that can be read.
#[derive(Debug)]
pub struct Backup {
    /// What it is a backup of.
    pub manifest: Manifest,
    log: Arc<Embedded>,
}

impl Backup {
    /// Opens a backup for reading. Whether it is whole is for [`Backup::check`] to say.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(directory: &Path) -> Result<Self, BackupError> {
        let finished = Manifest::find(directory)?.filter(Manifest::is_finished);
        let manifest = finished.ok_or_else(|| BackupError::None(directory.display().to_string()))?;
        if !log_file::is_in(directory) {
            return Err(lost_its_log());
        }
        Ok(Self { manifest, log: Arc::new(Embedded::open_read_only(directory)?) })
    }

    /// Reads all of it, and compares it with what the manifest says. `document_of` tells the document without which an
    /// event says nothing: it must be there too.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] with the first thing that is wrong.
    pub async fn check(
        &self,
        document_of: impl Fn(&Event) -> Option<String>,
        read: impl Fn(u64),
    ) -> Result<(), BackupError> {
        for stream in ORDER {
            let (expected, mut extent) = (self.manifest.extent(stream), Extent::default());
            let mut events = self.events(stream);
            while let Some(recorded) = events.next().await {
                let recorded = recorded.map_err(|error| BackupError::Damaged(error.to_string()))?;
                if let Some(name) =
                    document_of(&recorded.event).filter(|name| !self.manifest.documents.contains_key(name))
                {
                    let event = format!("{} at sequence {}", stream.name(), recorded.seq);
                    return Err(BackupError::Damaged(format!("{event} names the document {name}, which is not in it")));
                }
                extent.take(&recorded);
                read(1);
            }
            if extent != expected {
                return Err(BackupError::Damaged(format!(
                    "{} holds {} events up to sequence {} with the digest {}, not {} up to {} with {}",
                    stream.name(),
                    extent.events,
                    extent.last_seq,
                    short(&extent.digest),
                    expected.events,
                    expected.last_seq,
                    short(&expected.digest),
                )));
            }
        }
        for (name, revision) in &self.manifest.documents {
            let document = self.log.document(name).await?;
            if document.map(|document| revision_of(&document.bytes)).as_ref() != Some(revision) {
                return Err(BackupError::Damaged(format!("the document {name} is missing or another one")));
            }
        }
        Ok(())
    }

    /// The events of a stream that belong to the backup.
    fn events(&self, stream: Stream) -> BoxStream<'static, Result<Recorded, ReadError>> {
        let last_seq = self.manifest.extent(stream).last_seq;
        let within = move |recorded: &Result<Recorded, ReadError>| {
            let within = recorded.as_ref().map_or(true, |recorded| recorded.seq <= last_seq);
            std::future::ready(within)
        };
        self.log.read(&Filter::All(stream), 0).take_while(within).boxed()
    }
}

async fn positions(bus: &Bus) -> Result<Vec<Position>, Unavailable> {
    match bus {
        Bus::Embedded(embedded) => embedded.positions().await,
        Bus::Nats(nats) => nats.positions().await,
    }
}

async fn checkpoints(bus: &Bus) -> Result<BTreeMap<String, u64>, Unavailable> {
    match bus {
        Bus::Embedded(embedded) => embedded.checkpoints().await,
        Bus::Nats(nats) => nats.checkpoints().await,
    }
}

async fn document_revisions(bus: &Bus) -> Result<BTreeMap<String, String>, Unavailable> {
    match bus {
        Bus::Embedded(embedded) => embedded.document_revisions().await,
        Bus::Nats(nats) => nats.document_revisions().await,
    }
}

fn lost_its_log() -> BackupError {
    BackupError::Damaged("it has a backup.json and no log.db".to_owned())
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or("of nothing")
}
