//! One ask: facts, policy, credit, claim.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bus::{Asked, Bus, Cache, Clock, trace};
use bytes::Bytes;
use jiff::Timestamp;
use metrics::{counter, histogram};
use money::Hold;
use outbound::Outbound;
use policy::{AppFacts, Decision, Facts, Handled, Policy, Reason, Verdict, WalletFacts};
use proto::event::{TRACEPARENT, json};
use proto::signature::Verified;
use proto::svaml::{Action, Said};
use proto::{
    AppName, CallId, Callback, Decided, DecisionKey, Event, Kind, Outcome, Partition, Subject, Svaml, WalletId,
};
use serde_json::value::RawValue;
use tracing::{Instrument, info_span};

use crate::claim::claim;
use crate::control::Control;
use crate::facts::{memory, price, remember};
use crate::placed;
use crate::reserve::{Request, Reserved, Till, ring_secs};
use crate::worker::{App, WorkerSettings};

/// Everything a worker needs to decide.
#[derive(Debug)]
pub(crate) struct Desk {
    pub settings: WorkerSettings,
    pub apps: HashMap<AppName, App>,
    pub bus: Bus,
    pub till: Till,
    /// Decisions.
    pub cache: Cache,
    /// What policies remember of a call. Apart, so that it cannot crowd out decisions.
    pub call_memory: Cache,
    pub clock: Clock,
    pub control: Arc<Control>,
    pub outbound: Outbound,
}

/// What is asked about.
pub(crate) struct Matter<'a> {
    pub app: &'a App,
    pub kind: Kind,
    pub event: Event,
    pub callback: Callback,
    pub call: CallId,
    pub key: DecisionKey,
    pub asked_at: Timestamp,
    /// After this the ingress has answered without us, and a hold would be nobody's.
    pub deadline: Timestamp,
    pub started: Instant,
}

/// A decision in words, and whether it stands for good.
struct Worded {
    body: Bytes,
    /// It holds credit on this wallet.
    held: Option<WalletId>,
    /// Whoever asks again gets the same.
    lasting: bool,
    remember: Vec<(String, String)>,
}

impl Desk {
    /// The body of `decided`; `None` when the ask cannot be understood, which the ingress takes as no answer.
    pub(crate) async fn answer(&self, asked: Asked) -> Option<Bytes> {
        let matter = self.matter(asked)?;
        let span = info_span!(
            target: trace::TARGET,
            "decide",
            { trace::SPAN_KIND } = "server",
            { trace::APP } = %matter.app.name,
            { trace::KIND } = %matter.kind,
            { trace::CALL } = %matter.call,
        );
        trace::follow(&span, matter.event.attribute(TRACEPARENT));
        self.answer_on(&matter).instrument(span).await
    }

