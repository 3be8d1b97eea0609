//! One decision being made: rule after rule, until one decides.

use std::sync::Arc;

use cel::Value;
use proto::svaml::Action;
use proto::{Kind, PhoneNumber, Svaml, WalletId};

use crate::ask::ASKS_MAX;
use crate::decision::{CALL_MAX_SECS, Decision, Verdict};
use crate::explanation::{AskedElsewhere, Explanation, Membership, TRIED_MAX, Tried, TriedResult};
use crate::expression::Expression;
use crate::facts::Facts;
use crate::policy::{BUILT_IN, OnError, Policy, WalletError};
use crate::reason::Reason;
use crate::reply::{CLI_AUTO, Reply};
use crate::rule::{Rule, Then};
use crate::template::Template;
use crate::variables::Variables;

/// A policy, the facts of one callback, and what expressions see of them.
pub(crate) struct Scene<'a> {
    policy: &'a Policy,
    facts: &'a Facts<'a>,
    kind: Kind,
    variables: Variables<'a>,
    wallet: Result<WalletId, WalletError>,
}

/// What was tried so far.
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) tried: Vec<Tried>,
    pub(crate) unlisted: usize,
    pub(crate) asked: Vec<AskedElsewhere>,
}

impl Trail {
    /// A rule that did not decide: of a long list only the first ones are kept.
    fn note(&mut self, tried: Tried) {
        if self.tried.len() < TRIED_MAX { self.tried.push(tried) } else { self.unlisted += 1 }
    }
}

type Outcome = (Verdict, Vec<(String, String)>);

impl<'a> Scene<'a> {
    /// `known` are answers of lists that were given before and stand.
    pub(crate) fn new(policy: &'a Policy, facts: &'a Facts<'a>, known: Vec<Membership>) -> Self {
        let variables = Variables::new(policy, facts, known);
        let wallet = policy.wallet_in(&variables, facts);
        Self { policy, facts, kind: facts.callback.kind(), variables, wallet }
    }

    /// Decides by the rules from this one on.
    pub(crate) fn decide(self, from: usize, mut trail: Trail) -> Decision {
        let outcome = self.first_match(from, &mut trail);
        let Trail { tried, unlisted, asked } = trail;
        let rule = tried.last().map_or(BUILT_IN, |tried| &tried.rule).to_owned();
        let (verdict, remember) = outcome.unwrap_or_else(|| (self.policy.built_in(self.kind), Vec::new()));
        let (policy, (facts, lists)) = (self.policy.revision.clone(), self.variables.recorded());
        let (log, shadow) = (Vec::new(), None);
        let explanation = Explanation { policy, tried, unlisted, facts, lists, asked, log, shadow };
        Decision { rule, verdict, wallet: self.wallet.ok(), remember, explanation }
    }

    /// Tries rule after rule. `None` when there are none, or all failed and failing counts as not applying.
    fn first_match(&self, from: usize, trail: &mut Trail) -> Option<Outcome> {
        let rules = self.policy.rules.of(self.kind).get(from..).unwrap_or_default();
        trail.tried.reserve(rules.len().min(TRIED_MAX));
        for rule in rules {
            let trial = Tried {
                rule: Arc::clone(&rule.name),
                result: TriedResult::NotMatched,
                read: rule.when.as_ref().map(|when| Arc::clone(&when.reads)).unwrap_or_default(),
                error: None,
            };
            let outcome = self
                .applies(rule.when.as_ref())
                .and_then(|applies| applies.then(|| self.follow(rule, trail.asked.len())).transpose());
            match outcome {
                Ok(Some(_)) if rule.shadow => trail.note(Tried { result: TriedResult::Shadow, ..trial }),
                Ok(Some(outcome)) => {
                    trail.tried.push(Tried { result: TriedResult::Matched, ..trial });
                    return Some(outcome);
                }
                Ok(None) => trail.note(trial),
                Err(error) => {
                    let failed = Tried { result: TriedResult::Failed, error: Some(error), ..trial };
                    if self.policy.on_error == OnError::Deny && !rule.shadow {
                        trail.tried.push(failed);
                        return Some((self.policy.denied(self.kind, Reason::POLICY_ERROR), Vec::new()));
                    }
                    trail.note(failed);
                }
            }
        }
        None
    }

    fn applies(&self, when: Option<&Expression>) -> Result<bool, String> {
        when.map_or(Ok(true), |when| holds(when, &self.variables))
    }

