//! What a backup holds, in a file that is written in one step: before the first run as one that is no backup yet, and at
//! the end of each run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use jiff::Timestamp;
use proto::Stream;
use serde::{Deserialize, Serialize};

use super::{BackupError, Position};
use crate::bus::Recorded;
use crate::embedded::revision_of;

const NAME: &str = "backup.json";
const VERSION: u32 = 1;

/// `backup.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// Not before the first run has ended: until then there is no backup.
    finished: bool,
    /// When the copy was begun: what came later may not be in it.
    pub taken_at: Timestamp,
    /// By the stream's name.
    pub streams: BTreeMap<String, Extent>,
    /// Name and revision.
    pub documents: BTreeMap<String, String>,
    pub checkpoints: BTreeMap<String, u64>,
    pub consumers: Vec<Position>,
    /// SHA-256 over all the rest.
    digest: String,
}

/// What of a stream is in the backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    pub events: u64,
    pub last_seq: u64,
    /// SHA-256 over all of them in order, each with the digest before it; empty when there are none.
    pub digest: String,
}

impl Manifest {
    /// Of a backup whose first run has begun.
    pub(super) fn begun(taken_at: Timestamp) -> Self {
        Self {
            version: VERSION,
            finished: false,
            taken_at,
            streams: Stream::ALL.map(|stream| (stream.name().to_owned(), Extent::default())).into(),
            documents: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            consumers: Vec::new(),
            digest: String::new(),
        }
    }

    /// Of a run that has ended.
    pub(super) fn finished(
        taken_at: Timestamp,
        extents: impl IntoIterator<Item = (Stream, Extent)>,
        documents: BTreeMap<String, String>,
        mut checkpoints: BTreeMap<String, u64>,
        mut consumers: Vec<Position>,
    ) -> Self {
        let mut manifest = Self { finished: true, documents, ..Self::begun(taken_at) };
        manifest.streams.extend(extents.into_iter().map(|(stream, extent)| (stream.name().to_owned(), extent)));
        // What stood twice at the end of a log is not in the backup: its place is the next event's now.
        for position in &mut consumers {
            let last_seq = manifest.extent(position.stream).last_seq;
            position.floor = position.floor.min(last_seq);
            if let Some(checkpoint) = checkpoints.get_mut(&position.name) {
                *checkpoint = (*checkpoint).min(last_seq + 1);
            }
        }
        Self { checkpoints, consumers, ..manifest }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// What of a stream is in the backup.
    pub fn extent(&self, stream: Stream) -> Extent {
        self.streams.get(stream.name()).cloned().unwrap_or_default()
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.streams.values().map(|extent| extent.events).sum()
    }

    /// `None` when no backup was begun here.
    pub(super) fn find(directory: &Path) -> Result<Option<Self>, BackupError> {
        let path = directory.join(NAME);
        let bad = |why: String| BackupError::File { path: path.display().to_string(), why };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(error.to_string())),
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(bad(format!("it is of version {}, this callbus reads version {VERSION}", manifest.version)));
        }
        manifest.hold_together()?;
        Ok(Some(manifest))
    }

    /// Nothing was changed, nothing is missing, and nobody is beyond the end.
    fn hold_together(&self) -> Result<(), BackupError> {
        let damaged = |why: String| Err(BackupError::Damaged(format!("backup.json {why}")));
        if self.digest != self.digest_of_the_rest() {
            return damaged("is not as it was written".to_owned());
        }
        if !self.streams.keys().map(String::as_str).eq(BTreeSet::from(Stream::ALL.map(Stream::name))) {
            return damaged("names other streams than those of a log".to_owned());
        }
        for Position { name, stream, floor, .. } in &self.consumers {
            let last_seq = self.extent(*stream).last_seq;
            if *floor > last_seq {
                return damaged(format!("has {name} at {floor} of {}, which ends at {last_seq}", stream.name()));
            }
            // It is where to begin, so it may be the next.
            if let Some(checkpoint) = self.checkpoints.get(name).filter(|checkpoint| **checkpoint > last_seq + 1) {
                let ends = format!("{} ends at {last_seq}", stream.name());
                return damaged(format!("has the checkpoint of {name} at {checkpoint}, and {ends}"));
            }
        }
        Ok(())
    }

    fn digest_of_the_rest(&self) -> String {
        // Maps of text and numbers always have a JSON form.
        revision_of(&serde_json::to_vec(&Self { digest: String::new(), ..self.clone() }).unwrap_or_default())
    }

    pub(super) fn write(&mut self, directory: &Path) -> Result<(), BackupError> {
        self.digest = self.digest_of_the_rest();
        let (path, beside) = (directory.join(NAME), directory.join("backup.json.new"));
        let written = (|| {
            let mut file = File::create(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(directory)?.sync_all()
        })();
        written.map_err(|error: std::io::Error| BackupError::File {
            path: path.display().to_string(),
            why: error.to_string(),
        })
    }
}

impl Extent {
    /// One more event, behind those before.
    pub(super) fn take(&mut self, recorded: &Recorded) {
        let event = &recorded.event;
        let mut headers = event.headers();
        headers.sort_unstable();
        // Each part with its length, so that none can pass for a piece of another.
        let mut bytes = Vec::with_capacity(event.data.len() + 512);
        let mut part = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        };
        part(self.digest.as_bytes());
        part(&recorded.seq.to_be_bytes());
        part(event.subject.to_string().as_bytes());
        for (name, value) in &headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(&event.data);
        *self = Self { events: self.events + 1, last_seq: recorded.seq, digest: revision_of(&bytes) };
    }
}
