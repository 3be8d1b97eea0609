//! What changes from one version of a deck to another.

use std::cmp::Ordering;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::amount::Fixed;
use crate::deck::{Deck, Entry};
use crate::explain::{Exact, explain};

/// The call by which prices are compared.
pub const COMPARED_SECS: u32 = 60;

/// Hundredths of a percent at the finest.
pub type Percent = Fixed<2>;

/// Every prefix that is not the same in both, by prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeckDiff {
    pub changes: Vec<DeckChange>,
    /// How many prefixes are the same.
    pub same: usize,
}

/// What becomes of one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeckChange {
    pub prefix: String,
    /// In the newer deck, if it is still there.
    pub destination: String,
    pub change: ChangeKind,
    /// What a call of [`COMPARED_SECS`] costs, before it is rounded.
    pub old_cost: Option<String>,
    pub new_cost: Option<String>,
    /// Of the old cost; none where that is 0.
    pub percent: Option<Percent>,
}

/// How a prefix changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Added,
    Removed,
    Dearer,
    Cheaper,
    /// That call costs the same; something else differs, such as the increments or the name of the place.
    Otherwise,
}

impl DeckDiff {
    /// `answered_at` is when the compared call is answered, since prices may have periods.
    pub fn between(old: &Deck, new: &Deck, answered_at: Timestamp) -> Self {
        let (old_costs, new_costs) = (costs(old, answered_at), costs(new, answered_at));
        let (before, after) = (old.entries(), new.entries());
        let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
        let mut diff = Self { changes: Vec::new(), same: 0 };
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return diff,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.prefix.cmp(&after.prefix),
            };
            let was = if order == Ordering::Greater { None } else { before.next() };
            let is = if order == Ordering::Less { None } else { after.next() };
            let unchanged = match (&was, &is) {
                (Some(was), Some(is)) => {
                    was.destination == is.destination && old.prices().get(was.price) == new.prices().get(is.price)
                }
                (Some(_) | None, None) | (None, Some(_)) => false,
            };
            if unchanged {
                diff.same = diff.same.saturating_add(1);
            } else {
                let old_cost = was.as_ref().and_then(|entry| *old_costs.get(entry.price)?);
                let new_cost = is.as_ref().and_then(|entry| *new_costs.get(entry.price)?);
                diff.changes.extend(change(was, is, old_cost, new_cost));
            }
        }
    }

    /// How many prefixes change in this way.
    pub fn count(&self, kind: ChangeKind) -> usize {
        self.changes.iter().filter(|change| change.change == kind).count()
    }
}

/// Of every price of the deck; a call outside its periods has none.
fn costs(deck: &Deck, answered_at: Timestamp) -> Vec<Option<Exact>> {
    let cost = |price| explain(price, COMPARED_SECS, answered_at).ok().map(|explained| explained.exact);
    deck.prices().iter().map(|price| cost(price)).collect()
}

fn change(
    was: Option<Entry<'_>>,
    is: Option<Entry<'_>>,
    old_cost: Option<Exact>,
    new_cost: Option<Exact>,
) -> Option<DeckChange> {
    let change = match (&was, &is) {
        (None, _) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(_), Some(_)) => match old_cost.zip(new_cost).map(|(old, new)| new.compare(old)) {
            Some(Ordering::Greater) => ChangeKind::Dearer,
            Some(Ordering::Less) => ChangeKind::Cheaper,
            Some(Ordering::Equal) | None => ChangeKind::Otherwise,
        },
    };
    let percent = old_cost.zip(new_cost).and_then(|(old, new)| new.hundredths_of_percent_above(old));
    let entry = is.or(was)?;
    Some(DeckChange {
        prefix: entry.prefix,
        destination: entry.destination.to_owned(),
        change,
        old_cost: old_cost.map(|cost| cost.to_string()),
        new_cost: new_cost.map(|cost| cost.to_string()),
        percent: percent.and_then(|hundredths| Percent::new(hundredths).ok()),
    })
}
