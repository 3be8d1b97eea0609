//! Questions and answers: who serves a subject is asked, nobody remembers.
//!
//! This file has what both arms share, and the registry through which one process asks itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, after};
use crate::error::AskError;
use crate::pattern;

/// An ask this long past its deadline is dropped unanswered: nobody waits for it, and acting on it would reserve
/// credit for a call that was answered otherwise.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(1);
/// Answers to one survey at most; those beyond are not waited for.
pub(crate) const SURVEY_ANSWERS_MAX: usize = 1000;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub headers: Vec<(String, String)>,
    pub data: Bytes,
}

/// A question as it arrives at a server.
#[derive(Debug, Clone)]
pub struct Asked {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub data: Bytes,
    /// After this time of day the answer is of no use.
    pub deadline: Timestamp,
}

/// Who serves, and what.
#[derive(Debug, Clone)]
pub struct ServeSpec {
    /// Shown to operators. Letters, digits, `-` and `_`.
    pub name: String,
    /// Each question goes to one server of a group; a survey, too. Who wants to hear every survey serves under a group
    /// of its own.
    pub group: String,
    /// Patterns: `*` is one token, a final `>` is one or more.
    pub subjects: Vec<String>,
    /// Questions handled at the same time; one more is told *busy* at once.
    pub concurrency_max: usize,
}

impl Asked {
    pub(crate) fn is_late(&self, now: Timestamp) -> bool {
        after(self.deadline, LATE_MAX) < now
    }
}

/// The time of day at which an instant will be.
pub(crate) fn time_of(deadline: Instant, clock: &Clock) -> Timestamp {
    after(clock.now(), deadline.saturating_duration_since(Instant::now()))
}

/// The servers of this process.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    servers: Mutex<Vec<Arc<Server>>>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Server {
    group: String,
    subjects: Vec<String>,
    hands: Arc<Semaphore>,
    /// As many places as hands, so that who has a permit has a place.
    questions: mpsc::Sender<Handed>,
}

#[derive(Debug)]
struct Handed {
    asked: Asked,
    reply: oneshot::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
}

impl Registry {
    pub(crate) async fn ask(
        &self,
        subject: &str,
        question: Question,
        deadline: Instant,
        clock: &Clock,
    ) -> Result<Bytes, AskError> {
        let named = || subject.to_owned();
        let server = self.pick(subject).ok_or_else(|| AskError::NoResponder { subject: named() })?;
        let answer = server.hand(subject, question, time_of(deadline, clock))?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            // A server that dies over a question leaves the asker waiting, on a broker too.
            Ok(Err(_)) => {
                tokio::time::sleep_until(deadline).await;
                Err(AskError::Deadline { subject: named() })
            }
            Err(_) => Err(AskError::Deadline { subject: named() }),
        }
    }

    pub(crate) async fn survey(
        &self,
        subject: &str,
        question: Question,
        deadline: Instant,
        clock: &Clock,
    ) -> Vec<Bytes> {
        let mut groups = HashSet::new();
        let asked = self.serving(subject).into_iter().filter(|server| groups.insert(server.group.clone()));
        // Who is busy or going is not heard, as on a broker.
        let mut waiting: FuturesUnordered<_> = asked
            .filter_map(|server| server.hand(subject, question.clone(), time_of(deadline, clock)).ok())
            .take(SURVEY_ANSWERS_MAX)
            .collect();
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, waiting.next()).await {
            answers.extend(answer);
        }
        answers
    }

    fn pick(&self, subject: &str) -> Option<Arc<Server>> {
        self.serving(subject).into_iter().next()
    }

    /// Who serves a subject; they take turns at being the first.
    fn serving(&self, subject: &str) -> Vec<Arc<Server>> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut serving: Vec<Arc<Server>> = servers
            .iter()
            .filter(|server| server.subjects.iter().any(|pattern| pattern::matches(pattern, subject)))
            .map(Arc::clone)
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(serving.len()).unwrap_or(0);
        serving.rotate_left(turn);
        serving
    }

    pub(crate) async fn serve<H, F>(&self, spec: ServeSpec, handler: H, clock: &Clock, stop: CancellationToken)
    where
        H: Fn(Asked) -> F,
        F: Future<Output = Bytes> + Send + 'static,
    {
        let (questions, mut handed) = mpsc::channel(spec.concurrency_max.max(1));
        let hands = Arc::new(Semaphore::new(spec.concurrency_max));
        let registered = Registered::new(self, Server { group: spec.group, subjects: spec.subjects, hands, questions });
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = handed.recv() => match next {
                    Some(next) => answer(next, &handler, clock, &mut running),
                    None => break,
                },
                Some(ended) = running.join_next() => report(ended),
            }
        }
        drop(registered);
        handed.close();
        while let Some(next) = handed.recv().await {
            answer(next, &handler, clock, &mut running);
        }
        while let Some(ended) = running.join_next().await {
            report(ended);
        }
    }
}

impl Server {
    /// Hands the question over, if there is a hand free, and says where the answer comes.
    fn hand(
        &self,
        subject: &str,
        question: Question,
        deadline: Timestamp,
    ) -> Result<oneshot::Receiver<Bytes>, AskError> {
        let named = || subject.to_owned();
        let permit = Arc::clone(&self.hands).try_acquire_owned().map_err(|_| AskError::Busy { subject: named() })?;
        let (reply, answer) = oneshot::channel();
        let asked = Asked { subject: named(), headers: question.headers, data: question.data, deadline };
        self.questions
            .try_send(Handed { asked, reply, permit })
            .map_err(|_| AskError::NoResponder { subject: named() })?;
        Ok(answer)
    }
}

/// A handler that panics leaves its asker to the deadline.
pub(crate) fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a question was not answered");
    }
}

fn answer<H, F>(handed: Handed, handler: &H, clock: &Clock, running: &mut JoinSet<()>)
where
    H: Fn(Asked) -> F,
    F: Future<Output = Bytes> + Send + 'static,
{
    let Handed { asked, reply, permit } = handed;
    if asked.is_late(clock.now()) {
        return;
    }
    let answering = handler(asked);
    running.spawn(async move {
        let answer = answering.await;
        // Who has the answer may ask again at once, and then finds this hand free.
        drop(permit);
        // Who asked may have given up.
        let _ = reply.send(answer);
    });
}

/// A server is in the registry for as long as this lives, also when `serve` is dropped half-way.
struct Registered<'a> {
    registry: &'a Registry,
    server: Arc<Server>,
}

impl<'a> Registered<'a> {
    fn new(registry: &'a Registry, server: Server) -> Self {
        let server = Arc::new(server);
        registry.servers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&server));
        Self { registry, server }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut servers = self.registry.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|server| !Arc::ptr_eq(server, &self.server));
    }
}
