//! `deliveries`: one row for each delivery of an event to a destination, as it stands.

use proto::{AppName, Delivery, DeliveryNoted, Event, EventId, Kind, Moment, Subject, Told};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::table::Holds::{Integer, Text, Time as Instant};
use crate::table::{Holds, Table};
use crate::value::{Time, text};

pub(crate) const DELIVERIES: Table<'static> = Table {
    name: "deliveries",
    columns: &[
        ("id", Text),
        ("first_seq", Integer),
        ("seq", Integer),
        ("destination", Text),
        ("call", Text),
        ("app", Text),
        ("kind", Text),
        ("event_seq", Integer),
        ("happened_at", Instant),
        ("replay", Integer),
        ("moment", Text),
        ("listener", Integer),
        ("state", Text),
        ("attempts", Integer),
        ("status", Integer),
        ("cause", Text),
        ("next_at", Instant),
        ("noted_at", Instant),
    ],
};

/// What [`DeadCount`] is read from.
pub(crate) const DEAD: &[(&str, Holds)] = &[("destination", Text), ("cause", Text), ("count", Integer)];

/// How many deliveries to a destination were given up for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadCount {
    pub destination: String,
    pub cause: String,
    pub count: u64,
}

/// What [`ToldCount`] is read from.
pub(crate) const TOLD: &[(&str, Holds)] = &[("moment", Text), ("state", Text), ("count", Integer)];

