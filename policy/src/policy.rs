//! A loaded policy, and how it decides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cel::{Context, Env, Value};
use proto::id::BadName;
use proto::svaml::{Action, Instruction};
use proto::{Kind, ListName, PhoneNumber, Svaml, WalletId};

use crate::cli::CliMap;
use crate::decision::{CALL_MAX_SECS, Decision, Verdict};
use crate::explanation::{Explanation, TRIED_MAX, Tried, TriedResult};
use crate::expression::Expression;
use crate::facts::{Facts, context};
use crate::hours::Hours;
use crate::list::{Asked, Lists, Source};
use crate::reason::Reason;
use crate::reply::{CLI_AUTO, Reply};
use crate::rule::{Rule, Then};
use crate::template::Template;

/// Name of the rule that applies where the file has none.
const BUILT_IN: &str = "built-in";

/// Call control as data: ordered rules for ICE, ACE and PIE, first match wins.
pub struct Policy {
    pub(crate) revision: String,
    pub(crate) file_name: String,
    pub(crate) on_error: OnError,
    pub(crate) locale: Option<String>,
    /// Spoken refusals by reason.
    pub(crate) say: BTreeMap<Reason, String>,
    pub(crate) wallet: Option<Template>,
    pub(crate) lists: Arc<Lists>,
    pub(crate) cli: CliMap,
    pub(crate) rules: Rules,
    /// Variables that expressions name.
    pub(crate) env_names: Vec<String>,
    /// Those that expressions name.
    pub(crate) hours: Hours,
    /// For ICE, ACE and PIE.
    pub(crate) needs: [Needs; 3],
    pub(crate) env: Arc<Env>,
}

/// What the rules of an event look at, so that a worker fetches nothing in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Call memory.
    pub memory: bool,
    /// Balance and limits of the wallet.
    pub wallet: bool,
    /// The price of the dialled number.
    pub price: bool,
}

/// What a condition that fails counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnError {
    /// The call is refused with `POLICY_ERROR`.
    #[default]
    Deny,
    /// The rule does not apply.
    Next,
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) ice: Vec<Rule>,
    pub(crate) ace: Vec<Rule>,
    pub(crate) pie: Vec<Rule>,
}

/// Who pays could not be worked out.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error("the wallet expression: {0}")]
    Expression(String),
    #[error("the wallet expression: {0}")]
    Name(#[from] BadName),
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.rules.all().count();
        f.debug_struct("Policy")
            .field("file", &self.file_name)
            .field("revision", &self.revision)
            .field("rules", &rules)
            .finish()
    }
}

impl Policy {
    /// Content hash over the file and its lists: 64 hexadecimal digits, of which people are shown the first 12.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The name it was loaded under.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The lists of [`Facts::lists`] that rules may ask.
    pub fn live_lists(&self) -> impl Iterator<Item = &ListName> {
        self.lists.values().filter_map(|list| match list {
            Source::Live(name) => Some(name),
            Source::Fixed(_) => None,
        })
    }

    /// What [`Policy::decide`] and [`Policy::wallet`] look at for such an event.
    pub fn needs(&self, kind: Kind) -> Needs {
        match kind {
            Kind::Ice => self.needs[0],
            Kind::Ace => self.needs[1],
            Kind::Pie => self.needs[2],
            Kind::Dice | Kind::Notify | Kind::Unknown | Kind::Decided | Kind::Emitted | Kind::Settled => {
                Needs::default()
            }
        }
    }

    /// Who pays: what the file's `wallet:` gives, or the app's own wallet.
    ///
    /// # Errors
    /// When the expression fails or gives no wallet name.
    pub fn wallet(&self, facts: &Facts<'_>) -> Result<WalletId, WalletError> {
        let asked = Asked::new(&self.lists, facts.lists);
        self.wallet_in(&context(&self.env, &facts.to_json(&self.env_names, &self.hours), &asked), facts)
    }

    fn wallet_in(&self, context: &Context<'_, '_>, facts: &Facts<'_>) -> Result<WalletId, WalletError> {
        match &self.wallet {
            Some(template) => Ok(WalletId::new(template.render(context).map_err(WalletError::Expression)?)?),
            None => Ok(facts.app.wallet.clone()),
        }
    }

