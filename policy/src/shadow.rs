//! What a policy that is tried out beside the one in force would have done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::facts::Facts;
use crate::outline::{Course, Outline};
use crate::policy::Policy;
use crate::reason::Reason;

/// The decision of a shadow policy, in short. It stands in the explanation of the one that counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShadowDecision {
    /// Revision of the shadow policy.
    pub revision: String,
    pub rule: String,
    /// What it would have done.
    pub outcome: Course,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// SVAML's name of the action it would have answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The caller would have noticed.
    pub differs: bool,
}

impl Policy {
    /// What this policy would have done where `of` was decided. Nobody is asked elsewhere; asking the one that was asked
    /// counts as the same.
    pub fn shadow(&self, facts: &Facts<'_>, of: &Decision) -> ShadowDecision {
        let would = Outline::of(&self.decide(facts));
        let differs = match &would.asks {
            Some(to) => {
                let asked = of.explanation.asked.first().map(|asked| &asked.to);
                asked != Some(to) && Outline::of(of).asks.as_ref() != Some(to)
            }
            None => would != Outline::of(of),
        };
        let action = would.action().map(str::to_owned);
        let Outline { outcome, reason, rule, .. } = would;
        ShadowDecision { revision: self.revision.clone(), rule, outcome, reason, action, differs }
    }
}

impl ShadowDecision {
    /// One English sentence, such as `The shadow policy would have refused with CLOSED (hangup): rule night.`
    pub fn sentence(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(" with {reason}")).unwrap_or_default();
        let action = self.action.as_ref().map(|action| format!(" ({action})")).unwrap_or_default();
        let same = if self.differs { "" } else { ", to the same effect" };
        format!("The shadow policy would have {}{reason}{action}{same}: rule {}.", self.outcome, self.rule)
    }
}
