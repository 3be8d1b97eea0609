//! Copying a log that goes on being written.

use std::path::Path;

use futures::StreamExt;
use jiff::Timestamp;
use proto::{Filter, Stream};

use super::{
    BATCH, Backup, BackupError, Extent, Manifest, ORDER, checkpoints, document_revisions, lost_its_log, positions,
};
use crate::bus::Bus;
use crate::embedded::Embedded;
use crate::error::{OpenError, ReadError};
use crate::log_file::{self, LogFile};

impl Backup {
    /// Copies what is new in the log to `directory`, and says what is there now. Of the documents, those that are
    /// `made_from_log` are left out: a log makes its own. `copied` hears of each batch.
    ///
    /// # Errors
    /// When something cannot be read or written: the backup that was there stays as it was. Two runs at once are refused,
    /// and so is a directory that holds anything but a backup of this log.
    pub async fn take(
        bus: &Bus,
        directory: &Path,
        now: Timestamp,
        made_from_log: impl Fn(&str) -> bool,
        copied: impl Fn(u64),
    ) -> Result<Manifest, BackupError> {
        let (kept, before) = open(bus, directory, now)?;
        // Before anything goes: what is beyond the backup must be in the log as well.
        for stream in ORDER {
            may_clear(bus, directory, kept.log_file(), stream, before.extent(stream).last_seq).await?;
        }
        let (checkpoints, consumers) = (checkpoints(bus).await?, positions(bus).await?);
        let mut extents = Vec::with_capacity(ORDER.len());
        for stream in ORDER {
            extents.push((stream, copy(bus, kept.log_file(), stream, before.extent(stream), &copied).await?));
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
        let mut documents = kept.document_revisions().await?;
        documents.retain(|name, _| !made_from_log(name));
        drop(kept);
        LogFile::bring_into_one_file(directory)?;
        let mut manifest = Manifest::finished(now, extents, documents, checkpoints, consumers);
        manifest.write(directory)?;
        Ok(manifest)
    }
}

/// Opens a directory for a run, if it is empty or holds a backup, and says what that has.
fn open(bus: &Bus, directory: &Path, now: Timestamp) -> Result<(Embedded, Manifest), BackupError> {
    let refused = |why: &str| {
        let directory = directory.display().to_string();
        Err(BackupError::NotABackup { directory, why: why.to_owned() })
    };
    if let Bus::Embedded(log) = bus
        && log_file::is_same(log.log_file().directory(), directory)
    {
        return refused("it is the log itself");
    }
    match (Manifest::find(directory)?, log_file::is_in(directory)) {
        (None, true) => return refused("it has a log.db and no backup.json, so it is a log and no backup of one"),
        (None, false) => {
            log_file::make_directory(directory)?;
            Manifest::begun(now).write(directory)?;
        }
        (Some(manifest), false) if manifest.is_finished() => return Err(lost_its_log()),
        (Some(_), true | false) => {}
    }
    let kept = Embedded::open(directory).map_err(|error| match error {
        OpenError::Held(held) => BackupError::Busy(held.display().to_string()),
        OpenError::Directory { .. } | OpenError::File { .. } | OpenError::Broker { .. } | OpenError::Setting { .. } => {
            error.into()
        }
    })?;
    // Once more, now that nobody else writes there.
    match Manifest::find(directory)? {
        Some(manifest) => Ok((kept, manifest)),
        None => Err(BackupError::None(directory.display().to_string())),
    }
}

/// What a run that broke off has left beyond the backup will be copied again. Whatever the log does not have at that
/// place, somebody has written here who took the backup for a log; then this is the only one that has it.
async fn may_clear(
    bus: &Bus,
    directory: &Path,
    file: &LogFile,
    stream: Stream,
    last_seq: u64,
) -> Result<(), BackupError> {
    let all = Filter::All(stream);
    let (mut after, end) = (last_seq, file.last_seq(&all).await?);
    if after >= end {
        return Ok(());
    }
    let mut theirs = bus.events(&all, after);
    while after < end {
        let page = file.page(&all, after, end, BATCH).await?;
        for ours in &page {
            let mut their = theirs.next().await?;
            while their.as_ref().is_some_and(|their| their.seq < ours.seq) {
                their = theirs.next().await?;
            }
            if their.as_ref().map(|their| (their.seq, &their.event.id)) != Some((ours.seq, &ours.event.id)) {
                let (stream, seq) = (stream.name(), ours.seq);
                let why =
                    format!("behind the backup it has an event of {stream} at sequence {seq} that the log has not");
                return Err(BackupError::NotABackup { directory: directory.display().to_string(), why });
            }
        }
        after = if page.len() < BATCH { end } else { page.last().map_or(end, |last| last.seq) };
    }
    Ok(())
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
    let table = log_file::table(stream);
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
