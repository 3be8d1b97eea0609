//! `cdr_legs`: the CDRs that stand, one row for each leg.

use jiff::Timestamp;
use money::Micros as Amount;
use proto::settled::SettledLeg;
use proto::{Event, Kind, Settled, Subject};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::table::Holds::{Boolean, Integer, Json, Micros, Text, Time as Moment};
use crate::table::{Engine, Table};
use crate::value::{Time, number, text};

pub(crate) const CDR_LEGS: Table<'static> = Table {
    name: "cdr_legs",
    columns: &[
        ("cdr", Text),
        ("leg_number", Integer),
        ("seq", Integer),
        ("settled_at", Moment),
        ("app", Text),
        ("call", Text),
        ("caller", Text),
        ("callee", Text),
        ("started_at", Moment),
        ("answered_at", Moment),
        ("ended_at", Moment),
        ("result", Text),
        ("end_reason", Text),
        ("duration_secs", Integer),
        ("refused", Text),
        ("unmatched", Boolean),
        ("leg", Text),
        ("wallet", Text),
        ("currency", Text),
        ("deck", Text),
        ("deck_version", Text),
        ("prefix", Text),
        ("held_micros", Micros),
        ("granted_secs", Integer),
        ("billed_secs", Integer),
        ("cost_micros", Micros),
        ("overrun", Boolean),
        ("estimate", Boolean),
        ("supplier_cost_micros", Micros),
        ("supplier_currency", Text),
    ],
};

/// A leg of a CDR, or a CDR without any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdrLegRow {
    /// Event id of the CDR.
    pub cdr: String,
    /// From 1; 0 in the one row of a call without a leg.
    pub leg_number: u32,
    pub seq: u64,
    pub settled_at: Time,
    pub app: String,
    pub call: String,
    pub caller: Option<String>,
    pub callee: Option<String>,
    pub started_at: Option<Time>,
    pub answered_at: Option<Time>,
    /// When the call ended; when it was settled, where nobody told of an end.
    pub ended_at: Time,
    pub result: Option<String>,
    pub end_reason: Option<String>,
    /// Of the call.
    pub duration_secs: u32,
    pub refused: Option<String>,
    pub unmatched: bool,
    pub leg: Option<String>,
    pub wallet: Option<String>,
    pub currency: Option<String>,
    pub deck: Option<String>,
    pub deck_version: Option<String>,
    pub prefix: Option<String>,
    pub held_micros: Option<i64>,
    pub granted_secs: Option<u32>,
    pub billed_secs: Option<u32>,
    pub cost_micros: Option<i64>,
    pub overrun: bool,
    pub estimate: bool,
    /// Of the call, on its last leg alone: so it can be summed.
    pub supplier_cost_micros: Option<i64>,
    pub supplier_currency: Option<String>,
}

/// The CDRs that stand, each leg with the decision that let it through, or refused the call.
pub(crate) const CDRS: Table<'static> = Table {
    name: "cdrs",
    columns: &[
        ("ended_at", Moment),
        ("app", Text),
        ("call", Text),
        ("leg_number", Integer),
        ("kind", Text),
        ("caller", Text),
        ("callee", Text),
        ("started_at", Moment),
        ("answered_at", Moment),
        ("result", Text),
        ("end_reason", Text),
        ("duration_secs", Integer),
        ("refused", Text),
        ("unmatched", Boolean),
        ("wallet", Text),
        ("currency", Text),
        ("cost_micros", Micros),
        ("billed_secs", Integer),
        ("held_micros", Micros),
        ("granted_secs", Integer),
        ("overrun", Boolean),
        ("estimate", Boolean),
        ("supplier_cost_micros", Micros),
        ("supplier_currency", Text),
        ("deck", Text),
        ("deck_version", Text),
        ("prefix", Text),
        ("price", Json),
        ("rule", Text),
        ("policy", Text),
        ("settled_at", Moment),
        ("seq", Integer),
        ("leg", Text),
        ("callback", Text),
        ("cdr", Text),
    ],
};

