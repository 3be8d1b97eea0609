//! A loaded policy, and how it decides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cel::Env;
use proto::id::BadName;
use proto::svaml::{Action, Instruction};
use proto::{Kind, ListName, Svaml, WalletId};

use crate::cli::CliMap;
use crate::decision::{Decision, Verdict};
use crate::emit::EmitRule;
use crate::expression::Expression;
use crate::facts::Facts;
use crate::hours::Hours;
use crate::list::{Lists, Source};
use crate::reason::Reason;
use crate::reply::Reply;
use crate::rule::Rule;
use crate::scene::{Scene, Trail};
use crate::template::Template;
use crate::variables::{Reads, Variables};

/// Name of the rule that applies where the file has none.
pub(crate) const BUILT_IN: &str = "built-in";

/// Call control as data: ordered rules for ICE, ACE and PIE, first match wins, and events made of DICE and notify.
pub struct Policy {
    pub(crate) revision: String,
    pub(crate) file_name: String,
    pub(crate) test_count: usize,
    pub(crate) shadow: bool,
    pub(crate) on_error: OnError,
    pub(crate) locale: Option<String>,
    /// Spoken refusals by reason.
    pub(crate) say: BTreeMap<Reason, String>,
    pub(crate) wallet: Option<Template>,
    pub(crate) lists: Arc<Lists>,
    pub(crate) cli: CliMap,
    pub(crate) rules: Rules,
    /// Answers that lead into a menu, by its name.
    pub(crate) menus: BTreeMap<String, Reply>,
    /// What expressions read, of all events.
    pub(crate) reads: Reads,
    /// Variables that expressions name.
    pub(crate) env_names: Vec<String>,
    /// Those that expressions name.
    pub(crate) hours: Hours,
    /// For ICE, ACE, PIE, DICE and notify.
    pub(crate) needs: [Needs; 5],
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
    pub(crate) dice: Vec<EmitRule>,
    pub(crate) notify: Vec<EmitRule>,
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
        f.debug_struct("Policy")
            .field("file", &self.file_name)
            .field("revision", &self.revision)
            .field("rules", &self.rule_count())
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

    /// Rules of all events.
    pub fn rule_count(&self) -> usize {
        self.rules.count()
    }

    /// Tests of the file's own; all of them pass.
    pub fn test_count(&self) -> usize {
        self.test_count
    }

    /// The file says `mode: shadow`: it only says what it would do, see [`Policy::shadow`].
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// The lists of [`Facts::lists`] that rules may ask.
    pub fn live_lists(&self) -> impl Iterator<Item = &ListName> {
        self.lists.values().filter_map(|list| match list {
            Source::Live(name) => Some(name),
            Source::Fixed(_) => None,
        })
    }

    /// What [`Policy::decide`], [`Policy::emits`] and [`Policy::wallet`] look at for such an event.
    pub fn needs(&self, kind: Kind) -> Needs {
        match kind {
            Kind::Ice => self.needs[0],
            Kind::Ace => self.needs[1],
            Kind::Pie => self.needs[2],
            Kind::Dice => self.needs[3],
            Kind::Notify => self.needs[4],
            Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => Needs::default(),
        }
    }

    /// Who pays: what the file's `wallet:` gives, or the app's own wallet.
    ///
    /// # Errors
    /// When the expression fails or gives no wallet name.
    pub fn wallet(&self, facts: &Facts<'_>) -> Result<WalletId, WalletError> {
        self.wallet_in(&Variables::new(self, facts, Vec::new()), facts)
    }

    pub(crate) fn wallet_in(&self, variables: &Variables<'_>, facts: &Facts<'_>) -> Result<WalletId, WalletError> {
        match &self.wallet {
            Some(template) => Ok(WalletId::new(template.render(variables).map_err(WalletError::Expression)?)?),
            None => Ok(facts.app.wallet.clone()),
        }
    }

    /// Menus that whoever is called can be led into.
    pub fn menus(&self) -> impl Iterator<Item = &str> {
        self.menus.keys().map(String::as_str)
    }

    /// The answer to an ACE that leads into a menu.
    ///
    /// # Errors
    /// Says why there is none: this policy has no such menu, or a text of it cannot be filled in.
    pub fn menu(&self, name: &str, facts: &Facts<'_>) -> Result<Svaml, String> {
        let reply = self.menus.get(name).ok_or_else(|| format!("the policy has no menu {name:?}"))?;
        reply.render(&Variables::new(self, facts, Vec::new()))
    }

    /// Decides. Whatever happens there is an answer, or somebody to ask for one; a rule that cannot be worked out
    /// counts as `defaults.on_error` says.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        Scene::new(self, facts, Vec::new()).decide(0, Trail::default())
    }

    /// The answer that says no: the reason in words, then the end of the call. A call that was answered just ends.
    pub fn refusal(&self, kind: Kind, reason: &Reason) -> Svaml {
        let text = self.say.get(reason).map_or_else(|| reason.spoken(), String::as_str);
        self.spoken_end(kind, text.to_owned())
    }

    pub(crate) fn spoken_end(&self, kind: Kind, text: String) -> Svaml {
        match kind {
            Kind::Ice | Kind::Pie => {
                let say = Instruction::Say { text, locale: self.locale.clone() };
                Svaml { instructions: vec![say], action: Action::Hangup }
            }
            Kind::Ace
            | Kind::Dice
            | Kind::Notify
            | Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => Svaml::only(Action::Hangup),
        }
    }

    pub(crate) fn denied(&self, kind: Kind, reason: Reason) -> Verdict {
        let svaml = self.refusal(kind, &reason);
        Verdict::Deny { reason, svaml }
    }

    /// Where the file has no rules for an event, or all of them failed: nobody new gets in, who is connected stays so,
    /// menus end.
    pub(crate) fn built_in(&self, kind: Kind) -> Verdict {
        match kind {
            Kind::Ace => Verdict::Answer(Svaml::only(Action::Continue)),
            Kind::Pie => Verdict::Answer(Svaml::only(Action::Hangup)),
            Kind::Ice
            | Kind::Dice
            | Kind::Notify
            | Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => {
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
            Kind::Dice
            | Kind::Notify
            | Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => &[],
        }
    }

    pub(crate) fn emitting(&self, kind: Kind) -> &[EmitRule] {
        match kind {
            Kind::Dice => &self.dice,
            Kind::Notify => &self.notify,
            Kind::Ice
            | Kind::Ace
            | Kind::Pie
            | Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => &[],
        }
    }

    /// What is evaluated for such an event.
    pub(crate) fn expressions(&self, kind: Kind) -> impl Iterator<Item = &Expression> {
        let of_rules = self.of(kind).iter().flat_map(Rule::expressions);
        of_rules.chain(self.emitting(kind).iter().flat_map(EmitRule::expressions))
    }

    fn count(&self) -> usize {
        self.ice.len() + self.ace.len() + self.pie.len() + self.dice.len() + self.notify.len()
    }
}
