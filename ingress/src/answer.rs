//! One callback, step by step: verify, ask, record, answer.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Clock, trace};
use bytes::Bytes;
use metrics::{counter, histogram};
use proto::event::{DECISION_KEY, signed};
use proto::signature::{Refused, Verified};
use proto::{Callback, Decided, DecisionKey, Event, EventId, Kind, Outcome, Partition, Subject};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, field, info_span};

use crate::conversation::{self, NoAnswer};
use crate::door::{App, Apps, Claims};
use crate::rejected::{Rejected, Rejections};
use crate::status::Reply;
use crate::{NoBody, Settings};

/// What is answered where nothing is asked (DICE, notify, unknown).
const NOTHING: &[u8] = b"{}";

/// Who takes callbacks in, with everything that needs.
#[derive(Debug)]
pub(crate) struct Reception {
    pub settings: Settings,
    pub apps: Apps,
    pub bus: Bus,
    pub clock: Clock,
    pub rejections: Rejections,
}

/// Why a request is turned away: the reply, and what the list of rejected callbacks says.
struct TurnedAway {
    reply: Reply,
    code: &'static str,
    reason: String,
}

impl From<NoBody> for TurnedAway {
    fn from(no_body: NoBody) -> Self {
        let (reply, code) = match no_body {
            NoBody::TooLarge(_) => (Reply::TooLarge, "too_large"),
            NoBody::Slow(_) | NoBody::Broken => (Reply::Slow, "slow"),
        };
        Self { reply, code, reason: no_body.to_string() }
    }
}

impl From<Refused> for TurnedAway {
    fn from(refused: Refused) -> Self {
        Self { reply: Reply::Refused, code: refused.code(), reason: refused.to_string() }
    }
}

impl Reception {
    /// Takes one POST. `body` is read only for who may come in.
    pub(crate) async fn take(
        &self,
        claims: Claims,
        peer: String,
        body: impl Future<Output = Result<Bytes, NoBody>>,
    ) -> Reply {
        let started = Instant::now();
        match self.admit(&claims, body).await {
            Ok((app, verified)) => match self.read(&app, verified) {
                Ok(taken) => {
                    let span = taken.span();
                    self.serve(taken, &claims, started).instrument(span).await
                }
                Err(away) => self.turn_away(away, claims, peer),
            },
            Err(away) => self.turn_away(away, claims, peer),
        }
    }

    async fn admit(
        &self,
        claims: &Claims,
        body: impl Future<Output = Result<Bytes, NoBody>>,
    ) -> Result<(Option<Arc<App>>, Verified), TurnedAway> {
        let introduced = claims.introduce(&self.apps);
        if self.settings.verify {
            introduced.as_ref().map_err(|refused| TurnedAway::from(*refused))?;
        }
        let body = body.await?;
        if !self.settings.verify {
            return Ok((introduced.ok().map(|(app, _)| app), Verified::unchecked(body)));
        }
        let (app, authorization) = introduced?;
        let verified = claims.check(&app, &authorization, body, self.clock.now(), self.settings.max_age)?;
        Ok((Some(app), verified))
    }

    fn read(&self, app: &Option<Arc<App>>, verified: Verified) -> Result<Taken, TurnedAway> {
        let not_a_callback = |sentence: &'static str, code: &'static str, reason: String| TurnedAway {
            reply: Reply::NotACallback(sentence),
            code,
            reason,
        };
        let callback = Callback::parse(&verified).map_err(|error| {
            not_a_callback(
                "the body is not a callback: a JSON object with \"event\"\n",
                "not_a_callback",
                error.to_string(),
            )
        })?;
        let claimed = callback.common.application_key.as_ref();
        let app = match app {
            Some(app) if claimed.is_none_or(|key| key.folded() == app.key.folded()) => Arc::clone(app),
            Some(_) => return Err(Refused::WrongApp.into()),
            None => self.apps.find_unsigned(claimed).ok_or(Refused::UnknownKey)?,
        };
        let key = callback.decision_key(&app.name);
        if callback.kind().wants_svaml() && key.is_none() {
            let reason = format!("the {} has no call id", callback.kind());
            return Err(not_a_callback("the callback has no call id\n", "no_call_id", reason));
        }
        Ok(Taken { app, callback, key, body: verified.bytes().clone() })
    }

    async fn serve(&self, taken: Taken, claims: &Claims, started: Instant) -> Reply {
        let received = self.received(&taken, claims);
        let record_by = started + self.settings.record_within;
        let Decision { answer, events, outcome } = match &taken.key {
            Some(key) if taken.callback.kind().wants_svaml() => self.decide(&taken, key, received).await,
            _ => Decision { answer: Some(Bytes::from_static(NOTHING)), events: vec![received], outcome: "recorded" },
        };
        let recorded = timeout_at(record_by, self.bus.record(events)).await;
        let (kind, outcome) =
            (taken.callback.kind().as_str(), if matches!(recorded, Ok(Ok(()))) { outcome } else { "unrecorded" });
        counter!("callbus_callbacks_total", "kind" => kind, "outcome" => outcome).increment(1);
        histogram!("callbus_answer_seconds", "kind" => kind).record(started.elapsed());
        match recorded {
            Ok(Ok(())) => answer.map_or(Reply::Unavailable, Reply::Answer),
            Ok(Err(error)) => {
                Span::current().record(trace::STATUS, "ERROR");
                tracing::error!(%error, "callback not recorded, answering 503");
                Reply::Unavailable
            }
            Err(_) => {
                Span::current().record(trace::STATUS, "ERROR");
                tracing::error!(within = ?self.settings.record_within, "callback not recorded in time, answering 503");
                Reply::Unavailable
            }
        }
    }

