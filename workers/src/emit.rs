//! Behind the log: the named events that a policy makes of calls that ended and of notifies, and what a handler does
//! about them.
//!
//! Nobody waits for these rules, so they are tried behind the log: a durable consumer of each kind, one worker at a
//! time. An event's id is derived from its callback and rule, so trying again makes no second one.

use std::sync::Arc;
use std::time::Duration;

use bus::{AppendError, ConsumerSpec, Recorded, Unavailable, Verdict};
use bytes::Bytes;
use policy::{AppFacts, Facts};
use proto::event::json;
use proto::signature::Verified;
use proto::{Callback, Emitted, Event, Filter, Kind, Subject};
use tokio_util::sync::CancellationToken;

use crate::decide::Desk;
use crate::facts::memory;

const IN_FLIGHT_MAX: usize = 16;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Tries the rules of one kind of callback until asked to stop.
///
/// # Errors
/// When the log can no longer be consumed.
pub(crate) async fn run(desk: &Arc<Desk>, kind: Kind, stop: CancellationToken) -> Result<(), Unavailable> {
    let handler = {
        let desk = Arc::clone(desk);
        move |recorded| {
            let desk = Arc::clone(&desk);
            async move { desk.emit(recorded).await }
        }
    };
    desk.bus.consume(consumer(kind), async |_| Ok(()), handler, stop).await
}

/// The kinds of callback that named events are made of.
pub(crate) const KINDS: [Kind; 2] = [Kind::Dice, Kind::Notify];

pub(crate) fn consumer(kind: Kind) -> ConsumerSpec {
    ConsumerSpec {
        name: format!("emit-{kind}"),
        filter: Filter::Kind(kind),
        max_in_flight: IN_FLIGHT_MAX,
        always_worked: false,
    }
}

impl Desk {
    async fn emit(&self, recorded: Recorded) -> Verdict {
        let Subject::Call { kind, app, .. } = &recorded.event.subject else { return Verdict::Done };
        let Some(app) = self.apps.get(app) else {
            tracing::warn!(%app, "no named events: this worker does not know the app; give all workers the same apps");
            return Verdict::Done;
        };
        let in_force = self.control.in_force(&app.name);
        if app.handler.is_none() && !in_force.policy.has_emits(*kind) {
            return Verdict::Done;
        }
        let Ok(callback) = Callback::parse(&Verified::unchecked(recorded.event.data.clone())) else {
            return Verdict::Done;
        };
        if let Some(handler) = &app.handler {
            self.tell(app, handler, &callback, recorded.event.time).await;
            return Verdict::Done;
        }
        let memory = match &callback.common.call {
            Some(call) if in_force.policy.needs(*kind).memory => memory(&self.call_memory, &app.name, call).await,
            Some(_) | None => Default::default(),
        };
        let facts = Facts {
            app: AppFacts { name: &app.name, wallet: &app.wallet },
            callback: &callback,
            now: recorded.event.time,
            memory: &memory,
            wallet: None,
            price: None,
            env: &self.settings.env,
            lists: self.control.lists(),
        };
        for emit in in_force.policy.emits(&facts) {
            let emit = match emit {
                Ok(emit) => emit,
                Err(failed) => {
                    tracing::warn!(app = %app.name, %failed, "no named event");
                    continue;
                }
            };
            let emitted = Emitted {
                name: emit.name.to_string(),
                kind: *kind,
                callback: recorded.event.id.clone(),
                rule: emit.rule.to_string(),
                policy: in_force.policy.revision().to_owned(),
                data: emit.data,
            };
            match self.bus.append(&self.named(&recorded.event, &emitted), None).await {
                Ok(_) => {}
                Err(AppendError::Unavailable(_) | AppendError::Conflict { .. }) => return Verdict::Retry(RETRY_AFTER),
                Err(error @ AppendError::Refused(_)) => return Verdict::Dead(error.to_string()),
            }
        }
        Verdict::Done
    }

    fn named(&self, of: &Event, emitted: &Emitted) -> Event {
        Event {
            id: emitted.id(),
            subject: of.subject.with_kind(Kind::Emitted),
            about: of.about.clone(),
            source: of.source.clone(),
            time: self.clock.now(),
            extra: Vec::new(),
            data: Bytes::from(json(emitted)),
        }
    }
}
