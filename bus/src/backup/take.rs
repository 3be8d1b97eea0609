//! Copying a log that goes on being written.

use std::path::Path;

use futures::StreamExt;
use jiff::Timestamp;
use proto::{Filter, Stream};

use super::{BATCH, Backup, BackupError, Extent, Manifest, ORDER, checkpoints, document_revisions, positions};
use crate::bus::Bus;
use crate::embedded::Embedded;
use crate::error::ReadError;
use crate::log_file::{self, LogFile};

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
