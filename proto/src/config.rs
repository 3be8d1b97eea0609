//! What operators change while calls go on: bodies of the events of the stream `CONFIG`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::AppName;
use crate::kind::Kind;

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

/// Body of `callbus.destination.changed.v1`. A destination is the fold of its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DestinationChanged {
    /// From here on it is this; what was parked is tried at once.
    Put(Box<DestinationPut>),
    /// Nothing is sent; what comes is parked.
    Paused { by: String },
    /// What is parked is sent, in order. Also brings back one that asked not to be called any more.
    Resumed { by: String },
    /// What is not delivered is given up.
    Removed { by: String },
}

/// Where events are delivered to, which, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DestinationPut {
    /// What is called; of a CRM, where it is.
    pub url: String,
    /// What kind of receiver is there.
    #[serde(default, skip_serializing_if = "Connector::is_webhook")]
    pub to: Connector,
    /// The stream `CALLS` ended here when it was put: of a new destination, events up to there are not for it.
    #[serde(default)]
    pub from_seq: u64,
    /// The stream `DELIVERIES` ended here when it was put: what is before was about another of its name.
    #[serde(default)]
    pub deliveries_seq: u64,
    pub method: DeliveryMethod,
    /// At least one.
    pub kinds: Vec<Kind>,
    /// Empty: of every app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<AppName>,
    /// An expression that must be true of an event; empty: every event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub when: String,
    pub retry: RetryPlan,
    /// For one attempt in all.
    pub timeout_secs: u16,
    /// Attempts at the same time.
    pub concurrency_max: u16,
    /// Attempts a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_sec: Option<u32>,
    /// Names of further headers. Their values, which may be secret, lie elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The secret under which the values of the headers lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_values: Option<String>,
    /// Names of what a CRM wants to know before it lets anybody in. The values lie elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// The secret under which the values of the credentials lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_values: Option<String>,
    /// What it is signed with, the newest first. The secrets themselves lie elsewhere, under these names.
    pub keys: Vec<SigningKey>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// What kind of receiver a destination is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Connector {
    /// Takes events as they are, signed.
    #[default]
    Webhook,
    /// Has one call in HubSpot for each call.
    Hubspot(HubspotSettings),
    /// Has one task in Salesforce for each call.
    Salesforce(SalesforceSettings),
    /// Has one activity for each call in whatever a recipe describes.
    Recipe(RecipeSettings),
}

impl Connector {
    /// Whether events go out as they are.
    pub fn is_webhook(&self) -> bool {
        *self == Self::Webhook
    }

    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Hubspot(_) => "hubspot",
            Self::Salesforce(_) => "salesforce",
            Self::Recipe(_) => "recipe",
        }
    }
}

/// How calls are written to HubSpot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HubspotSettings {
    /// Where its objects lie; the path says the version.
    pub path: String,
    /// Name of the property of calls that is unique and holds the call id.
    pub property: String,
    /// Number of the type of association from a call to a contact.
    pub association: u32,
    /// The account's time zone: daily limits end at its midnight.
    pub time_zone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Properties of a call, each with a template in the place of ours; an empty one leaves the property out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl Default for HubspotSettings {
    fn default() -> Self {
        Self {
            path: "/crm/objects/2026-09".to_owned(),
            property: "callbus_call_id".to_owned(),
            association: 194,
            time_zone: "UTC".to_owned(),
            direction: None,
            fields: BTreeMap::new(),
        }
    }
}

/// How calls are written to Salesforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SalesforceSettings {
    /// Version of the REST API.
    pub version: String,
    /// Name of the field of tasks that is an external id, unique, and holds the call id.
    pub external_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Fields of a task, each with a template in the place of ours; an empty one leaves the field out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl Default for SalesforceSettings {
    fn default() -> Self {
        Self {
            version: "v62.0".to_owned(),
            external_id: "Callbus_Call_Id__c".to_owned(),
            direction: None,
            fields: BTreeMap::new(),
        }
    }
}

/// How calls are written to another CRM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeSettings {
    /// The recipe, in YAML.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
}

/// Who of the two is the CRM's contact: of an inbound call the caller, of an outbound one the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Inbound,
    Outbound,
}

/// One of the secrets a destination's events are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKey {
    /// The secret's name.
    pub name: String,
    /// From here on nothing is signed with it; absent for the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
}

/// How an event goes out: with a body, or as headers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeliveryMethod {
    Get,
    Post,
}

/// How long, and how often, a delivery is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryPlan {
    /// For what is of no use after some minutes.
    Live,
    /// For what must arrive: 75 hours.
    Lasting,
    /// Seconds from one attempt to the next.
    Table(Vec<u32>),
}

/// Body of `callbus.profile.changed.v1`. A callback profile is the fold of its events; each `put` is a revision of it,
/// named by its place in the stream `CONFIG`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ProfileChanged {
    /// From here on it is this; what was parked is tried at once.
    Put(Box<ProfilePut>),
    /// What is parked is sent, in order.
    Enabled { by: String },
    /// Nothing is sent; what comes is parked, and no new call may name it.
    Disabled { by: String },
    /// It did not answer, again and again: what comes is parked until it does. `delivery` says so.
    AutoDisabled { cause: String },
    /// It answers again. `delivery` says so.
    Recovered,
    /// No new call may name it. Calls that did are told by it all the same.
    Removed { by: String },
}

/// Who is told of calls, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfilePut {
    pub title: String,
    /// The stream `CALLS` ended here when it was created.
    #[serde(default)]
    pub from_seq: u64,
    pub method: DeliveryMethod,
    /// A template, as what the headers say and the body.
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "ProfileAuth::is_none")]
    pub auth: ProfileAuth,
    /// `{name}` is a place, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy_placeholders: bool,
    /// What it is signed with, the newest first; empty: nothing. The secrets themselves lie elsewhere, under these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SigningKey>,
    pub by: String,
}

/// How callbus says who it is. What is secret lies elsewhere, under the name that stands here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ProfileAuth {
    #[default]
    None,
    /// RFC 7617.
    Basic { user: String, password: String },
    /// A token by OAuth 2.0's client credentials (RFC 6749, 4.4).
    Bearer {
        token_url: String,
        client_id: String,
        client_secret: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
    },
}

impl ProfileAuth {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}
