//! What comes of an answer from elsewhere, or of none.

use std::time::Duration;

use proto::Svaml;
use proto::svaml::Action;

use crate::ask::{AskTo, OnAskError};
use crate::decision::{Decision, Verdict};
use crate::explanation::{AskedElsewhere, ERROR_MAX_CHARS, TriedResult};
use crate::facts::Facts;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::scene::{Scene, Trail, legal, reserved};

impl Policy {
    /// Goes on with the answer that whoever [`Verdict::Ask`] names gave after `took`. It is checked like an answer of
    /// the policy's own; one that may not answer this event counts as a failure. A decision that asks nobody stays.
    ///
    /// With `reserve`, an answer that connects a phone call becomes [`Verdict::Reserve`]. Without it, the answer is given as
    /// it is and costs no wallet anything.
    pub fn answered(&self, facts: &Facts<'_>, mut decision: Decision, svaml: Svaml, took: Duration) -> Decision {
        let Verdict::Ask { ask, reserve } = &decision.verdict else { return decision };
        match self.usable(facts, svaml, *reserve) {
            Ok(verdict) => {
                let to = ask.to.clone();
                note(&mut decision, &to, took, None);
                decision.verdict = verdict;
                decision
            }
            Err(why) => self.ask_failed(facts, decision, why, took),
        }
    }

    /// Goes on without an answer: refuses with `ASK_FAILED`, or tries the rules after the one that asked. These may ask
    /// again, three times in all. A decision that asks nobody stays.
    pub fn ask_failed(&self, facts: &Facts<'_>, mut decision: Decision, why: String, took: Duration) -> Decision {
        let Verdict::Ask { ask, .. } = decision.verdict.clone() else { return decision };
        let why: String = why.chars().take(ERROR_MAX_CHARS).collect();
        if let Some(tried) = decision.explanation.tried.last_mut() {
            tried.result = TriedResult::Failed;
            tried.error = Some(format!("{}: {why}", ask.to));
        }
        note(&mut decision, &ask.to, took, Some(why));
        decision.remember.clear();
        let kind = facts.callback.kind();
        match ask.on_error {
            OnAskError::Deny => {
                decision.verdict = self.denied(kind, Reason::ASK_FAILED);
                decision
            }
            OnAskError::Next => {
                let rules = self.rules.of(kind);
                let after = rules.iter().position(|rule| *rule.name == *decision.rule).map_or(rules.len(), |at| at + 1);
                let before = decision.explanation;
                let trail = Trail { tried: before.tried, unlisted: before.unlisted, asked: before.asked };
                Scene::new(self, facts, before.lists).decide(after, trail)
            }
        }
    }

    pub(crate) fn usable(&self, facts: &Facts<'_>, mut svaml: Svaml, reserve: bool) -> Result<Verdict, String> {
        let number = self.number(facts, &mut svaml).ok_or("the answer connects what is no E.164 number")?;
        legal(&svaml, facts.callback.kind())?;
        match &svaml.action {
            Action::ConnectPstn(connect) if reserve => {
                if connect.suppress_callbacks == Some(true) {
                    return Err("the answer switches off callbacks, and then the call cannot be billed".to_owned());
                }
                reserved(svaml, number.ok_or("the answer connects no number that could be rated")?)
            }
            Action::ConnectPstn(_)
            | Action::Hangup
            | Action::Continue
            | Action::ConnectMxp(_)
            | Action::ConnectConf(_)
            | Action::ConnectSip(_)
            | Action::ConnectStream(_)
            | Action::RunMenu(_)
            | Action::Park(_) => Ok(Verdict::Answer(svaml)),
        }
    }
}

fn note(decision: &mut Decision, to: &AskTo, took: Duration, error: Option<String>) {
    decision.explanation.asked.push(AskedElsewhere {
        rule: decision.rule.as_str().into(),
        to: to.to_string(),
        took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        error,
    });
}
