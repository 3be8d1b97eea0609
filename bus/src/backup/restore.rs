//! Putting a backup into an empty log.

use futures::{StreamExt, TryStreamExt};
use proto::{Filter, Stream};

use super::{BATCH, Backup, BackupError, ORDER, Position, checkpoints, document_revisions};
use crate::bus::{Bus, ConsumerSpec, Recorded};
use crate::error::AppendError;
use crate::nats::Begin;

/// What consumers of other programs read begins so.
const CALLS: &str = "calls.v1.";

impl Backup {
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
        } else if let Bus::Nats(nats) = to
            && position.filters.iter().all(|filter| filter.starts_with(CALLS))
        {
            let begin = Begin::At(floor(Stream::Calls) + 1);
            nats.subscribe_to(&position.name, position.filters.clone(), begin).await?;
        }
        Ok(())
    }
}

async fn put_back(to: &Bus, recorded: &[Recorded], after: u64) -> Result<(), AppendError> {
    match to {
        Bus::Embedded(embedded) => embedded.put_back(recorded).await,
        Bus::Nats(nats) => nats.put_back(recorded, after).await,
    }
}
