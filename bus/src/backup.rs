//! Backups: a copy of the log and of what goes with it, which is itself an embedded log, whatever it was copied from.
//!
//! Beside the file stands a manifest ([`manifest`]), written last and in one step: what it names is the backup, and what
//! the file holds beyond, of a run that did not end, is not. So a second run goes on from where the first ended.
//!
//! The order is what makes a copy of a log that goes on be written sound. How far consumers are is asked first, so that
//! all they have written is copied with what they read; the wallets are copied before the calls, so that no posting is
//! there whose call is not. What billing had done in between it does again, and posts nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use proto::{Filter, Kind, Stream};
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, ConsumerSpec, Recorded};
use crate::embedded::{Embedded, revision_of};
use crate::error::{AppendError, OpenError, ReadError, Unavailable};
use crate::log_file::LogFile;
use crate::nats::{Begin, Subscription};

mod manifest;

pub use manifest::{Extent, Manifest};

/// Events copied at a time.
const BATCH: usize = 500;

/// The order events are copied in: see above.
const ORDER: [Stream; 3] = [Stream::Config, Stream::Wallets, Stream::Calls];

/// How far a durable consumer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub name: String,
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

/// How the events of a stream in a backup compare with a log that goes on.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    pub stream: &'static str,
    pub backup: Extent,
    /// The same events, by place and content, as far as the backup goes.
    pub same: u64,
    /// Where the log ends now.
    pub last_seq: u64,
    /// The first that differs.
    pub difference: Option<String>,
}

impl Backup {
    /// Copies what is new in the log to `directory`, and says what is there now. Of the documents, those that are
    /// `made_from_log` are left out: a log makes its own. `copied` hears of each batch.
    ///
    /// # Errors
    /// When something cannot be read or written: the backup that was there stays as it was. Two runs at once are refused.
    pub async fn take(
        bus: &Bus,
        directory: &Path,
        now: Timestamp,
        made_from_log: impl Fn(&str) -> bool,
        copied: impl Fn(u64),
    ) -> Result<Manifest, BackupError> {
        let kept = Embedded::open(directory)?;
        let before = Manifest::find(directory)?;
        let mut manifest = Manifest::new(now, checkpoints(bus).await?, positions(bus).await?);
        for stream in ORDER {
            let extent = before.as_ref().map(|before| before.extent(stream)).unwrap_or_default();
            manifest.set_extent(stream, copy(bus, kept.log_file(), stream, extent, &copied).await?);
        }
        let there = kept.document_revisions().await?;
        for (name, revision) in document_revisions(bus).await? {
            if there.get(&name) != Some(&revision)
                && !made_from_log(&name)
                && let Some(document) = bus.document(&name).await?
            {
                kept.put_document(&name, document.bytes).await?;
            }
        }
        manifest.documents = kept.document_revisions().await?;
        drop(kept);
        LogFile::close(directory)?;
        manifest.write(directory)?;
        Ok(manifest)
    }

