//! A decision that code made in the place of rules, told as one of a policy.

use proto::Kind;
use proto::svaml::{Action, Said};
use proto::{Svaml, WalletId};

use crate::decision::{Decision, Verdict};
use crate::explanation::{Tried, TriedResult};
use crate::facts::Facts;
use crate::policy::Policy;
use crate::reason::Reason;

/// What a handler made of a callback.
#[derive(Debug, Clone)]
pub struct Handled {
    /// Stands in the place of a policy's revision.
    pub handler: String,
    /// Its answer, or why it gave none.
    pub said: Result<Said, String>,
    /// Who pays; `None`: the app's own wallet.
    pub wallet: Option<WalletId>,
    /// What it said about the call.
    pub log: Vec<String>,
}

impl Policy {
    /// The decision of a handler, checked as an answer of rules is. One that failed refuses a call that comes in, lets a
    /// call that is up go on, and ends a menu. This policy gives the words of refusals.
    pub fn handled(&self, facts: &Facts<'_>, handled: Handled) -> Decision {
        let Handled { handler, said, wallet, log } = handled;
        let kind = facts.callback.kind();
        let verdict = said.and_then(|said| self.spoken(facts, said));
        let (verdict, error) = match verdict {
            Ok(verdict) => (verdict, None),
            Err(why) if kind == Kind::Ace => (Verdict::Answer(Svaml::only(Action::Continue)), Some(why)),
            Err(why) => (self.denied(kind, Reason::POLICY_ERROR), Some(why)),
        };
        let mut decision = self.decide(facts);
        decision.verdict = verdict;
        decision.wallet = Some(wallet.unwrap_or_else(|| facts.app.wallet.clone()));
        decision.remember.clear();
        decision.rule = kind.to_string();
        let result = if error.is_some() { TriedResult::Failed } else { TriedResult::Matched };
        decision.explanation.tried = vec![Tried { rule: kind.as_str().into(), result, read: [].into(), error }];
        decision.explanation.policy = handler;
        decision.explanation.log = log;
        decision
    }

    fn spoken(&self, facts: &Facts<'_>, said: Said) -> Result<Verdict, String> {
        match said {
            Said::Answer(svaml) => self.usable(facts, svaml, false),
            Said::Reserve(svaml) => self.usable(facts, svaml, true),
            Said::Deny { reason, svaml } => {
                let reason = Reason::new(&reason).map_err(|error| error.to_string())?;
                let svaml = svaml.unwrap_or_else(|| self.refusal(facts.callback.kind(), &reason));
                Ok(Verdict::Deny { reason, svaml })
            }
        }
    }
}
