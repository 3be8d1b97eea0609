//! What a backup holds, in a file that is written last and in one step.

use std::collections::BTreeMap;
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
    /// When the copy was begun: what came later may not be in it.
    pub taken_at: Timestamp,
    /// By the stream's name.
    pub streams: BTreeMap<String, Extent>,
    /// Name and revision.
    pub documents: BTreeMap<String, String>,
    pub checkpoints: BTreeMap<String, u64>,
    pub consumers: Vec<Position>,
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
    pub(super) fn new(taken_at: Timestamp, checkpoints: BTreeMap<String, u64>, consumers: Vec<Position>) -> Self {
        let (streams, documents) = (BTreeMap::new(), BTreeMap::new());
        Self { version: VERSION, taken_at, streams, documents, checkpoints, consumers }
    }

    /// What of a stream is in the backup.
    pub fn extent(&self, stream: Stream) -> Extent {
        self.streams.get(stream.name()).cloned().unwrap_or_default()
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.streams.values().map(|extent| extent.events).sum()
    }

    pub(super) fn set_extent(&mut self, stream: Stream, extent: Extent) {
        self.streams.insert(stream.name().to_owned(), extent);
    }

    /// `None` when no backup has ended here yet.
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
        Ok(Some(manifest))
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), BackupError> {
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
