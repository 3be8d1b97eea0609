//! Is a backup what runs?

use futures::StreamExt;
use proto::Filter;
use serde::Serialize;

use super::{Backup, BackupError, Extent, ORDER};
use crate::bus::{Bus, Recorded};
use crate::error::Unavailable;

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
}

/// Attributes have no order of their own.
fn sorted(mut recorded: Recorded) -> Recorded {
    recorded.event.extra.sort_unstable();
    recorded
}
