//! The bus: one set of promises, two arms that keep them.

use std::borrow::Cow;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use proto::event::TRACEPARENT;
use proto::{Event, EventId, Filter, Stream, Subject};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use crate::ask::{Asked, Question, ServeSpec};
use crate::embedded::Embedded;
use crate::error::{AppendError, AskError, OpenError, ReadError, RecordError, Unavailable};
use crate::events::Events;
use crate::nats::{Lag, Nats, NatsConfig, Piece, Subscribed, Subscription};
use crate::standing::Standing;
use crate::trace;

/// The log, the questions and the documents. Clones share one connection.
#[derive(Debug, Clone)]
pub enum Bus {
    /// One file, one process, no server.
    Embedded(Arc<Embedded>),
    /// A NATS server or cluster with JetStream.
    Nats(Arc<Nats>),
}

/// An event with its place in the log. Sequences grow within a stream; they may have gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub seq: u64,
    pub event: Event,
}

/// Where an appended event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub seq: u64,
    /// The event was there before; `seq` is its first place.
    pub duplicate: bool,
}

/// A durable consumer: its name remembers how far it is, across restarts and replicas.
#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    /// Letters, digits, `-` and `_`. Of several processes that consume under one name, one works and the others
    /// stand by.
    pub name: String,
    pub filter: Filter,
    /// Handlers that run at the same time, each on a lane of its own.
    pub max_in_flight: usize,
    /// Somebody works it also when there is nothing new, because there is more to do than to handle events: the last
    /// event comes again to whoever is to begin. Without, a consumer with nothing to do may be nobody's. Only a
    /// consumer that never had an event is left alone.
    pub always_worked: bool,
}

/// What a handler says about an event it was handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Handled; not to come again.
    Done,
    /// Not yet: the same event again after this long. Its lane waits, the others go on.
    Retry(Duration),
    /// Never: put aside with this reason, and on with the next.
    Dead(String),
}

/// An event a consumer has put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub seq: u64,
    /// Empty where the log held something that is not an event.
    pub id: Option<EventId>,
    pub subject: Option<Subject>,
    pub reason: String,
    pub at: Timestamp,
}

/// A versioned document, such as a rate deck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// SHA-256 of the bytes, in hexadecimal.
    pub revision: String,
    pub bytes: Bytes,
}

impl Bus {
    /// Opens the log in `directory` and holds the directory against other processes.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be written.
    pub fn embedded(directory: &Path) -> Result<Self, OpenError> {
        Embedded::open(directory).map(|embedded| Self::Embedded(Arc::new(embedded)))
    }

    /// Opens the log in `directory` for reading, also while another process writes it. Whatever would write fails.
    ///
    /// # Errors
    /// When there is no log in it.
    pub fn embedded_read_only(directory: &Path) -> Result<Self, OpenError> {
        Embedded::open_read_only(directory).map(|embedded| Self::Embedded(Arc::new(embedded)))
    }

    /// Connects to the broker, makes the streams that are missing, and opens the spool where one is asked for.
    ///
    /// # Errors
    /// When the broker cannot be reached or its settings cannot carry callbus.
    pub async fn nats(config: NatsConfig) -> Result<Self, OpenError> {
        Nats::connect(config).await.map(|nats| Self::Nats(Arc::new(nats)))
    }

    /// Makes events durable, all or none: once this returns they will be in the log, in this order within each lane,
    /// whatever happens next. What an ingress calls before it answers.
    ///
    /// With a spool an event may be in the log twice: after a broker's restart everything still kept is sent again,
    /// which may be older than the broker's window of two minutes for duplicates. Both have the same event id, and
    /// who folds the log refuses the second.
    ///
    /// # Errors
    /// When nothing was made durable; the callback must not be acknowledged.
    pub async fn record(&self, mut events: Vec<Event>) -> Result<(), RecordError> {
        let span = info_span!(
            target: trace::TARGET, "record", { trace::SPAN_KIND } = "producer", { trace::EVENTS } = events.len()
        );
        trace::stamp(&span, &mut events);
        let recorded = async {
            match self {
                Self::Embedded(embedded) => embedded.record(&events).await,
                Self::Nats(nats) => nats.record(events).await,
            }
        };
        recorded.instrument(span).await
    }