/// Inserts the rows of the first argument, each with the decision it rests on: the largest grant of its leg; without a
/// leg, the newest decision that is not about an answered call. Only those before it in the log count, so that it is the
/// same however the log is cut.
pub(crate) fn insert(engine: Engine) -> String {
    let (table, names) = (CDR_LEGS.name, CDR_LEGS.names());
    let decision = "select d.id from decisions d
        where d.app = r.app and d.call = r.call and d.seq < r.seq and (r.leg is null or d.leg = r.leg)
        order by case when d.outcome = 'granted' then 0 else 1 end, coalesce(d.held_micros, -1) desc,
            case when d.kind = 'ace' then 1 else 0 end, d.decided_at desc, d.seq
        limit 1";
    let insert = format!("insert into {table} ({names}, decision) select {names}, ({decision}) from r where true");
    CDR_LEGS.with_rows(engine, &format!("{insert} on conflict do nothing"))
}

/// A CDR that another one stands in the place of goes.
pub(crate) const SUPERSEDED: &str = "delete from cdr_legs
    where (app, call) in (select app, call from r)
      and cdr <> (select calls.cdr from calls where calls.app = cdr_legs.app and calls.call = cdr_legs.call)";

impl CdrLegRow {
    pub(crate) fn all_of(seq: u64, event: &Event) -> Vec<Self> {
        let Subject::Call { kind: Kind::Settled, app, .. } = &event.subject else { return Vec::new() };
        let Ok(settled) = serde_json::from_slice::<Settled>(&event.data) else { return Vec::new() };
        let time = |at: Option<Timestamp>| at.map(Time::from);
        let bare = Self {
            cdr: event.id.to_string(),
            leg_number: 0,
            seq,
            settled_at: event.time.into(),
            app: app.to_string(),
            call: settled.call.to_string(),
            caller: settled.from.as_deref().map(number),
            callee: settled.to.as_deref().map(number),
            started_at: time(settled.started_at),
            answered_at: time(settled.answered_at),
            ended_at: settled.ended_at.unwrap_or(event.time).into(),
            result: settled.result.as_deref().map(text),
            end_reason: settled.reason.as_deref().map(text),
            duration_secs: settled.duration_secs,
            refused: settled.refused.as_deref().map(text),
            unmatched: settled.unmatched,
            leg: None,
            wallet: None,
            currency: None,
            deck: None,
            deck_version: None,
            prefix: None,
            held_micros: None,
            granted_secs: None,
            billed_secs: None,
            cost_micros: None,
            overrun: false,
            estimate: false,
            supplier_cost_micros: None,
            supplier_currency: None,
        };
        let mut rows: Vec<Self> = (1..).zip(&settled.legs).map(|(number, leg)| bare.with(number, leg)).collect();
        if rows.is_empty() {
            rows.push(bare);
        }
        if let (Some(last), Some(cost)) = (rows.last_mut(), &settled.supplier_cost) {
            last.supplier_cost_micros = micros(cost.amount);
            last.supplier_currency = cost.currency.as_deref().map(text);
        }
        rows
    }

    fn with(&self, leg_number: u32, leg: &SettledLeg) -> Self {
        Self {
            leg_number,
            leg: Some(leg.leg.to_string()),
            wallet: Some(leg.wallet.to_string()),
            currency: Some(text(&leg.currency)),
            deck: Some(text(&leg.deck)),
            deck_version: Some(text(&leg.deck_version)),
            prefix: Some(text(&leg.prefix)),
            held_micros: micros(leg.held),
            granted_secs: Some(leg.granted_secs),
            billed_secs: Some(leg.billed_secs),
            cost_micros: micros(leg.cost),
            overrun: leg.overrun,
            estimate: leg.estimate,
            ..self.clone()
        }
    }
}

/// Millionths, rounded where somebody else wrote a finer amount; nothing for one beyond what an amount can be.
fn micros(amount: Decimal) -> Option<i64> {
    let whole = amount.checked_mul(Decimal::from(1_000_000))?.round();
    whole.to_i64().and_then(|whole| Amount::new(whole).ok()).map(Amount::get)
}
