//! `emitted`: a named event that a policy made of a DICE or a notify.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::EventId;
use crate::kind::Kind;

/// Body of the event `callbus.call.emitted.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Emitted {
    /// What the rule calls it: `call.lost`, `recording.ready`.
    pub name: String,
    /// DICE or notify.
    pub kind: Kind,
    /// Event id of the callback it was made of.
    pub callback: EventId,
    pub rule: String,
    /// Revision of the policy the rule stands in.
    pub policy: String,
    /// What the rule put into it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

impl Emitted {
    /// Id of the event: each rule makes one event of a callback, however often the callback is looked at.
    pub fn id(&self) -> EventId {
        EventId::of(&["emitted", self.callback.as_str(), &self.rule])
    }
}
