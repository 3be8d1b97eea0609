//! The embedded arm: one file for the log and all that goes with it, and a registry for questions.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use proto::{Event, EventId, Filter, Stream, Subject};
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ask::{Asked, Question, Registry, ServeSpec};
use crate::backup::Position;
use crate::bus::{Appended, ConsumerSpec, DeadLetter, Document, Recorded, Verdict};
use crate::clock::Clock;
use crate::error::{AppendError, AskError, OpenError, ReadError, RecordError, Unavailable};
use crate::lanes::{self, Delivery, Receipt, Settle};
use crate::log_file::LogFile;
use crate::standing::{self, Standing, Works};

/// Events read at a time.
pub(crate) const PAGE: usize = 256;
/// Dead letters answered at most.
pub(crate) const DEAD_LETTERS_MAX: usize = 1000;

/// The embedded log with its consumers, documents and questions.
#[derive(Debug)]
pub struct Embedded {
    log: Arc<LogFile>,
    registry: Arc<Registry>,
    floors: Floors,
    works: Works,
    clock: Clock,
    #[cfg(feature = "storm")]
    gate: crate::storm::Gate,
}

/// How far the consumers of this process are, ahead of what is written down.
type Floors = Arc<Mutex<HashMap<String, u64>>>;

impl Embedded {
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self::over(LogFile::open(directory)?))
    }

    pub(crate) fn open_read_only(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self::over(LogFile::open_read_only(directory)?))
    }

    fn over(log: LogFile) -> Self {
        Self {
            log: Arc::new(log),
            registry: Arc::default(),
            floors: Floors::default(),
            works: Works::default(),
            clock: Clock::System,
            #[cfg(feature = "storm")]
            gate: crate::storm::Gate::open(),
        }
    }

    #[cfg(feature = "storm")]
    pub(crate) fn in_storm(log: LogFile, wire: Arc<Registry>, gate: &crate::storm::Gate, clock: Clock) -> Self {
        Self { registry: wire, clock, gate: gate.clone(), ..Self::over(log) }
    }

    pub(crate) async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        match self.log.append(events).await {
            Ok(_) => Ok(()),
            Err(AppendError::Unavailable(error)) => Err(error.into()),
            Err(error @ (AppendError::Conflict { .. } | AppendError::Refused(_))) => {
                Err(Unavailable::new("write to the log", error).into())
            }
        }
    }

    pub(crate) async fn append(&self, event: &Event, expected: Option<u64>) -> Result<Appended, AppendError> {
        let appended = match expected {
            Some(expected) => self.log.append_expecting(event, expected).await?,
            None => self.log.append(std::slice::from_ref(event)).await?,
        };
        appended.first().copied().ok_or_else(|| AppendError::Refused("no such stream in this log".to_owned()))
    }

    pub(crate) fn read(&self, filter: &Filter, after_seq: u64) -> BoxStream<'static, Result<Recorded, ReadError>> {
        let (log, filter) = (Arc::clone(&self.log), filter.clone());
        let head = async move {
            let up_to = log.last_seq(&filter).await?;
            Ok::<_, ReadError>(pages(log, filter, after_seq, up_to))
        };
        stream::once(head).try_flatten().boxed()
    }

    pub(crate) async fn last_seq(&self, filter: &Filter) -> Result<u64, Unavailable> {
        self.log.last_seq(filter).await
    }

    pub(crate) async fn consume<B, G, H, F>(
        &self,
        spec: ConsumerSpec,
        begin: B,
        handler: H,
        stop: CancellationToken,
    ) -> Result<(), Unavailable>
    where
        B: Fn(CancellationToken) -> G,
        G: Future<Output = Result<(), Unavailable>>,
        H: Fn(Recorded) -> F + Send + Sync + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        if !standing::begun(&begin, &spec.name, &stop).await {
            return Ok(());
        }
        let _work = self.works.enter(&spec.name, None);
        let floor = self.floor(&spec.name).await?;
        let (deliver, deliveries) = mpsc::channel(PAGE);
        let mut feeding = JoinSet::new();
        feeding.spawn(feed(Arc::clone(&self.log), spec.filter, floor, deliver));
        let settle = EmbeddedSettle {
            log: Arc::clone(&self.log),
            consumer: spec.name,
            kept: floor,
            floors: Arc::clone(&self.floors),
            clock: self.clock.clone(),
        };
        lanes::run(deliveries, Settle::Embedded(settle), spec.max_in_flight, Arc::new(handler), stop.clone()).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        match feeding.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(Unavailable::new("read the log file", error)),
            None => Ok(()),
        }
    }

    pub(crate) async fn consumer_standing(&self, filter: &Filter, name: &str) -> Result<Standing, Unavailable> {
        let end = self.log.last_seq(&Filter::All(filter.stream())).await?;
        let (last, floor) = (self.log.last_seq(filter).await?, self.floor(name).await?);
        let ours = self.works.has(name, None);
        // Beyond its last event nothing is for this consumer.
        Ok(Standing { floor: if floor > 0 && floor >= last { floor.max(end) } else { floor }, ours, worked: ours })
    }

    pub(crate) async fn restart_consumer(&self, name: &str, after_seq: u64) -> Result<(), Unavailable> {
        let consumer = name.to_owned();
        let keep = "insert into consumer (name, floor) values (?1, ?2) on conflict (name) do update set floor = ?2";
        self.log.change(move |log| log.execute(keep, params![consumer, after_seq]).map(drop)).await?;
        lock(&self.floors).remove(name);
        Ok(())
    }

    async fn floor(&self, name: &str) -> Result<u64, Unavailable> {
        if let Some(floor) = lock(&self.floors).get(name) {
            return Ok(*floor);
        }
        let name = name.to_owned();
        let find = "select floor from consumer where name = ?1";
        let floor = self.log.query(move |log| log.query_row(find, [name], |row| row.get(0)).optional()).await?;
        Ok(floor.unwrap_or(0))
    }

    pub(crate) async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Unavailable> {
        let consumer = consumer.to_owned();
        let query = "select seq, id, subject, reason, at from
                     (select * from dead where consumer = ?1 order by number desc limit ?2) order by number";
        self.log
            .query(move |log| {
                log.prepare_cached(query)?
                    .query_map(params![consumer, DEAD_LETTERS_MAX], |row| {
                        Ok(DeadLetter {
                            seq: row.get(0)?,
                            id: EventId::try_from(row.get::<_, String>(1)?).ok(),
                            subject: Subject::parse(&row.get::<_, String>(2)?),
                            reason: row.get(3)?,
                            at: row.get::<_, String>(4)?.parse().unwrap_or(Timestamp::UNIX_EPOCH),
                        })
                    })?
                    .collect()
            })
            .await
    }

    pub(crate) async fn checkpoint(&self, name: &str) -> Result<Option<u64>, Unavailable> {
        let name = name.to_owned();
        let find = "select seq from checkpoint where name = ?1";
        self.log.query(move |log| log.query_row(find, [name], |row| row.get(0)).optional()).await
    }

    pub(crate) async fn set_checkpoint(&self, name: &str, seq: u64) -> Result<(), Unavailable> {
        let name = name.to_owned();
        let keep = "insert into checkpoint (name, seq) values (?1, ?2) on conflict (name) do update set seq = ?2";
        self.log.change(move |log| log.execute(keep, params![name, seq]).map(drop)).await
    }

    /// The file itself, for whoever copies events into it at places they have already.
    pub(crate) fn log_file(&self) -> &LogFile {
        &self.log
    }

    /// How far each consumer is. They are callbus's own, which all work on the calls.
    pub(crate) async fn positions(&self) -> Result<Vec<Position>, Unavailable> {
        let query = "select name, floor from consumer order by name";
        let position = |row: &rusqlite::Row<'_>| {
            Ok(Position { name: row.get(0)?, stream: Stream::Calls, floor: row.get(1)?, filters: Vec::new() })
        };
        self.log.query(move |log| log.prepare(query)?.query_map([], position)?.collect()).await
    }

    pub(crate) async fn checkpoints(&self) -> Result<BTreeMap<String, u64>, Unavailable> {
        let query = "select name, seq from checkpoint";
        self.log
            .query(move |log| log.prepare(query)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .await
    }

    pub(crate) async fn document_revisions(&self) -> Result<BTreeMap<String, String>, Unavailable> {
        let query = "select name, revision from document";
        self.log
            .query(move |log| log.prepare(query)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .await
    }

    pub(crate) async fn put_back(&self, recorded: &[Recorded]) -> Result<(), AppendError> {
        let appended = self.log.append_at(recorded).await?;
        match recorded.iter().zip(appended).find(|(_, appended)| appended.duplicate) {
            Some((twice, first)) => Err(twice_in(twice, first.seq)),
            None => Ok(()),
        }
    }

    pub(crate) async fn ask(&self, subject: &str, question: Question, deadline: Instant) -> Result<Bytes, AskError> {
        let asked = self.registry.ask(subject, question, deadline, &self.clock);
        #[cfg(feature = "storm")]
        let asked = async {
            match self.gate.around("ask", asked).await {
                Some(answer) => answer,
                // A question or an answer that is lost is silence.
                None => {
                    tokio::time::sleep_until(deadline).await;
                    Err(AskError::Deadline { subject: subject.to_owned() })
                }
            }
        };
        asked.await
    }

    pub(crate) async fn survey(&self, subject: &str, question: Question, deadline: Instant) -> Vec<Bytes> {
        self.registry.survey(subject, question, deadline, &self.clock).await
    }

    pub(crate) async fn serve<H, F>(
        &self,
        spec: ServeSpec,
        handler: H,
        stop: CancellationToken,
    ) -> Result<(), Unavailable>
    where
        H: Fn(Asked) -> F + Send + Sync + 'static,
        F: Future<Output = Bytes> + Send + 'static,
    {
        self.registry.serve(spec, handler, &self.clock, stop).await;
        Ok(())
    }

    pub(crate) async fn event(&self, stream: Stream, seq: u64) -> Result<Option<Recorded>, Unavailable> {
        Ok(self.log.page(&Filter::All(stream), seq.saturating_sub(1), seq, 1).await?.pop())
    }

    pub(crate) async fn put_secret(&self, name: &str, bytes: Bytes) -> Result<(), Unavailable> {
        let name = name.to_owned();
        let keep = "insert into secret (name, bytes) values (?1, ?2) on conflict (name) do update set bytes = ?2";
        self.log.change(move |log| log.execute(keep, params![name, &bytes[..]]).map(drop)).await
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Option<Bytes>, Unavailable> {
        let name = name.to_owned();
        let find = "select bytes from secret where name = ?1";
        let found = self.log.query(move |log| log.query_row(find, [name], |row| row.get::<_, Vec<u8>>(0)).optional());
        Ok(found.await?.map(Bytes::from))
    }

    pub(crate) async fn forget_secret(&self, name: &str) -> Result<(), Unavailable> {
        let name = name.to_owned();
        self.log.change(move |log| log.execute("delete from secret where name = ?1", [name]).map(drop)).await
    }

    pub(crate) async fn put_document(&self, name: &str, bytes: Bytes) -> Result<String, Unavailable> {
        let revision = revision_of(&bytes);
        let (name, kept) = (name.to_owned(), revision.clone());
        let keep = "insert into document (name, revision, bytes) values (?1, ?2, ?3)
                    on conflict (name) do update set revision = ?2, bytes = ?3";
        self.log.change(move |log| log.execute(keep, params![name, kept, &bytes[..]]).map(drop)).await?;
        Ok(revision)
    }

    pub(crate) async fn document(&self, name: &str) -> Result<Option<Document>, Unavailable> {
        let name = name.to_owned();
        let find = "select revision, bytes from document where name = ?1";
        let document = |row: &rusqlite::Row<'_>| {
            Ok(Document { revision: row.get(0)?, bytes: Bytes::from(row.get::<_, Vec<u8>>(1)?) })
        };
        self.log.query(move |log| log.query_row(find, [name], document).optional()).await
    }

    pub(crate) async fn document_revision(&self, name: &str) -> Result<Option<String>, Unavailable> {
        let name = name.to_owned();
        let find = "select revision from document where name = ?1";
        self.log.query(move |log| log.query_row(find, [name], |row| row.get(0)).optional()).await
    }

    pub(crate) fn healthy(&self) -> Result<(), String> {
        if self.log.is_writable() {
            Ok(())
        } else {
            Err(format!("the log in {} cannot be written", self.log.directory().display()))
        }
    }
}

/// An event that stands in a log at another place.
pub(crate) fn twice_in(recorded: &Recorded, first: u64) -> AppendError {
    AppendError::Refused(format!("the event {} of sequence {} is at {first}", recorded.event.id, recorded.seq))
}

/// SHA-256 in hexadecimal.
pub(crate) fn revision_of(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Pages from after `after` to `up_to`, one in memory at a time.
fn pages(
    log: Arc<LogFile>,
    filter: Filter,
    after: u64,
    up_to: u64,
) -> impl futures::Stream<Item = Result<Recorded, ReadError>> {
    stream::try_unfold(after, move |after| {
        let (log, filter) = (Arc::clone(&log), filter.clone());
        async move {
            if after >= up_to {
                return Ok(None);
            }
            let page = log.page(&filter, after, up_to, PAGE).await?;
            let next = if page.len() < PAGE { up_to } else { page.last().map_or(up_to, |last| last.seq) };
            Ok::<_, ReadError>(Some((stream::iter(page.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
}

/// Hands the consumer everything after its floor, then whatever is committed, for as long as it takes.
async fn feed(
    log: Arc<LogFile>,
    filter: Filter,
    floor: u64,
    deliver: mpsc::Sender<Delivery>,
) -> Result<(), Unavailable> {
    let mut commits = log.commits();
    let mut after = floor;
    loop {
        commits.mark_unchanged();
        let page = log.page(&filter, after, u64::MAX, PAGE).await?;
        let is_all = page.len() < PAGE;
        for recorded in page {
            after = recorded.seq;
            if deliver.send(Delivery { recorded, receipt: Receipt::Embedded }).await.is_err() {
                return Ok(());
            }
        }
        if is_all && commits.changed().await.is_err() {
            return Err(Unavailable::new("consume the log", "its writer has ended"));
        }
    }
}

/// Progress of a consumer of the embedded log: a floor, written when it has moved.
#[derive(Clone)]
pub(crate) struct EmbeddedSettle {
    log: Arc<LogFile>,
    consumer: String,
    kept: u64,
    floors: Floors,
    clock: Clock,
}

impl EmbeddedSettle {
    /// Tells this process at once; the file is told now and then.
    pub(crate) fn note(&self, floor: u64) {
        let mut floors = lock(&self.floors);
        match floors.get_mut(&self.consumer) {
            Some(noted) => *noted = floor.max(*noted),
            None => drop(floors.insert(self.consumer.clone(), floor.max(self.kept))),
        }
    }

    pub(crate) async fn dead(&self, recorded: &Recorded, reason: &str) -> Result<(), Unavailable> {
        let (consumer, seq, id) = (self.consumer.clone(), recorded.seq, recorded.event.id.to_string());
        let (stream, subject) = (recorded.event.subject.stream().name(), recorded.event.subject.to_string());
        let (reason, at) = (reason.to_owned(), self.clock.now().to_string());
        let keep = "insert into dead (consumer, stream, seq, id, subject, reason, at)
                    values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict (consumer, stream, seq) do nothing";
        self.log
            .change(move |log| log.execute(keep, params![consumer, stream, seq, id, subject, reason, at]).map(drop))
            .await
    }

    pub(crate) async fn keep(&mut self, floor: u64) {
        if floor <= self.kept {
            return;
        }
        let consumer = self.consumer.clone();
        let keep = "insert into consumer (name, floor) values (?1, ?2) on conflict (name) do update set floor = ?2";
        match self.log.change(move |log| log.execute(keep, params![consumer, floor]).map(drop)).await {
            Ok(()) => self.kept = floor,
            Err(error) => tracing::warn!(%error, "a consumer's floor was not kept; events may come twice"),
        }
    }
}

fn lock(floors: &Floors) -> MutexGuard<'_, HashMap<String, u64>> {
    floors.lock().unwrap_or_else(PoisonError::into_inner)
}