    async fn answer_on(&self, matter: &Matter<'_>) -> Option<Bytes> {
        let worded = self.decide(matter).await;
        if !worded.lasting {
            return Some(worded.body);
        }
        // Also where nobody waits any more: another worker may have found this hold, and answered with its words.
        match claim(&self.cache, &matter.key, &worded.body, self.settings.decision_memory).await {
            Ok(None) => {
                remember(&self.call_memory, &matter.app.name, &matter.call, worded.remember).await;
                Some(worded.body)
            }
            Ok(Some(winner)) => {
                self.give_back(matter, &worded).await;
                Some(winner)
            }
            // A refusal may stand under this key, and it never becomes a grant. Or these very words do, and then the
            // hold is what whoever asks next is answered with: it stays, and billing frees it if nobody does.
            Err(error) if worded.held.is_some() => {
                tracing::warn!(%error, "decision not known to be remembered, so not granted");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "decision not remembered");
                Some(worded.body)
            }
        }
    }

    async fn give_back(&self, matter: &Matter<'_>, worded: &Worded) {
        if let Some(wallet) = &worded.held {
            self.till.credit.free(wallet, &matter.key).await;
        }
    }

    fn matter(&self, asked: Asked) -> Option<Matter<'_>> {
        let (asked_at, started) = (self.clock.now(), Instant::now());
        let deadline = asked.deadline;
        let [_, _, kind, app] = asked.subject.split('.').collect::<Vec<_>>().try_into().ok()?;
        let (kind, app) = (Kind::parse(kind)?, self.apps.get(&AppName::new(app).ok()?)?);
        let subject = Subject::Call { kind, app: app.name.clone(), partition: Partition::of_text("") };
        let headers = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let event = Event::from_headers(&subject.to_string(), headers, asked.data).ok()?;
        let callback = Callback::parse(&Verified::unchecked(event.data.clone())).ok()?;
        let key = callback.decision_key(&app.name)?;
        let call = callback.common.call.clone()?;
        Some(Matter { app, kind, event, callback, call, key, asked_at, deadline, started })
    }

    async fn decide(&self, matter: &Matter<'_>) -> Worded {
        let in_force = self.control.in_force(&matter.app.name);
        let policy = &in_force.policy;
        let needs = in_force.needs(matter.kind);
        let custom = matter.callback.common.custom.as_deref();
        let leg = placed::find(&self.bus, &matter.app.name, custom).await;
        let mut callback = Cow::Borrowed(&matter.callback);
        if let Ok(Some(leg)) = &leg {
            // As whoever placed the call has written it.
            callback.to_mut().common.custom = Some(leg.placed.custom.clone()).filter(|custom| !custom.is_empty());
        }
        let memory = match needs.memory {
            true => memory(&self.call_memory, &matter.app.name, &matter.call).await,
            false => BTreeMap::new(),
        };
        let mut facts = Facts {
            app: AppFacts { name: &matter.app.name, wallet: &matter.app.wallet },
            callback: &callback,
            now: matter.asked_at,
            memory: &memory,
            wallet: None,
            price: None,
            env: &self.settings.env,
            lists: self.control.lists(),
        };
        match leg {
            Ok(Some(leg)) if matter.kind == Kind::Ace => {
                if let Some(answer) = leg.answer(policy, &facts) {
                    let said = Ok(match answer {
                        Ok(svaml) => Said::Answer(svaml),
                        Err(why) => {
                            tracing::warn!(call = %leg.of.call, why, "whoever answered hears nothing");
                            Said::Deny { reason: Reason::POLICY_ERROR.to_string(), svaml: None }
                        }
                    });
                    let (handler, wallet) = ("placed".to_owned(), Some(leg.placed.wallet));
                    let decision = policy.handled(&facts, Handled { handler, said, wallet, log: Vec::new() });
                    return self.follow(matter, policy, decision).await;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what was ordered is not read, answering by fallback");
                return self.word_fallback(matter, policy, &policy.decide(&facts));
            }
        }
        if needs.price {
            facts.price = price(&self.till.decks, &matter.app.deck, &matter.callback, matter.asked_at);
        }
        if needs.wallet
            && let Ok(wallet) = policy.wallet(&facts)
        {
            match self.till.credit.facts(&wallet).await {
                Ok(known) => {
                    facts.wallet = Some(WalletFacts {
                        available_micros: known.available.get(),
                        currency: known.currency.map(|currency| currency.to_string()).unwrap_or_default(),
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "wallet not read, answering by fallback");
                    return self.word_fallback(matter, policy, &policy.decide(&facts));
                }
            }
        }
        if let Some(handler) = &matter.app.handler {
            let decision = policy.handled(&facts, self.handle(matter, handler).await);
            return self.follow(matter, policy, decision).await;
        }
        let mut decision = policy.decide(&facts);
        while let Verdict::Ask { ask, .. } = &decision.verdict {
            let ask = ask.clone();
            let begun = Instant::now();
            let answer = self.ask_elsewhere(matter, &ask, &decision).await;
            let took = begun.elapsed();
            decision = match answer {
                Ok(svaml) => policy.answered(&facts, decision, svaml, took),
                Err(why) => policy.ask_failed(&facts, decision, why, took),
            };
        }
        if let Some(shadow) = &in_force.shadow {
            decision.explanation.shadow = Some(shadow.shadow(&facts, &decision));
        }
        self.follow(matter, policy, decision).await
    }

    /// From the decision to its words: credit is held where the rule reserves it.
    async fn follow(&self, matter: &Matter<'_>, policy: &Policy, decision: Decision) -> Worded {
        match &decision.verdict {
            // Asked until there was nothing left to ask.
            Verdict::Ask { .. } => self.word_fallback(matter, policy, &decision),
            Verdict::Answer(svaml) => self.word(matter, &decision, Outcome::Answered, None, svaml),
            Verdict::Deny { reason, svaml } => self.word(matter, &decision, Outcome::Refused, Some(reason), svaml),
            Verdict::Reserve { svaml, number, cap_secs } => {
                let wallet = decision.wallet.as_ref().unwrap_or(&matter.app.wallet);
                let request = Request {
                    app: &matter.app.name,
                    deck: &matter.app.deck,
                    leg: &matter.key,
                    call: &matter.call,
                    wallet,
                    number,
                    ring_secs: ring_secs(svaml),
                    cap_secs: *cap_secs,
                };
                let granted = |hold: &Hold| {
                    let svaml = decision.granted(hold.granted_secs);
                    self.body(matter, &decision, Outcome::Granted, None, &svaml, Some(hold))
                };
                match self.till.reserve(matter.asked_at, &request, granted).await {
                    Reserved::Held(body) => {
                        Worded { body, held: Some(wallet.clone()), lasting: true, remember: decision.remember.clone() }
                    }
                    Reserved::Decided(body) => Worded { body, held: None, lasting: true, remember: Vec::new() },
                    Reserved::Refused(reason) => {
                        let svaml = policy.refusal(matter.kind, &reason);
                        self.word(matter, &decision, Outcome::Refused, Some(&reason), &svaml)
                    }
                    Reserved::Unknown(error) => {
                        tracing::warn!(%error, "credit unknown, answering by fallback");
                        let svaml = policy.refusal(matter.kind, &Reason::ADMISSION_DOWN);
                        let reason = Some(&Reason::ADMISSION_DOWN);
                        Worded { lasting: false, ..self.word(matter, &decision, Outcome::Fallback, reason, &svaml) }
                    }
                }
            }
        }
    }

    /// Nobody can say what the wallet holds: the caller is told so, and the next ask may do better.
    fn word_fallback(&self, matter: &Matter<'_>, policy: &Policy, decision: &Decision) -> Worded {
        let reason = Reason::ADMISSION_DOWN;
        // A call that is up goes on.
        let svaml =
            if matter.kind == Kind::Ace { Svaml::only(Action::Continue) } else { policy.refusal(matter.kind, &reason) };
        Worded { lasting: false, ..self.word(matter, decision, Outcome::Fallback, Some(&reason), &svaml) }
    }

    fn word(
        &self,
        matter: &Matter<'_>,
        decision: &Decision,
        outcome: Outcome,
        reason: Option<&Reason>,
        answer: &Svaml,
    ) -> Worded {
        let body = self.body(matter, decision, outcome, reason, answer, None);
        Worded { body, held: None, lasting: true, remember: decision.remember.clone() }
    }

    fn body(
        &self,
        matter: &Matter<'_>,
        decision: &Decision,
        outcome: Outcome,
        reason: Option<&Reason>,
        answer: &Svaml,
        hold: Option<&Hold>,
    ) -> Bytes {
        let (kind, outcome_word) = (matter.kind.as_str(), outcome.as_str());
        counter!("callbus_decisions_total", "kind" => kind, "outcome" => outcome_word).increment(1);
        histogram!("callbus_decision_seconds", "kind" => kind).record(matter.started.elapsed());
        let decided = Decided {
            key: matter.key.clone(),
            kind: matter.kind,
            callback: matter.event.id.clone(),
            answer: raw(answer),
            outcome,
            reason: reason.map(ToString::to_string),
            rule: Some(decision.rule.clone()),
            policy: Some(decision.explanation.policy.clone()),
            wallet: decision.wallet.clone(),
            reserve: matches!(decision.verdict, Verdict::Reserve { .. }),
            hold: hold.map(raw),
            explanation: Some(raw(&decision.explanation)),
            by: self.settings.name.clone(),
            took_micros: u64::try_from(matter.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        Bytes::from(json(&decided))
    }
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    #[expect(clippy::expect_used, reason = "plain structs with text keys always serialise")]
    serde_json::value::to_raw_value(value).expect("a decision's parts are JSON")
}
