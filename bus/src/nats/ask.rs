//! Questions over core request-reply. Servers of a group share the questions; `nats micro ls` shows who serves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, ServiceExt};
use async_nats::{Client, HeaderMap, Message, Request, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Broker;
use super::append::headers_of;
use super::broker::CALL_TIMEOUT;
use super::read::pairs_of;
use crate::ask::{Asked, Question, SURVEY_ANSWERS_MAX, ServeSpec, report, time_of};
use crate::clock::{Clock, after};
use crate::error::{AskError, Unavailable};

/// Goes with every question: when its answer is of no more use, in milliseconds of Unix time.
const DEADLINE: &str = "callbus-deadline";
/// The code in a reply that says *busy*.
const BUSY_CODE: &str = "503";
/// Without a deadline in it, a question from elsewhere is given this long.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(2);

pub(super) async fn ask(
    broker: &Broker,
    subject: &str,
    question: Question,
    deadline: Instant,
) -> Result<Bytes, AskError> {
    broker.connected("ask")?;
    let late = || AskError::Deadline { subject: subject.to_owned() };
    let headers = question_headers(&question, deadline, &broker.clock)?;
    // The client's own timeout starts only once the question is on its way, so ours rules.
    let request = Request::new().headers(headers).payload(question.data).timeout(None);
    let answer = tokio::time::timeout_at(deadline, broker.client.send_request(subject.to_owned(), request));
    match answer.await.map_err(|_| late())? {
        Ok(reply) if is_busy(&reply) => Err(AskError::Busy { subject: subject.to_owned() }),
        Ok(reply) => Ok(reply.payload),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => Err(AskError::NoResponder { subject: subject.to_owned() }),
            RequestErrorKind::TimedOut => Err(late()),
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
                Err(Unavailable::new("send the question", error).into())
            }
        },
    }
}

/// The question goes to an inbox of its own that is read until the deadline.
pub(super) async fn survey(
    broker: &Broker,
    subject: &str,
    question: Question,
    deadline: Instant,
) -> Result<Vec<Bytes>, Unavailable> {
    const WHAT: &str = "survey";
    let headers = question_headers(&question, deadline, &broker.clock)?;
    let inbox = broker.client.new_inbox();
    let mut replies = broker.call(WHAT, broker.client.subscribe(inbox.clone())).await?;
    let ask = broker.client.publish_with_reply_and_headers(subject.to_owned(), inbox, headers, question.data);
    broker.call(WHAT, ask).await?;
    let mut answers = Vec::new();
    while answers.len() < SURVEY_ANSWERS_MAX {
        match tokio::time::timeout_at(deadline, replies.next()).await {
            Ok(Some(reply)) if reply.status == Some(StatusCode::NO_RESPONDERS) => return Ok(answers),
            Ok(Some(reply)) if is_busy(&reply) => {}
            Ok(Some(reply)) => answers.push(reply.payload),
            Ok(None) | Err(_) => break,
        }
    }
    // Silence means nothing when the question has not left.
    if answers.is_empty() {
        broker.connected(WHAT)?;
    }
    Ok(answers)
}

fn question_headers(question: &Question, deadline: Instant, clock: &Clock) -> Result<HeaderMap, Unavailable> {
    let mut headers = headers_of(&question.headers).map_err(|error| Unavailable::new("send the question", error))?;
    headers.insert(DEADLINE, time_of(deadline, clock).as_millisecond().to_string());
    Ok(headers)
}

fn is_busy(reply: &Message) -> bool {
    let code = reply.headers.as_ref().and_then(|headers| headers.get(NATS_SERVICE_ERROR_CODE));
    code.is_some_and(|code| code.as_str() == BUSY_CODE)
}