/// How many times a listener was told of a moment, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldCount {
    pub moment: String,
    pub state: DeliveryState,
    pub count: u64,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRow {
    /// Also its `webhook-id`.
    pub id: String,
    /// Its first event in `DELIVERIES`, and its newest.
    pub first_seq: u64,
    pub seq: u64,
    pub destination: String,
    pub call: String,
    pub app: Option<String>,
    pub kind: Option<String>,
    /// Place of the event in `CALLS`.
    pub event_seq: Option<u64>,
    pub happened_at: Option<Time>,
    /// 0: none.
    pub replay: Option<u64>,
    /// What a listener of a placed call is told, and his place among those to be told.
    pub moment: Option<String>,
    pub listener: Option<u8>,
    pub state: DeliveryState,
    pub attempts: u32,
    pub status: Option<u16>,
    pub cause: Option<String>,
    pub next_at: Option<Time>,
    pub noted_at: Time,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for its turn.
    Queued,
    /// It is on its way.
    Attempted,
    /// It is tried again.
    Failed,
    Delivered,
    /// It is given up.
    Dead,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Attempted => "attempted",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl std::str::FromStr for DeliveryState {
    type Err = String;
    fn from_str(given: &str) -> Result<Self, String> {
        let all = [Self::Queued, Self::Attempted, Self::Failed, Self::Delivered, Self::Dead];
        let found = all.into_iter().find(|state| state.as_str() == given);
        found.ok_or_else(|| format!("{given:?} is not a state: write queued, attempted, failed, delivered or dead"))
    }
}

/// [`DeliveryRow::merge`] in SQL: what is there with what comes.
pub(crate) fn merge() -> String {
    let rule = |(name, _): &(&'static str, _)| match *name {
        "id" | "destination" | "call" => None,
        "first_seq" => Some((*name, "excluded.first_seq < deliveries.first_seq".to_owned())),
        "app" | "kind" | "event_seq" | "happened_at" | "replay" | "moment" | "listener" => {
            Some((*name, format!("deliveries.{name} is null")))
        }
        "attempts" => Some((*name, "excluded.attempts > deliveries.attempts".to_owned())),
        name => Some((name, "excluded.seq > deliveries.seq".to_owned())),
    };
    let sets = DELIVERIES
        .columns
        .iter()
        .filter_map(rule)
        .map(|(name, takes)| format!("{name} = case when {takes} then excluded.{name} else deliveries.{name} end"));
    format!("on conflict (id) do update set {}", sets.collect::<Vec<_>>().join(", "))
}

impl DeliveryRow {
    /// What an event says of its delivery; nothing when it is about a whole destination.
    pub(crate) fn of(seq: u64, event: &Event) -> Option<Self> {
        let Subject::Delivery { destination, .. } = &event.subject else { return None };
        let row = |id: &EventId, state, attempts| Self {
            id: id.to_string(),
            first_seq: seq,
            seq,
            destination: destination.to_string(),
            call: text(&event.about),
            app: None,
            kind: None,
            event_seq: None,
            happened_at: None,
            replay: None,
            moment: None,
            listener: None,
            state,
            attempts,
            status: None,
            cause: None,
            next_at: None,
            noted_at: event.time.into(),
        };
        let whole = |delivery: &Delivery, state, attempts| Self {
            app: Some(delivery.app.to_string()),
            kind: Some(delivery.kind.to_string()),
            event_seq: Some(delivery.seq),
            happened_at: Some(delivery.at.into()),
            replay: Some(delivery.replay),
            moment: delivery.told.map(|told| told.moment.as_str().to_owned()),
            listener: delivery.told.map(|told| told.listener),
            ..row(&delivery.id, state, attempts)
        };
        Some(match serde_json::from_slice(&event.data).ok()? {
            DeliveryNoted::Queued { delivery } => whole(&delivery, DeliveryState::Queued, 0),
            DeliveryNoted::Retried { delivery, attempts } => whole(&delivery, DeliveryState::Queued, attempts),
            DeliveryNoted::Attempted { delivery, attempt, .. } => whole(&delivery, DeliveryState::Attempted, attempt),
            DeliveryNoted::Delivered { delivery, attempt, status, .. } => {
                Self { status: Some(status), ..row(&delivery, DeliveryState::Delivered, attempt) }
            }
            DeliveryNoted::Failed { delivery, attempt, status, cause, next_at, .. } => {
                let (cause, next_at) = (Some(text(&cause)), Some(next_at.into()));
                Self { status, cause, next_at, ..row(&delivery, DeliveryState::Failed, attempt) }
            }
            DeliveryNoted::Dead { delivery, attempt, status, cause } => {
                Self { status, cause: Some(text(&cause)), ..row(&delivery, DeliveryState::Dead, attempt) }
            }
            DeliveryNoted::FellBehind { .. }
            | DeliveryNoted::CaughtUp { .. }
            | DeliveryNoted::Broke { .. }
            | DeliveryNoted::Mended { .. }
            | DeliveryNoted::Opened { .. }
            | DeliveryNoted::Closed { .. } => return None,
        })
    }

    /// Takes what a later part of the log says of the same delivery. It changes nothing when it was taken before.
    pub(crate) fn merge(&mut self, later: Self) {
        let (first_seq, attempts) = (self.first_seq.min(later.first_seq), self.attempts.max(later.attempts));
        let (mut newer, older) = if later.seq > self.seq { (later, self.clone()) } else { (self.clone(), later) };
        newer.app = older.app.or(newer.app);
        newer.kind = older.kind.or(newer.kind);
        newer.event_seq = older.event_seq.or(newer.event_seq);
        newer.happened_at = older.happened_at.or(newer.happened_at);
        newer.replay = older.replay.or(newer.replay);
        newer.moment = older.moment.or(newer.moment);
        newer.listener = older.listener.or(newer.listener);
        *self = Self { first_seq, attempts, ..newer };
    }

    /// What a role needs to deliver it again; nothing where its first event is not known.
    pub fn delivery(&self) -> Option<Delivery> {
        Some(Delivery {
            id: EventId::try_from(self.id.clone()).ok()?,
            seq: self.event_seq?,
            kind: Kind::parse(self.kind.as_deref()?)?,
            app: AppName::new(self.app.as_deref()?).ok()?,
            at: self.happened_at?.0,
            replay: self.replay?,
            told: match (&self.moment, self.listener) {
                (Some(moment), Some(listener)) => Some(Told { moment: Moment::parse(moment)?, listener }),
                (None, _) | (_, None) => None,
            },
        })
    }
}
