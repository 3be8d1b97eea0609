//! What the policy may know: gathered once per callback, and only what its rules ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::Cache;
use bytes::Bytes;
use jiff::Timestamp;
use policy::PriceFacts;
use proto::callback::Details;
use proto::event::json;
use proto::{AppName, CallId, Callback, PhoneNumber};

use crate::decks::Decks;

/// Longer than any call lasts.
const CALL_MEMORY: Duration = Duration::from_secs(6 * 3600);

/// What earlier callbacks of the call had remembered. Best effort: it is lost with Redis.
pub(crate) async fn memory(cache: &Cache, app: &AppName, call: &CallId) -> BTreeMap<String, String> {
    match cache.get(&memory_key(app, call)).await {
        Ok(stored) => stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "call memory not read");
            BTreeMap::new()
        }
    }
}

/// Adds to what is remembered of the call.
pub(crate) async fn remember(cache: &Cache, app: &AppName, call: &CallId, new: Vec<(String, String)>) {
    if new.is_empty() {
        return;
    }
    let mut all = memory(cache, app, call).await;
    all.extend(new);
    let stored = Bytes::from(json(&all));
    if let Err(error) = cache.set(&memory_key(app, call), stored, CALL_MEMORY).await {
        tracing::warn!(%error, "call memory not kept");
    }
}

fn memory_key(app: &AppName, call: &CallId) -> String {
    format!("memory:{app}:{call}")
}

/// What the dialled number costs by now, for rules that ask.
pub(crate) fn price(decks: &Decks, deck: &str, callback: &Callback, now: Timestamp) -> Option<PriceFacts> {
    let Details::Ice(ice) = &callback.details else { return None };
    let number = PhoneNumber::parse_lenient(ice.to.as_ref()?.endpoint.as_deref()?).ok()?;
    let deck = decks.find(deck, now)?;
    let row = deck.lookup(&number)?;
    Some(PriceFacts {
        destination: row.destination.to_owned(),
        prefix: row.prefix.to_owned(),
        per_minute_micros: money::first_minute(row.price, now).ok()?.get(),
        connect_fee_micros: money::connect_fee(row.price, now).ok()?.get(),
        currency: row.price.currency().to_string(),
    })
}