    /// Decides. Whatever happens there is an answer; a rule that cannot be worked out counts as `defaults.on_error` says.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let kind = facts.callback.kind();
        let json = facts.to_json(&self.env_names, &self.hours);
        let asked = Asked::new(&self.lists, facts.lists);
        let context = context(&self.env, &json, &asked);
        let wallet = self.wallet_in(&context, facts);
        let scene = Scene { policy: self, facts, kind, context: &context, wallet_error: wallet.as_ref().err() };
        let (mut tried, mut unlisted) = (Vec::new(), 0);
        let outcome = scene.first_match(&mut tried, &mut unlisted);
        let rule = tried.last().map_or(BUILT_IN, |tried| &tried.rule).to_owned();
        let (verdict, remember) = outcome.unwrap_or_else(|| (self.built_in(kind), Vec::new()));
        let lists = asked.answers();
        let explanation = Explanation { policy: self.revision.clone(), tried, unlisted, facts: json, lists };
        Decision { rule, verdict, wallet: wallet.ok(), remember, explanation }
    }

    /// The answer that says no: the reason in words, then the end of the call. A call that was answered just ends.
    pub fn refusal(&self, kind: Kind, reason: &Reason) -> Svaml {
        let text = self.say.get(reason).map_or_else(|| reason.spoken(), String::as_str);
        self.spoken_end(kind, text.to_owned())
    }

    fn spoken_end(&self, kind: Kind, text: String) -> Svaml {
        match kind {
            Kind::Ice | Kind::Pie => {
                let say = Instruction::Say { text, locale: self.locale.clone() };
                Svaml { instructions: vec![say], action: Action::Hangup }
            }
            Kind::Ace | Kind::Dice | Kind::Notify | Kind::Unknown | Kind::Decided | Kind::Emitted | Kind::Settled => {
                Svaml::only(Action::Hangup)
            }
        }
    }

    fn denied(&self, kind: Kind, reason: Reason) -> Verdict {
        let svaml = self.refusal(kind, &reason);
        Verdict::Deny { reason, svaml }
    }

    /// Where the file has no rules for an event, or all of them failed: nobody new gets in, who is connected stays so,
    /// menus end.
    fn built_in(&self, kind: Kind) -> Verdict {
        match kind {
            Kind::Ace => Verdict::Answer(Svaml::only(Action::Continue)),
            Kind::Pie => Verdict::Answer(Svaml::only(Action::Hangup)),
            Kind::Ice | Kind::Dice | Kind::Notify | Kind::Unknown | Kind::Decided | Kind::Emitted | Kind::Settled => {
                let reason = if self.rules.of(kind).is_empty() { Reason::NO_RULE } else { Reason::POLICY_ERROR };
                self.denied(kind, reason)
            }
        }
    }
}

impl Rules {
    pub(crate) fn of(&self, kind: Kind) -> &[Rule] {
        match kind {
            Kind::Ice => &self.ice,
            Kind::Ace => &self.ace,
            Kind::Pie => &self.pie,
            Kind::Dice | Kind::Notify | Kind::Unknown | Kind::Decided | Kind::Emitted | Kind::Settled => &[],
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.ice.iter().chain(&self.ace).chain(&self.pie)
    }
}

/// One decision being made.
struct Scene<'a> {
    policy: &'a Policy,
    facts: &'a Facts<'a>,
    kind: Kind,
    context: &'a Context<'static, 'static>,
    wallet_error: Option<&'a WalletError>,
}

type Outcome = (Verdict, Vec<(String, String)>);

