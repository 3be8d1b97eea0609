//! `decisions`: one row for each answer that was sent.

use money::Hold;
use proto::{Decided, Event, Kind, Outcome, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::table::Holds::{Boolean, Integer, Json, Micros, Text, Time as Moment};
use crate::table::Table;
use crate::value::{Time, text};

pub(crate) const DECISIONS: Table<'static> = Table {
    name: "decisions",
    columns: &[
        ("id", Text),
        ("seq", Integer),
        ("decided_at", Moment),
        ("app", Text),
        ("call", Text),
        ("leg", Text),
        ("kind", Text),
        ("callback", Text),
        ("outcome", Text),
        ("reason", Text),
        ("rule", Text),
        ("policy", Text),
        ("wallet", Text),
        ("reserve", Boolean),
        ("held_micros", Micros),
        ("currency", Text),
        ("granted_secs", Integer),
        ("deck", Text),
        ("deck_version", Text),
        ("prefix", Text),
        ("price", Json),
        ("decided_by", Text),
        ("took_micros", Integer),
    ],
};

/// One answer that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRow {
    pub id: String,
    pub seq: u64,
    pub decided_at: Time,
    pub app: String,
    pub call: String,
    /// The decision key.
    pub leg: String,
    pub kind: Kind,
    pub callback: String,
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub rule: Option<String>,
    pub policy: Option<String>,
    pub wallet: Option<String>,
    pub reserve: bool,
    pub held_micros: Option<i64>,
    pub currency: Option<String>,
    pub granted_secs: Option<u32>,
    pub deck: Option<String>,
    pub deck_version: Option<String>,
    pub prefix: Option<String>,
    pub price: Option<Value>,
    pub decided_by: String,
    pub took_micros: u64,
}

impl DecisionRow {
    pub(crate) fn of(seq: u64, event: &Event) -> Option<Self> {
        let Subject::Call { kind: Kind::Decided, app, .. } = &event.subject else { return None };
        let decided: Decided = serde_json::from_slice(&event.data).ok()?;
        let hold: Option<Hold> = decided.hold.as_ref().and_then(|hold| serde_json::from_str(hold.get()).ok());
        let hold = hold.as_ref();
        Some(Self {
            id: event.id.to_string(),
            seq,
            decided_at: event.time.into(),
            app: app.to_string(),
            call: text(&event.about),
            leg: decided.key.to_string(),
            kind: decided.kind,
            callback: decided.callback.to_string(),
            outcome: decided.outcome,
            reason: decided.reason.as_deref().map(text),
            rule: decided.rule.as_deref().map(text),
            policy: decided.policy.as_deref().map(text),
            wallet: decided.wallet.map(String::from),
            reserve: decided.reserve,
            held_micros: hold.map(|hold| hold.amount.get()),
            currency: hold.map(|hold| hold.price.currency().to_string()),
            granted_secs: hold.map(|hold| hold.granted_secs),
            deck: hold.map(|hold| text(&hold.deck.name)),
            deck_version: hold.map(|hold| text(&hold.deck.version)),
            prefix: hold.map(|hold| text(&hold.prefix)),
            price: hold.and_then(|hold| serde_json::to_value(&hold.price).ok()),
            decided_by: text(&decided.by),
            took_micros: decided.took_micros.min(i64::MAX.unsigned_abs()),
        })
    }
}