    /// Opens a backup for reading. Whether it is whole is for [`Backup::check`] to say.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(directory: &Path) -> Result<Self, BackupError> {
        let manifest = Manifest::find(directory)?.ok_or_else(|| BackupError::None(directory.display().to_string()))?;
        Ok(Self { manifest, log: Arc::new(Embedded::open_read_only(directory)?) })
    }

    /// Reads all of it, and compares it with what the manifest says.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] with the first thing that is wrong.
    pub async fn check(&self, read: impl Fn(u64)) -> Result<(), BackupError> {
        for stream in ORDER {
            let (expected, mut extent) = (self.manifest.extent(stream), Extent::default());
            let mut events = self.events(stream);
            while let Some(recorded) = events.next().await {
                extent.take(&recorded.map_err(|error| BackupError::Damaged(error.to_string()))?);
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

    /// Puts all of it into an empty log: every event at its place. Of `consumers`, those that were there go on from where
    /// they were, and so do consumers of other programs where the log has any.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] and [`BackupError::NotEmpty`] before anything is written. After any other error the log
    /// is half restored: empty it, and restore again.
    pub async fn restore(&self, to: &Bus, consumers: &[ConsumerSpec], done: impl Fn(u64)) -> Result<(), BackupError> {
        for stream in ORDER {
            let last_seq = to.last_seq(&Filter::All(stream)).await?;
            if last_seq > 0 {
                return Err(BackupError::NotEmpty(format!("events of {} up to {last_seq} are", stream.name())));
            }
        }
        // Of a log that was: what they say would be believed of this one.
        if !document_revisions(to).await?.is_empty() || !checkpoints(to).await?.is_empty() {
            return Err(BackupError::NotEmpty("documents or checkpoints are".to_owned()));
        }
        self.check(|_| {}).await?;
        for name in self.manifest.documents.keys() {
            if let Some(document) = self.log.document(name).await? {
                to.put_document(name, document.bytes).await?;
            }
        }
        for stream in ORDER {
            let mut batches = self.events(stream).try_chunks(BATCH);
            let mut after = 0;
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(|error| error.1)?;
                put_back(to, &batch, after).await?;
                after = batch.last().map_or(after, |last| last.seq);
                done(batch.len() as u64);
            }
        }
        for (name, seq) in &self.manifest.checkpoints {
            to.set_checkpoint(name, *seq).await?;
        }
        for position in &self.manifest.consumers {
            self.place(to, consumers, position).await?;
        }
        Ok(())
    }

    /// Lets a consumer go on from where it was.
    async fn place(&self, to: &Bus, consumers: &[ConsumerSpec], position: &Position) -> Result<(), BackupError> {
        // What stood twice at the end of a log is not in the backup: its place is the next event's now.
        let floor = |stream| position.floor.min(self.manifest.extent(stream).last_seq);
        if let Some(spec) = consumers.iter().find(|spec| spec.name == position.name) {
            to.restart_consumer(spec, floor(spec.filter.stream())).await?;
        } else if let (Bus::Nats(_), Some(kinds)) = (to, kinds(&position.filters)) {
            let begin = Begin::At(floor(Stream::Calls) + 1);
            to.subscribe(&Subscription { name: position.name.clone(), kinds, begin }).await?;
        }
        Ok(())
    }

    /// Compares the backup with a log that goes on: has it the same events, as far as the backup goes?
    ///
    /// # Errors
    /// When one of them cannot be read. A difference is no error.
    pub async fn compare(&self, live: &Bus) -> Result<Vec<Compared>, BackupError> {
        let mut compared = Vec::new();
        for stream in ORDER {
            let backup = self.manifest.extent(stream);
            let last_seq = live.last_seq(&Filter::All(stream)).await?;
            let (mut ours, mut theirs) = (self.events(stream), live.events(&Filter::All(stream), 0));
            let (mut same, mut difference) = (0, None);
            let mut their = theirs.next().await?;
            while let Some(our) = ours.next().await.transpose()? {
                while let Some(extra) = their.take_if(|their| their.seq < our.seq) {
                    // What a log holds twice stands in the backup once.
                    if !self.has(&extra).await? {
                        difference.get_or_insert_with(|| format!("sequence {} is not in the backup", extra.seq));
                    }
                    their = theirs.next().await?;
                }
                let seq = our.seq;
                if their.take_if(|their| their.seq == seq).map(sorted) == Some(sorted(our)) {
                    same += 1;
                } else {
                    difference.get_or_insert_with(|| format!("sequence {seq} is another event, or none"));
                }
                if their.is_none() {
                    their = theirs.next().await?;
                }
            }
            compared.push(Compared { stream: stream.name(), backup, same, last_seq, difference });
        }
        Ok(compared)
    }

    async fn has(&self, recorded: &Recorded) -> Result<bool, Unavailable> {
        let event = &recorded.event;
        self.log.log_file().has(event.subject.stream(), &event.id).await
    }

    /// The events of a stream that belong to the backup.
    fn events(&self, stream: Stream) -> futures::stream::BoxStream<'static, Result<Recorded, ReadError>> {
        let last_seq = self.manifest.extent(stream).last_seq;
        let within = move |recorded: &Result<Recorded, ReadError>| {
            let within = recorded.as_ref().map_or(true, |recorded| recorded.seq <= last_seq);
            std::future::ready(within)
        };
        self.log.read(&Filter::All(stream), 0).take_while(within).boxed()
    }
}

/// Copies what a stream has beyond what the backup has of it.
async fn copy(
    bus: &Bus,
    file: &LogFile,
    stream: Stream,
    mut extent: Extent,
    copied: &impl Fn(u64),
) -> Result<Extent, BackupError> {
    let (all, last_seq) = (Filter::All(stream), extent.last_seq);
    let table = crate::log_file::table(stream);
    file.change(move |log| log.execute(&format!("delete from {table} where seq > ?1"), [last_seq]).map(drop)).await?;
    let mut events = bus.read(&all, last_seq.saturating_sub(1));
    if last_seq > 0 {
        let ours = file.page(&all, last_seq - 1, last_seq, 1).await?;
        let theirs = events.next().await.transpose()?;
        if theirs.as_ref().map(|it| (it.seq, &it.event.id)) != ours.first().map(|it| (it.seq, &it.event.id)) {
            return Err(BackupError::AnotherLog { stream: stream.name(), seq: last_seq });
        }
    }
    let mut batches = events.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let mut wanted = Vec::with_capacity(batch.len());
        for recorded in batch {
            match recorded {
                Ok(recorded) => wanted.push(recorded),
                // Callbus did not write it, and needs it no more than its readers do.
                Err(ReadError::NotAnEvent { seq, why }) => {
                    tracing::warn!(stream = stream.name(), seq, why, "not an event, and not copied");
                }
                Err(error @ ReadError::Unavailable(_)) => return Err(error.into()),
            }
        }
        for (recorded, appended) in wanted.iter().zip(file.append_at(&wanted).await?) {
            // The same event again, from a spool that sent all it had: who folds the log passes it over as well.
            if !appended.duplicate {
                extent.take(recorded);
            }
        }
        copied(wanted.len() as u64);
    }
    Ok(extent)
}

async fn put_back(to: &Bus, recorded: &[Recorded], after: u64) -> Result<(), AppendError> {
    match to {
        Bus::Embedded(embedded) => embedded.put_back(recorded).await,
        Bus::Nats(nats) => nats.put_back(recorded, after).await,
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

/// What somebody's consumer of the calls is handed; `None` for one that is not of the calls, or of our own making.
fn kinds(filters: &[String]) -> Option<Vec<Kind>> {
    if filters == [Stream::Calls.subjects()] {
        return Some(Vec::new());
    }
    let of = |filter: &String| Kind::ALL.into_iter().find(|kind| Filter::Kind(*kind).patterns() == [filter.as_str()]);
    let kinds: BTreeSet<Kind> = filters.iter().map(of).collect::<Option<_>>()?;
    (!kinds.is_empty()).then(|| kinds.into_iter().collect())
}

/// Attributes have no order of their own.
fn sorted(mut recorded: Recorded) -> Recorded {
    recorded.event.extra.sort_unstable();
    recorded
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or("of nothing")
}
