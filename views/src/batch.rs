//! What a stretch of the log puts into the tables, as the statements that write it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proto::event::json;
use serde::Serialize;

use crate::calls::{self, CallRow};
use crate::cdrs::{self, CdrLegRow};
use crate::decisions::{DECISIONS, DecisionRow};
use crate::deliveries::{self, DELIVERIES, DeliveryRow};
use crate::entries::{ENTRIES, EntryRow};
use crate::table::Engine;

/// Statements, each with the JSON list it takes.
pub(crate) type Statements = Vec<(String, String)>;

/// Rows that are written together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// By app and call.
    calls: BTreeMap<(String, String), CallRow>,
    decisions: Vec<DecisionRow>,
    cdr_legs: Vec<CdrLegRow>,
    pub entries: Vec<EntryRow>,
    /// By id.
    deliveries: BTreeMap<String, DeliveryRow>,
}

impl Batch {
    /// Takes an event of a call.
    pub(crate) fn take(&mut self, seq: u64, event: &proto::Event) {
        self.decisions.extend(DecisionRow::of(seq, event));
        self.cdr_legs.extend(CdrLegRow::all_of(seq, event));
        let Some(row) = CallRow::of(seq, event) else { return };
        match self.calls.entry((row.app.clone(), row.call.clone())) {
            Entry::Vacant(vacant) => drop(vacant.insert(row)),
            Entry::Occupied(mut known) => known.get_mut().merge(row),
        }
    }

    /// Takes an event of a delivery.
    pub(crate) fn take_delivery(&mut self, seq: u64, event: &proto::Event) {
        let Some(row) = DeliveryRow::of(seq, event) else { return };
        match self.deliveries.entry(row.id.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(row)),
            Entry::Occupied(mut known) => known.get_mut().merge(row),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.calls.len() + self.decisions.len() + self.cdr_legs.len() + self.entries.len() + self.deliveries.len()
    }

    /// In the order in which one needs the other: a CDR is looked up by the decisions and the calls before it.
    pub(crate) fn into_statements(self, engine: Engine) -> Statements {
        let mut statements = Statements::new();
        let mut write = |sql: String, rows: &str| statements.push((sql, rows.to_owned()));
        if let Some(rows) = list(&self.decisions) {
            write(DECISIONS.insert(engine, "on conflict do nothing"), &rows);
        }
        if let Some(rows) = list(&self.calls.into_values().collect::<Vec<_>>()) {
            write(calls::CALLS.insert(engine, &calls::merge()), &rows);
        }
        if let Some(rows) = list(&self.cdr_legs) {
            write(cdrs::insert(engine), &rows);
            write(cdrs::CDR_LEGS.with_rows(engine, cdrs::SUPERSEDED), &rows);
        }
        if let Some(rows) = list(&self.entries) {
            write(ENTRIES.insert(engine, "on conflict do nothing"), &rows);
        }
        if let Some(rows) = list(&self.deliveries.into_values().collect::<Vec<_>>()) {
            write(DELIVERIES.insert(engine, &deliveries::merge()), &rows);
        }
        statements
    }
}

fn list(rows: &[impl Serialize]) -> Option<String> {
    if rows.is_empty() { None } else { Some(json(&rows)) }
}
