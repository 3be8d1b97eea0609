//! `wallet_entries`: one row for each posting, with the balance it left.

use std::collections::HashMap;

use bus::{Bus, Recorded, Unavailable};
use money::posting::PostingId;
use money::statement::{Line, entry};
use money::{Currency, Overflow, Wallet, WalletEvent};
use proto::{Event, Filter, Subject, WalletId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::table::Holds::{Integer, Json, Micros, Text, Time as Moment};
use crate::table::Table;
use crate::value::{Time, text};

pub(crate) const ENTRIES: Table<'static> = Table {
    name: "wallet_entries",
    columns: &[
        ("id", Text),
        ("entry_number", Integer),
        ("seq", Integer),
        ("posted_at", Moment),
        ("wallet", Text),
        ("what", Text),
        ("amount_micros", Micros),
        ("balance_micros", Micros),
        ("held_micros", Micros),
        ("currency", Text),
        ("call", Text),
        ("leg", Text),
        ("deck", Text),
        ("deck_version", Text),
        ("prefix", Text),
        ("price", Json),
        ("duration_secs", Integer),
        ("billed_secs", Integer),
        ("posting", Text),
        ("grants", Json),
        ("note", Text),
        ("posted_by", Text),
    ],
};

/// One posting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// Of the event it came in.
    pub id: String,
    /// Its place in the event, from 1.
    pub entry_number: u32,
    pub seq: u64,
    pub posted_at: Time,
    pub wallet: String,
    /// `top-up`, `held`, `charged`, …: as in a statement.
    pub what: String,
    /// What it did to the balance.
    pub amount_micros: i64,
    pub balance_micros: i64,
    pub held_micros: i64,
    pub currency: String,
    pub call: Option<String>,
    pub leg: Option<String>,
    pub deck: Option<String>,
    pub deck_version: Option<String>,
    pub prefix: Option<String>,
    pub price: Option<Value>,
    pub duration_secs: Option<u32>,
    pub billed_secs: Option<u32>,
    /// What the posting is called by whoever asked for it.
    pub posting: Option<String>,
    /// What grants paid, or with a minus got back.
    pub grants: Option<Value>,
    pub note: Option<String>,
    pub posted_by: Option<String>,
}

/// The wallets as far as their rows are made. Grows with the number of wallets, as billing's own does.
#[derive(Debug)]
pub(crate) struct Wallets {
    /// Rows up to here are in the table already.
    begun_at: u64,
    folded: HashMap<WalletId, Wallet>,
}

impl Wallets {
    pub(crate) fn begun_at(seq: u64) -> Self {
        Self { begun_at: seq, folded: HashMap::new() }
    }

    /// The rows an event makes; none of what is not a wallet's event.
    pub(crate) async fn rows(&mut self, bus: &Bus, recorded: &Recorded) -> Result<Vec<EntryRow>, Unavailable> {
        let Recorded { seq, event } = recorded;
        let Subject::Wallet(id) = &event.subject else { return Ok(Vec::new()) };
        let Ok(posted) = serde_json::from_slice::<WalletEvent>(&event.data) else { return Ok(Vec::new()) };
        if !self.folded.contains_key(id) {
            let wallet = folded(bus, id, self.begun_at).await?;
            self.folded.insert(id.clone(), wallet);
        }
        let wallet = self.folded.entry(id.clone()).or_default();
        match rows(wallet, *seq, event, &posted) {
            Ok(rows) => Ok(rows),
            // No command posts it; the other rows are worth having without.
            Err(Overflow) => {
                tracing::error!(wallet = %id, seq, "a posting is beyond what an amount can be: it has no row");
                Ok(Vec::new())
            }
        }
    }
}

/// The wallet as it was at a sequence.
async fn folded(bus: &Bus, id: &WalletId, at: u64) -> Result<Wallet, Unavailable> {
    let mut wallet = Wallet::default();
    if at == 0 {
        return Ok(wallet);
    }
    let mut events = bus.events(&Filter::Wallet(id.clone()), 0);
    while let Some(Recorded { seq, event }) = events.next().await?.filter(|next| next.seq <= at) {
        if let Ok(posted) = serde_json::from_slice::<WalletEvent>(&event.data) {
            wallet.apply(seq, event.time, &posted);
        }
    }
    Ok(wallet)
}

pub(crate) fn rows(
    wallet: &mut Wallet,
    seq: u64,
    event: &Event,
    posted: &WalletEvent,
) -> Result<Vec<EntryRow>, Overflow> {
    let lines = posted.postings.iter().map(|posting| entry(wallet, seq, event.time, posted.currency, posting));
    let row = |(number, line): (u32, Result<Line, Overflow>)| {
        line.map(|line| EntryRow::of(event, number, &posted.wallet, posted.currency, line))
    };
    (1..).zip(lines).map(row).collect()
}

impl EntryRow {
    fn of(event: &Event, entry_number: u32, wallet: &WalletId, currency: Currency, line: Line) -> Self {
        let some = |value: &str| if value.is_empty() { None } else { Some(text(value)) };
        let price = line.price.as_ref();
        Self {
            id: event.id.to_string(),
            entry_number,
            seq: line.seq,
            posted_at: line.time.into(),
            wallet: wallet.to_string(),
            what: line.what.to_owned(),
            amount_micros: line.amount.get(),
            balance_micros: line.balance.get(),
            held_micros: line.held.get(),
            currency: currency.to_string(),
            call: line.call.as_ref().map(ToString::to_string),
            leg: line.leg.as_ref().map(ToString::to_string),
            deck: price.map(|used| text(&used.deck.name)),
            deck_version: price.map(|used| text(&used.deck.version)),
            prefix: price.map(|used| text(&used.prefix)),
            price: price.and_then(|used| serde_json::to_value(&used.price).ok()),
            duration_secs: line.duration_secs,
            billed_secs: line.billed_secs,
            posting: line.id.as_ref().map(PostingId::as_str).map(text),
            grants: if line.grants.is_empty() { None } else { Some(json!(line.grants)) },
            note: some(&line.note),
            posted_by: some(&line.by),
        }
    }
}
