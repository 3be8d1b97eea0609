//! Putting a backup into an empty log.

use futures::{StreamExt, TryStreamExt};
use proto::{Event, Filter, Stream};

use super::{BATCH, Backup, BackupError, ORDER, Position, checkpoints, document_revisions};
use crate::bus::{Bus, ConsumerSpec, Recorded};
use crate::error::AppendError;
use crate::nats::Begin;

impl Backup {
    /// Checks it ([`Backup::check`]), and puts all of it into an empty log: every event at its place. Of `consumers`, those that were there go on from where
    /// they were, and so do consumers of other programs where the log has any.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] and [`BackupError::NotEmpty`] before anything is written. After any other error the log
    /// is half restored: empty it, and restore again.
    pub async fn restore(
        &self,
        to: &Bus,
        consumers: &[ConsumerSpec],
        document_of: impl Fn(&Event) -> Option<String>,
        done: impl Fn(u64),
    ) -> Result<(), BackupError> {
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
        self.check(document_of, |_| {}).await?;
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
                put_back(to, &batch, after).await.map_err(|error| of_put_back(stream, error))?;
                after = batch.last().map_or(after, |last| last.seq);
                done(batch.len() as u64);
            }
        }
        for (name, seq) in &self.manifest.checkpoints {
            to.set_checkpoint(name, *seq).await?;
        }
        for position in &self.manifest.consumers {
            place(to, consumers, position).await?;
        }
        Ok(())
    }
}

/// Lets a consumer go on from where it was.
async fn place(to: &Bus, consumers: &[ConsumerSpec], position: &Position) -> Result<(), BackupError> {
    let Position { name, stream, floor, filters } = position;
    if let Some(spec) = consumers.iter().find(|spec| spec.name == *name && spec.filter.stream() == *stream) {
        to.restart_consumer(spec, *floor).await?;
        return Ok(());
    }
    match (to, stream) {
        (Bus::Nats(nats), Stream::Calls) if !filters.is_empty() => {
            nats.subscribe_to(name, filters.clone(), Begin::At(floor + 1)).await?;
        }
        (Bus::Embedded(_), _)
        | (Bus::Nats(_), Stream::Calls | Stream::Wallets | Stream::Config | Stream::Deliveries) => {
            tracing::warn!(name, stream = stream.name(), floor, "a consumer of another program was not brought back");
        }
    }
    Ok(())
}

/// The log was empty, and every event has its place: whatever is in the way has been written meanwhile.
fn of_put_back(stream: Stream, error: AppendError) -> BackupError {
    match error {
        AppendError::Conflict { .. } => BackupError::NotAlone(stream.name()),
        AppendError::Refused(_) | AppendError::Unavailable(_) => error.into(),
    }
}

async fn put_back(to: &Bus, recorded: &[Recorded], after: u64) -> Result<(), AppendError> {
    match to {
        Bus::Embedded(embedded) => embedded.put_back(recorded).await,
        Bus::Nats(nats) => nats.put_back(recorded, after).await,
    }
}
