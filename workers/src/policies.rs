//! The policies of the apps, as they lie on the bus: every revision that was ever put in force, and which one is now.
//!
//! The history of an app is a subject of the stream `CONFIG`; the text of a revision is a document named by its content.
//! Putting a revision in force is one event, so that all workers see the same order and nothing is half done.

use bus::{AppendError, Bus, Clock, Unavailable};
use bytes::Bytes;
use jiff::Timestamp;
use policy::Bundle;
use proto::event::json;
use proto::{AppName, Event, EventId, Filter, PolicyOrigin, PolicyPutInForce, Subject};

/// How often somebody else may put one in force first before we give up.
const ATTEMPTS_MAX: usize = 5;

/// A revision that was put in force, at a place in the history.
#[derive(Debug, Clone)]
pub struct PutInForce {
    pub seq: u64,
    pub at: Timestamp,
    pub what: PolicyPutInForce,
}

/// A policy was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    #[error("put a policy in force: others did so at the same time, again and again; try again")]
    Contended,
    #[error("put a policy in force: {0}")]
    Append(AppendError),
    #[error("find the policies: {0}")]
    Unavailable(#[from] Unavailable),
}

/// The histories of all apps.
#[derive(Debug, Clone)]
pub struct Policies {
    bus: Bus,
    clock: Clock,
}

impl Policies {
    pub fn new(bus: Bus, clock: Clock) -> Self {
        Self { bus, clock }
    }

    /// What was ever in force, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn history(&self, app: &AppName) -> Result<Vec<PutInForce>, Unavailable> {
        let mut events = self.bus.events(&Filter::Policy(app.clone()), 0);
        let mut history = Vec::new();
        while let Some(next) = events.next().await? {
            history.extend(PutInForce::read(next.seq, &next.event));
        }
        Ok(history)
    }

    /// The text of a revision.
    ///
    /// # Errors
    /// When the documents cannot be reached, or hold something else under that name.
    pub async fn bundle(&self, revision: &str) -> Result<Option<Bundle>, Unavailable> {
        let found = self.bus.document(&document(revision)).await?;
        // What cannot be read was written by a newer callbus: for this one it is not there.
        Ok(found.and_then(|found| serde_json::from_slice(&found.bytes).ok()))
    }

    /// Keeps the text of a policy that loads, and puts it in force. Whoever comes last decides.
    ///
    /// # Errors
    /// When it was not; the one in force before stays.
    pub async fn put_in_force(
        &self,
        app: &AppName,
        bundle: &Bundle,
        what: PolicyPutInForce,
    ) -> Result<PutInForce, PoliciesError> {
        self.keep(bundle, &what.revision).await?;
        self.announce(app, what).await
    }

    /// Puts it in force only where the app has had no policy yet; `None` where it has.
    ///
    /// # Errors
    /// As [`Policies::put_in_force`].
    pub async fn begin_with(
        &self,
        app: &AppName,
        bundle: &Bundle,
        what: PolicyPutInForce,
    ) -> Result<Option<PutInForce>, PoliciesError> {
        if self.bus.last_seq(&Filter::Policy(app.clone())).await? > 0 {
            return Ok(None);
        }
        self.keep(bundle, &what.revision).await?;
        match self.append(app, &what, 0).await {
            Ok(put) => Ok(Some(put)),
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(error) => Err(PoliciesError::Append(error)),
        }
    }

    /// One event at the end of the history, for a revision whose text is kept already.
    ///
    /// # Errors
    /// As [`Policies::put_in_force`].
    pub async fn announce(&self, app: &AppName, what: PolicyPutInForce) -> Result<PutInForce, PoliciesError> {
        for _ in 0..ATTEMPTS_MAX {
            let last = self.bus.last_seq(&Filter::Policy(app.clone())).await?;
            match self.append(app, &what, last).await {
                Ok(put) => return Ok(put),
                Err(AppendError::Conflict { .. }) => {}
                Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => {
                    return Err(PoliciesError::Append(error));
                }
            }
        }
        Err(PoliciesError::Contended)
    }

    async fn keep(&self, bundle: &Bundle, revision: &str) -> Result<(), Unavailable> {
        self.bus.put_document(&document(revision), Bytes::from(json(bundle))).await.map(drop)
    }

    async fn append(&self, app: &AppName, what: &PolicyPutInForce, after: u64) -> Result<PutInForce, AppendError> {
        let shadow = if what.shadow { "shadow" } else { "" };
        let event = Event {
            id: EventId::of(&["policy", app.as_str(), &after.to_string(), shadow, &what.revision]),
            subject: Subject::Policy(app.clone()),
            about: app.to_string(),
            source: app.to_string(),
            time: self.clock.now(),
            extra: Vec::new(),
            data: Bytes::from(json(what)),
        };
        let appended = self.bus.append(&event, Some(after)).await?;
        Ok(PutInForce { seq: appended.seq, at: event.time, what: what.clone() })
    }
}

impl PutInForce {
    /// Reads an event of the stream `CONFIG`; `None` when it is not about a policy, or of a newer callbus.
    pub(crate) fn read(seq: u64, event: &Event) -> Option<Self> {
        let Subject::Policy(_) = &event.subject else { return None };
        Some(Self { seq, at: event.time, what: serde_json::from_slice(&event.data).ok()? })
    }
}

/// Which of a history is in force, or in its shadow.
pub fn newest(history: &[PutInForce], shadow: bool) -> Option<&PutInForce> {
    history.iter().rev().find(|put| put.what.shadow == shadow).filter(|put| !put.what.revision.is_empty())
}

/// The revision that the configured file was last, if it ever was.
pub fn newest_file(history: &[PutInForce]) -> Option<&PutInForce> {
    history.iter().rev().find(|put| put.what.origin == PolicyOrigin::File)
}

/// Where the text of the revision lies that an event puts in force; none where it ends a shadow.
pub(crate) fn document_of(event: &Event) -> Option<String> {
    let put: PolicyPutInForce = serde_json::from_slice(&event.data).ok()?;
    Some(put.revision).filter(|revision| !revision.is_empty()).map(|revision| document(&revision))
}

fn document(revision: &str) -> String {
    format!("policy/{revision}")
}