    /// Puts an event into the log and says where it stands. With `expected_last_seq` it is refused unless that is
    /// still the last sequence of exactly its subject (0: the subject has none yet).
    ///
    /// When the event is a duplicate *and* the expected sequence is wrong, either answer may come.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when somebody else wrote first.
    pub async fn append(&self, event: &Event, expected_last_seq: Option<u64>) -> Result<Appended, AppendError> {
        let span = info_span!(
            target: trace::TARGET, "append",
            { trace::SPAN_KIND } = "producer", { trace::KIND } = event.subject.event_type()
        );
        let mut event = Cow::Borrowed(event);
        if !span.is_disabled() {
            trace::stamp(&span, slice::from_mut(event.to_mut()));
        }
        let appended = async {
            match self {
                Self::Embedded(embedded) => embedded.append(&event, expected_last_seq).await,
                Self::Nats(nats) => nats.append(&event, expected_last_seq).await,
            }
        };
        appended.instrument(span).await
    }

    /// All events after `after_seq` up to where the log ends now, in order; then the stream ends.
    ///
    /// # Errors
    /// An item may be [`ReadError::NotAnEvent`], after which reading goes on; [`ReadError::Unavailable`] ends it.
    pub fn read(&self, filter: &Filter, after_seq: u64) -> BoxStream<'static, Result<Recorded, ReadError>> {
        match self {
            Self::Embedded(embedded) => embedded.read(filter, after_seq),
            Self::Nats(nats) => nats.read(filter, after_seq),
        }
    }

    /// As [`Bus::read`], but passes over what is not an event: for those who fold what callbus wrote, and have nobody
    /// to tell of what else lies there. Consumers put it aside as a dead letter.
    pub fn events(&self, filter: &Filter, after_seq: u64) -> Events {
        Events::new(self.read(filter, after_seq), after_seq)
    }

    /// The sequence of the last event under the filter; 0 when there is none.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn last_seq(&self, filter: &Filter) -> Result<u64, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.last_seq(filter).await,
            Self::Nats(nats) => nats.last_seq(filter).await,
        }
    }

    /// Hands every event under the spec's filter to `handler`, from where the consumer's name left off, until `stop`.
    ///
    /// At least once: after a crash all that was not done comes again. Events of one lane ([`Subject::lane`]) come one
    /// after another, lanes side by side. On `stop` what runs is finished, then this returns.
    ///
    /// A lane that retries for long holds only itself until a thousand events wait behind it; then the whole consumer
    /// waits. Put aside ([`Verdict::Dead`]) or hand on what cannot be done soon.
    ///
    /// `begin` is for those who keep state in memory: another process may have worked the consumer since, so what is
    /// remembered must be made good from the log, up to [`Bus::consumer_floor`]. It is awaited each time this process
    /// becomes the one that works, while no handler runs and before the first event is handed over. On the embedded
    /// log that is once per call. On NATS it is at every new pin, also when this process lost the pin and is given it
    /// again; and a pin is only given with an event, so a consumer with nothing to do is nobody's, unless the spec wants
    /// it [`ConsumerSpec::always_worked`]. When `begin` fails it is tried again after a pause, and nothing is handed
    /// over meanwhile. It is dropped where it waits when `stop` comes or the pin is lost.
    ///
    /// The token `begin` is given ends with that work: what it has started on its own ends by it.
    ///
    /// # Errors
    /// When the log cannot be consumed; what was not done comes again with the next call.
    pub async fn consume<B, G, H, F>(
        &self,
        spec: ConsumerSpec,
        begin: B,
        handler: H,
        stop: CancellationToken,
    ) -> Result<(), Unavailable>
    where
        B: Fn(CancellationToken) -> G + Send + Sync + 'static,
        G: Future<Output = Result<(), Unavailable>> + Send + 'static,
        H: Fn(Recorded) -> F + Send + Sync + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        match self {
            Self::Embedded(embedded) => embedded.consume(spec, begin, handler, stop).await,
            Self::Nats(nats) => nats.consume(spec, begin, handler, stop).await,
        }
    }

    /// How far a consumer is, and whether this process (this bus and its clones) works it now. Both may lag behind the
    /// truth by a moment: who was just replaced may still read `ours`, so whatever is written on the strength of it
    /// needs an expected sequence.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn consumer_standing(&self, filter: &Filter, name: &str) -> Result<Standing, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.consumer_standing(filter, name).await,
            Self::Nats(nats) => nats.consumer_standing(filter, name).await,
        }
    }

    /// All events of the consumer's filter up to this sequence are done; 0 for a consumer that has not begun. May lag
    /// behind the truth by a moment.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn consumer_floor(&self, filter: &Filter, name: &str) -> Result<u64, Unavailable> {
        self.consumer_standing(filter, name).await.map(|standing| standing.floor)
    }

    /// Has a consumer begin after a sequence, whether or not it was there before: for one that takes over from another.
    /// Nobody may be working it.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn restart_consumer(&self, spec: &ConsumerSpec, after_seq: u64) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.restart_consumer(&spec.name, after_seq).await,
            Self::Nats(nats) => nats.restart_consumer(spec, after_seq).await,
        }
    }

    /// Makes the streams, stores and consumers that are missing, and says what of it was there. With `dry_run` nothing
    /// is made. Nothing that is there is ever changed. The embedded log needs none of it.
    ///
    /// # Errors
    /// When the broker cannot be reached, or does not let this process.
    pub async fn provision(&self, consumers: &[ConsumerSpec], dry_run: bool) -> Result<Vec<Piece>, Unavailable> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Nats(nats) => nats.provision(consumers, dry_run).await,
        }
    }

    /// Makes a durable consumer of the calls for a program that is not callbus. One of this name that is there stays as
    /// it is.
    ///
    /// # Errors
    /// When it was not made; the embedded log has no consumers but its own.
    pub async fn subscribe(&self, subscription: &Subscription) -> Result<Subscribed, Unavailable> {
        match self {
            Self::Embedded(_) => Err(alone("add a consumer")),
            Self::Nats(nats) => nats.subscribe(subscription).await,
        }
    }

    /// Removes a consumer of the calls, and with it what it remembers; false when there is none.
    ///
    /// # Errors
    /// As [`Bus::subscribe`].
    pub async fn unsubscribe(&self, name: &str) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(_) => Err(alone("remove a consumer")),
            Self::Nats(nats) => nats.unsubscribe(name).await,
        }
    }

    /// Sets a consumer of the calls back: everything from `seq` on comes again. False when it began later, which the
    /// broker does not go back behind.
    ///
    /// # Errors
    /// As [`Bus::subscribe`].
    pub async fn rewind(&self, name: &str, seq: u64) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(_) => Err(alone("set a consumer back")),
            Self::Nats(nats) => nats.rewind(name, seq).await,
        }
    }

    /// How far all durable consumers are.
    ///
    /// # Errors
    /// As [`Bus::subscribe`].
    pub async fn lags(&self) -> Result<Vec<Lag>, Unavailable> {
        match self {
            Self::Embedded(_) => Err(alone("list consumers")),
            Self::Nats(nats) => nats.lags().await,
        }
    }

    /// What a consumer has put aside, oldest first, at most the newest 1000.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.dead_letters(consumer).await,
            Self::Nats(nats) => nats.dead_letters(consumer).await,
        }
    }

    /// A sequence kept under a name; `None` when none was.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn checkpoint(&self, name: &str) -> Result<Option<u64>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.checkpoint(name).await,
            Self::Nats(nats) => nats.checkpoint(name).await,
        }
    }

    /// Keeps a sequence under a name of letters, digits, `-`, `_`, `.`.
    ///
    /// # Errors
    /// When it was not kept.
    pub async fn set_checkpoint(&self, name: &str, seq: u64) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.set_checkpoint(name, seq).await,
            Self::Nats(nats) => nats.set_checkpoint(name, seq).await,
        }
    }

    /// Asks one of those who serve `subject`. Asking again may reach another.
    ///
    /// # Errors
    /// Named for what went wrong; only [`AskError::Deadline`] takes its time.
    pub async fn ask(&self, subject: &str, question: Question, deadline: Instant) -> Result<Bytes, AskError> {
        let question = traced(question);
        match self {
            Self::Embedded(embedded) => embedded.ask(subject, question, deadline).await,
            Self::Nats(nats) => nats.ask(subject, question, deadline).await,
        }
    }

    /// Asks one server of *every* group that serves `subject`, and gathers what they answer `within` a time, in the
    /// order it comes, at most 1,000 answers. Empty when nobody serves it, known at once. Who is busy, or too late, is
    /// missing. A broker cannot say how many will answer, so there it takes all of the time; embedded it ends with the
    /// last answer.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn survey(&self, subject: &str, question: Question, within: Duration) -> Result<Vec<Bytes>, Unavailable> {
        let (question, deadline) = (traced(question), Instant::now() + within);
        match self {
            Self::Embedded(embedded) => Ok(embedded.survey(subject, question, deadline).await),
            Self::Nats(nats) => nats.survey(subject, question, deadline).await,
        }
    }

    /// Answers questions until `stop`; then takes no more, finishes those it has, and returns.
    ///
    /// # Errors
    /// When the broker does not let this process serve.
    pub async fn serve<H, F>(&self, spec: ServeSpec, handler: H, stop: CancellationToken) -> Result<(), Unavailable>
    where
        H: Fn(Asked) -> F + Send + Sync + 'static,
        F: Future<Output = Bytes> + Send + 'static,
    {
        match self {
            Self::Embedded(embedded) => embedded.serve(spec, handler, stop).await,
            Self::Nats(nats) => nats.serve(spec, handler, stop).await,
        }
    }

    /// One event by its place; `None` where there is none.
    ///
    /// # Errors
    /// When the log cannot be reached, or something else lies there.
    pub async fn event(&self, stream: Stream, seq: u64) -> Result<Option<Recorded>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.event(stream, seq).await,
            Self::Nats(nats) => nats.event(stream, seq).await,
        }
    }

    /// Keeps a secret under a name of letters, digits, `-`, `_`, `.`, in a place of its own, so that who may read
    /// documents may not read it.
    ///
    /// # Errors
    /// When it was not kept.
    pub async fn put_secret(&self, name: &str, bytes: Bytes) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.put_secret(name, bytes).await,
            Self::Nats(nats) => nats.put_secret(name, bytes).await,
        }
    }

    /// A secret by its name.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn secret(&self, name: &str) -> Result<Option<Bytes>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.secret(name).await,
            Self::Nats(nats) => nats.secret(name).await,
        }
    }

    /// Forgets a secret; one that is not there is forgotten already.
    ///
    /// # Errors
    /// When it may still be there.
    pub async fn forget_secret(&self, name: &str) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.forget_secret(name).await,
            Self::Nats(nats) => nats.forget_secret(name).await,
        }
    }

    /// Keeps a document under a name and answers its revision.
    ///
    /// # Errors
    /// When it was not kept.
    pub async fn put_document(&self, name: &str, bytes: Bytes) -> Result<String, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.put_document(name, bytes).await,
            Self::Nats(nats) => nats.put_document(name, bytes).await,
        }
    }

    /// The newest document of a name.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn document(&self, name: &str) -> Result<Option<Document>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.document(name).await,
            Self::Nats(nats) => nats.document(name).await,
        }
    }

    /// The revision of [`Bus::document`] without its bytes, to see whether it is a new one.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn document_revision(&self, name: &str) -> Result<Option<String>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.document_revision(name).await,
            Self::Nats(nats) => nats.document_revision(name).await,
        }
    }

    /// Whether [`Bus::record`] can take events right now. With a spool that does not need the broker: callbacks are
    /// answered by the fallback rule while it is away.
    ///
    /// # Errors
    /// With a sentence for the operator.
    pub fn healthy(&self) -> Result<(), String> {
        match self {
            Self::Embedded(embedded) => embedded.healthy(),
            Self::Nats(nats) => nats.healthy(),
        }
    }

    /// Bytes in this process's spool; 0 where there is none.
    pub fn spooled_bytes(&self) -> u64 {
        match self {
            Self::Embedded(_) => 0,
            Self::Nats(nats) => nats.spooled_bytes(),
        }
    }

    /// The last thing before the process ends, after all who record, consume and serve have ended: hands over what can
    /// be handed over within a few seconds. What cannot is durable and goes out after the next start.
    pub async fn drain(&self) {
        match self {
            Self::Embedded(_) => {}
            Self::Nats(nats) => nats.drain().await,
        }
    }
}

/// Who is asked goes on in the asker's trace.
fn traced(mut question: Question) -> Question {
    if let Some(traceparent) = trace::traceparent(&Span::current()) {
        question.headers.push((TRACEPARENT.to_owned(), traceparent));
    }
    question
}

fn alone(what: &'static str) -> Unavailable {
    Unavailable::new(what, "the embedded log is this one process's: others subscribe on NATS")
}