pub(super) async fn serve<H, F>(
    broker: &Broker,
    spec: ServeSpec,
    handler: H,
    stop: CancellationToken,
) -> Result<(), Unavailable>
where
    H: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Bytes> + Send + 'static,
{
    const WHAT: &str = "serve";
    let mut subscriptions = Vec::new();
    for subject in &spec.subjects {
        let subscribe = broker.client.queue_subscribe(subject.clone(), spec.group.clone());
        subscriptions.push(broker.call(WHAT, subscribe).await?);
    }
    // The services API would take the questions itself but cannot drain them, so it only makes us known.
    let about =
        HashMap::from([("subjects".to_owned(), spec.subjects.join(" ")), ("group".to_owned(), spec.group.clone())]);
    let announce = broker.client.service_builder().metadata(about).start(&spec.name, env!("CARGO_PKG_VERSION"));
    let service = broker.call(WHAT, announce).await?;
    broker.call(WHAT, broker.client.flush()).await?;

    let server = Arc::new(Server {
        client: broker.client.clone(),
        clock: broker.clock.clone(),
        hands: Arc::new(Semaphore::new(spec.concurrency_max)),
        handler,
    });
    let mut serving = JoinSet::new();
    for subscription in subscriptions {
        serving.spawn(Arc::clone(&server).serve(subscription, stop.clone()));
    }
    let mut ended = Ok(());
    while let Some(served) = serving.join_next().await {
        if let Err(error) = served {
            ended = Err(Unavailable::new(WHAT, error));
        }
    }
    if let Err(error) = service.stop().await {
        tracing::warn!(error, "the service was not taken off the list");
    }
    broker.flush().await;
    ended
}

struct Server<H> {
    client: Client,
    clock: Clock,
    hands: Arc<Semaphore>,
    handler: H,
}

impl<H, F> Server<H>
where
    H: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Bytes> + Send + 'static,
{
    /// Serves one subscription. After `stop` the broker sends no more; what is on its way is still answered.
    async fn serve(self: Arc<Self>, mut questions: Subscriber, stop: CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                question = questions.next() => match question {
                    Some(question) => self.take(question, &mut running).await,
                    None => break,
                },
                Some(ended) = running.join_next() => report(ended),
                () = stop.cancelled() => break,
            }
        }
        if questions.drain().await.is_ok() {
            let rest = async {
                while let Some(question) = questions.next().await {
                    self.take(question, &mut running).await;
                }
            };
            // Without a connection the end never comes; then nothing is on its way either.
            if tokio::time::timeout(CALL_TIMEOUT, rest).await.is_err() {
                tracing::warn!("questions were not drained in time");
            }
        }
        while let Some(ended) = running.join_next().await {
            report(ended);
        }
    }

    async fn take(self: &Arc<Self>, question: Message, running: &mut JoinSet<()>) {
        let Message { subject, reply: Some(reply), payload, headers, .. } = question else { return };
        let now = self.clock.now();
        let mut headers = headers.as_ref().map(pairs_of).unwrap_or_default();
        let deadline = headers
            .iter()
            .find(|(name, _)| name == DEADLINE)
            .and_then(|(_, value)| Timestamp::from_millisecond(value.parse().ok()?).ok())
            .unwrap_or_else(|| after(now, DEADLINE_DEFAULT));
        headers.retain(|(name, _)| name != DEADLINE);
        let asked = Asked { subject: subject.to_string(), headers, data: payload, deadline };
        if asked.is_late(now) {
            return;
        }
        let Ok(hand) = Arc::clone(&self.hands).try_acquire_owned() else {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_SERVICE_ERROR, "busy");
            headers.insert(NATS_SERVICE_ERROR_CODE, BUSY_CODE);
            let refused = self.client.publish_with_headers(reply, headers, Bytes::new()).await;
            if let Err(error) = refused {
                tracing::warn!(%error, "a question was not refused");
            }
            return;
        };
        let server = Arc::clone(self);
        running.spawn(async move {
            let answer = (server.handler)(asked).await;
            drop(hand);
            if let Err(error) = server.client.publish(reply, answer).await {
                tracing::warn!(%error, "a question was not answered");
            }
        });
    }
}
