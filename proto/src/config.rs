//! What operators change while calls go on: bodies of the events of the stream `CONFIG`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Body of `callbus.list.changed.v1`. A list is the fold of its events: what was added last and not removed since.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListChanged {
    /// Everything that was on the list goes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cleared: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Who did it: `callbus list add` at a terminal, a program with the API's token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// Body of `callbus.policy.put_in_force.v1`: from here on an app's workers decide by this revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyPutInForce {
    /// Content hash of the policy; its text lies in the document `policy/<revision>`. Empty: no shadow any more.
    pub revision: String,
    /// The file's name, for errors and lists.
    pub file: String,
    /// It decides beside the one in force, and is only recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    pub origin: PolicyOrigin,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How a revision came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOrigin {
    /// The file that the configuration names, at a start or after it was changed.
    File,
    /// `callbus policy push`.
    Push,
    /// `callbus policy rollback`.
    Rollback,
}

/// Body of `callbus.deck.put_in_force.v1`: calls that begin at `effective_from` or later are rated by this version of the
/// price list, until one with a later time, or a later event of the same time, takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeckPutInForce {
    /// Content hash of the price list; its CSV lies in the document `deck/<name>@<version>`.
    pub version: String,
    pub effective_from: Timestamp,
    pub prefixes: usize,
}