    fn follow(&self, rule: &Rule, asks: usize) -> Result<Outcome, String> {
        let verdict = match &rule.then {
            Then::Deny { reason, say } => self.deny(reason, say.as_ref())?,
            Then::Answer(reply) => match self.render(reply)? {
                Some((svaml, _)) => Verdict::Answer(svaml),
                None => self.policy.denied(self.kind, Reason::INVALID_NUMBER),
            },
            Then::Reserve(reply) => {
                self.payer()?;
                match self.render(reply)? {
                    Some((svaml, Some(number))) => reserved(svaml, number)?,
                    Some((_, None)) | None => self.policy.denied(self.kind, Reason::INVALID_NUMBER),
                }
            }
            Then::Ask { .. } if asks >= ASKS_MAX => self.policy.denied(self.kind, Reason::ASK_FAILED),
            Then::Ask { ask, reserve } => {
                if *reserve {
                    self.payer()?;
                }
                Verdict::Ask { ask: ask.clone(), reserve: *reserve }
            }
        };
        let remember = |(name, template): &(String, Template)| Ok((name.clone(), template.render(&self.variables)?));
        Ok((verdict, rule.remember.iter().map(remember).collect::<Result<_, String>>()?))
    }

    fn deny(&self, reason: &Reason, say: Option<&Template>) -> Result<Verdict, String> {
        let svaml = match say {
            Some(say) => self.policy.spoken_end(self.kind, say.render(&self.variables)?),
            None => self.policy.refusal(self.kind, reason),
        };
        legal(&svaml, self.kind)?;
        Ok(Verdict::Deny { reason: reason.clone(), svaml })
    }

    /// What is reserved must have somebody to pay for it.
    fn payer(&self) -> Result<(), String> {
        self.wallet.as_ref().map(|_| ()).map_err(ToString::to_string)
    }

    /// Fills in the reply. `None` when what is to be connected is no phone number.
    fn render(&self, reply: &Reply) -> Result<Option<(Svaml, Option<PhoneNumber>)>, String> {
        let mut svaml = reply.render(&self.variables)?;
        let Some(number) = self.policy.number(self.facts, &mut svaml) else { return Ok(None) };
        if reply.is_open() {
            legal(&svaml, self.kind)?;
        }
        Ok(Some((svaml, number)))
    }
}

impl Policy {
    /// Brings the number that an answer connects into E.164 form, and puts in the number to show. Gives the number
    /// connected, or the dialled one if that is a phone number; `None` when what is written is no number.
    pub(crate) fn number(&self, facts: &Facts<'_>, svaml: &mut Svaml) -> Option<Option<PhoneNumber>> {
        let Action::ConnectPstn(connect) = &mut svaml.action else { return Some(None) };
        let number = match connect.number.as_deref() {
            Some(written) => {
                let number = PhoneNumber::parse_lenient(written).ok()?;
                connect.number = Some(number.as_str().to_owned());
                Some(number)
            }
            None => facts.dialled().and_then(|dialled| PhoneNumber::parse_lenient(dialled).ok()),
        };
        if connect.cli.as_deref() == Some(CLI_AUTO) {
            let shown = number.as_ref().and_then(|number| self.cli.for_number(number));
            connect.cli = shown.map(str::to_owned);
        }
        Some(number)
    }
}

/// Whether a condition holds.
pub(crate) fn holds(when: &Expression, variables: &Variables<'_>) -> Result<bool, String> {
    let value = when.evaluate(variables)?;
    if let Value::Bool(holds) = value {
        return Ok(holds);
    }
    Err(format!("the condition gives {}, not true or false", value.type_of()))
}

/// Leaves the answer to whoever holds credit for it.
pub(crate) fn reserved(mut svaml: Svaml, number: PhoneNumber) -> Result<Verdict, String> {
    let Action::ConnectPstn(connect) = &mut svaml.action else {
        return Err(format!("{} cannot be paid for", svaml.action.name()));
    };
    // What was rated is what is dialled, so the number stands in the answer even where Sinch would know it.
    connect.number = Some(number.as_str().to_owned());
    let cap_secs = connect.max_duration.unwrap_or(CALL_MAX_SECS).min(CALL_MAX_SECS);
    Ok(Verdict::Reserve { svaml, number, cap_secs })
}

pub(crate) fn legal(svaml: &Svaml, kind: Kind) -> Result<(), String> {
    svaml.check(kind).map_err(|problems| format!("the answer would be refused: {problems}"))
}