    async fn decide(&self, taken: &Taken, key: &DecisionKey, received: Event) -> Decision {
        let (app, kind) = (&taken.app, taken.callback.kind());
        let asked = Instant::now();
        match conversation::ask(&self.bus, &self.settings, &app.name, kind, key, &received).await {
            Ok(reply) => {
                let answer = Bytes::copy_from_slice(reply.decided.answer.get().as_bytes());
                let decided = self.decided(&received, key, &answer, reply.body);
                let outcome = reply.decided.outcome.as_str();
                Decision { answer: Some(answer), events: vec![received, decided], outcome }
            }
            Err(cause) => {
                Span::current().record(trace::FALLBACK, cause.code());
                tracing::warn!(app = %app.name, %kind, code = cause.code(), %cause, "answering by fallback");
                counter!("callbus_fallbacks_total", "kind" => kind.as_str(), "why" => cause.code()).increment(1);
                let outcome = Outcome::Fallback.as_str();
                let Some(svaml) = app.fallback.answer(kind) else {
                    return Decision { answer: None, events: vec![received], outcome };
                };
                let answer = Bytes::from(svaml.to_json());
                let Some(body) = fallback_body(&received, key, kind, &answer, &cause, asked.elapsed()) else {
                    return Decision { answer: None, events: vec![received], outcome };
                };
                let decided = self.decided(&received, key, &answer, body);
                Decision { answer: Some(answer), events: vec![received, decided], outcome }
            }
        }
    }

    fn received(&self, taken: &Taken, claims: &Claims) -> Event {
        let id = EventId::of_callback(&taken.app.key, &taken.body);
        let call = taken.callback.common.call.as_ref();
        let mut extra = claims.attributes();
        if !self.settings.verify {
            extra.push((signed::UNVERIFIED.to_owned(), "protection is off".to_owned()));
        }
        Event {
            subject: Subject::Call {
                kind: taken.callback.kind(),
                app: taken.app.name.clone(),
                partition: call.map_or_else(|| Partition::of_text(id.as_str()), Partition::of),
            },
            about: call.map(ToString::to_string).unwrap_or_default(),
            source: taken.app.name.to_string(),
            time: self.clock.now(),
            extra,
            data: taken.body.clone(),
            id,
        }
    }

    fn decided(&self, received: &Event, key: &DecisionKey, answer: &[u8], body: Bytes) -> Event {
        Event {
            id: EventId::of_decided(key, answer),
            subject: received.subject.with_kind(Kind::Decided),
            about: received.about.clone(),
            source: received.source.clone(),
            time: self.clock.now(),
            extra: vec![(DECISION_KEY.to_owned(), key.to_string())],
            data: body,
        }
    }

    fn turn_away(&self, away: TurnedAway, claims: Claims, peer: String) -> Reply {
        let key = proto::signature::Authorization::parse(&claims.authorization).ok().map(|a| a.key.to_string());
        let code = away.code.to_owned();
        counter!("callbus_rejected_total", "reason" => away.code).increment(1);
        self.rejections.push(Rejected {
            at: self.clock.now(),
            peer,
            path: claims.path,
            key,
            code,
            reason: away.reason,
        });
        away.reply
    }
}

/// What should never happen is there before it does: of a series that begins with one, nobody sees it rise.
pub(crate) fn count_from_zero() {
    for kind in [Kind::Ice, Kind::Ace, Kind::Pie, Kind::Dice, Kind::Notify] {
        counter!("callbus_callbacks_total", "kind" => kind.as_str(), "outcome" => "unrecorded").absolute(0);
        if kind.wants_svaml() {
            counter!("callbus_fallbacks_total", "kind" => kind.as_str(), "why" => NoAnswer::NoWorker.code())
                .absolute(0);
        }
    }
    counter!("callbus_rejected_total", "reason" => Refused::NoAuthorization.code()).absolute(0);
}

/// The answer to give, and all there is to record.
struct Decision {
    /// None: an error status on purpose.
    answer: Option<Bytes>,
    events: Vec<Event>,
    outcome: &'static str,
}

/// A callback that is let in.
struct Taken {
    app: Arc<App>,
    callback: Callback,
    /// None without a call id.
    key: Option<DecisionKey>,
    body: Bytes,
}

impl Taken {
    /// The root of a trace, whatever the request's headers say. Who is turned away has none.
    fn span(&self) -> Span {
        info_span!(
            target: trace::TARGET,
            parent: None,
            "receive",
            { trace::SPAN_KIND } = "server",
            { trace::APP } = %self.app.name,
            { trace::KIND } = %self.callback.kind(),
            { trace::CALL } = self.callback.common.call.as_ref().map(field::display),
            { trace::FALLBACK } = field::Empty,
            { trace::STATUS } = field::Empty,
        )
    }
}

/// The `decided` body of an answer no worker gave.
fn fallback_body(
    received: &Event,
    key: &DecisionKey,
    kind: Kind,
    answer: &Bytes,
    cause: &NoAnswer,
    took: Duration,
) -> Option<Bytes> {
    let answer = RawValue::from_string(String::from_utf8(answer.to_vec()).ok()?).ok()?;
    let decided = Decided {
        key: key.clone(),
        kind,
        callback: received.id.clone(),
        answer,
        outcome: Outcome::Fallback,
        reason: Some(cause.code().to_owned()),
        rule: None,
        policy: None,
        wallet: None,
        reserve: false,
        hold: None,
        explanation: None,
        by: "ingress".to_owned(),
        took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    };
    serde_json::to_vec(&decided).ok().map(Bytes::from)
}