impl Scene<'_> {
    /// Tries rule after rule. `None` when there are none, or all failed and failing counts as not applying.
    fn first_match(&self, tried: &mut Vec<Tried>, unlisted: &mut usize) -> Option<Outcome> {
        for rule in self.policy.rules.of(self.kind) {
            let mut trial = Tried {
                rule: Arc::clone(&rule.name),
                result: TriedResult::NotMatched,
                read: rule.when.as_ref().map(|when| Arc::clone(&when.reads)).unwrap_or_default(),
                error: None,
            };
            let outcome =
                self.applies(rule.when.as_ref()).and_then(|applies| applies.then(|| self.follow(rule)).transpose());
            match outcome {
                Ok(Some(outcome)) => {
                    tried.push(Tried { result: TriedResult::Matched, ..trial });
                    return Some(outcome);
                }
                Ok(None) if tried.len() < TRIED_MAX => tried.push(trial),
                Ok(None) => *unlisted += 1,
                Err(error) => {
                    let denied = self.policy.on_error == OnError::Deny;
                    if denied || tried.len() < TRIED_MAX {
                        trial.error = Some(error);
                        tried.push(Tried { result: TriedResult::Failed, ..trial });
                    } else {
                        *unlisted += 1;
                    }
                    if denied {
                        return Some((self.policy.denied(self.kind, Reason::POLICY_ERROR), Vec::new()));
                    }
                }
            }
        }
        None
    }

    fn applies(&self, when: Option<&Expression>) -> Result<bool, String> {
        match when.map(|when| when.evaluate(self.context)).transpose()? {
            None | Some(Value::Bool(true)) => Ok(true),
            Some(Value::Bool(false)) => Ok(false),
            Some(other) => Err(format!("the condition gives {}, not true or false", other.type_of())),
        }
    }

    fn follow(&self, rule: &Rule) -> Result<Outcome, String> {
        let verdict = match &rule.then {
            Then::Deny { reason, say } => self.deny(reason, say.as_ref())?,
            Then::Answer(reply) => match self.render(reply)? {
                Some((svaml, _)) => Verdict::Answer(svaml),
                None => self.policy.denied(self.kind, Reason::INVALID_NUMBER),
            },
            Then::Reserve(reply) => self.reserve(reply)?,
        };
        let remember = |(name, template): &(String, Template)| Ok((name.clone(), template.render(self.context)?));
        Ok((verdict, rule.remember.iter().map(remember).collect::<Result<_, String>>()?))
    }

    fn deny(&self, reason: &Reason, say: Option<&Template>) -> Result<Verdict, String> {
        let svaml = match say {
            Some(say) => self.policy.spoken_end(self.kind, say.render(self.context)?),
            None => self.policy.refusal(self.kind, reason),
        };
        svaml.check(self.kind).map_err(|problems| format!("the answer would be refused: {problems}"))?;
        Ok(Verdict::Deny { reason: reason.clone(), svaml })
    }

    fn reserve(&self, reply: &Reply) -> Result<Verdict, String> {
        if let Some(error) = self.wallet_error {
            return Err(error.to_string());
        }
        let Some((mut svaml, Some(number))) = self.render(reply)? else {
            return Ok(self.policy.denied(self.kind, Reason::INVALID_NUMBER));
        };
        let Action::ConnectPstn(connect) = &mut svaml.action else {
            return Err(format!("{} cannot be paid for", svaml.action.name()));
        };
        // What was rated is what is dialled, so the number stands in the answer even where Sinch would know it.
        connect.number = Some(number.as_str().to_owned());
        let cap_secs = connect.max_duration.unwrap_or(CALL_MAX_SECS).min(CALL_MAX_SECS);
        Ok(Verdict::Reserve { svaml, number, cap_secs })
    }

    /// Fills in the reply. The number is the one connected, or the dialled one if that is a phone number; `None` when
    /// what is to be connected is not one.
    fn render(&self, reply: &Reply) -> Result<Option<(Svaml, Option<PhoneNumber>)>, String> {
        let mut svaml = reply.render(self.context)?;
        let mut number = None;
        if let Action::ConnectPstn(connect) = &mut svaml.action {
            match connect.number.as_deref().map(PhoneNumber::parse_lenient) {
                Some(Err(_)) => return Ok(None),
                Some(Ok(written)) => {
                    connect.number = Some(written.as_str().to_owned());
                    number = Some(written);
                }
                None => number = self.facts.dialled().and_then(|dialled| PhoneNumber::parse_lenient(dialled).ok()),
            }
            if connect.cli.as_deref() == Some(CLI_AUTO) {
                let shown = number.as_ref().and_then(|number| self.policy.cli.for_number(number));
                connect.cli = shown.map(str::to_owned);
            }
        }
        if reply.is_open() {
            svaml.check(self.kind).map_err(|problems| format!("the answer would be refused: {problems}"))?;
        }
        Ok(Some((svaml, number)))
    }
}
