//! The price lists in use, read from the bus and looked at again now and then.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bus::{Bus, Unavailable};
use money::Deck;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A deck that was imported is in use everywhere after this long at the most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The name of a price list among the documents of the bus.
pub fn deck_document(name: &str) -> String {
    format!("deck/{name}")
}

#[derive(Debug, Default)]
pub(crate) struct Decks {
    names: Vec<String>,
    loaded: RwLock<HashMap<String, Loaded>>,
}

#[derive(Debug, Clone)]
struct Loaded {
    revision: String,
    deck: Arc<Deck>,
}

impl Decks {
    pub(crate) async fn load(bus: &Bus, names: impl Iterator<Item = String>) -> Result<Self, Unavailable> {
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        let decks = Self { names, loaded: RwLock::default() };
        decks.refresh(bus).await?;
        Ok(decks)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Deck>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(name).map(|loaded| Arc::clone(&loaded.deck))
    }

    pub(crate) async fn refresh_until(&self, bus: &Bus, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.refresh(bus).await {
                tracing::warn!(%error, "price lists not looked at, the ones in use stay");
            }
        }
    }

    async fn refresh(&self, bus: &Bus) -> Result<(), Unavailable> {
        for name in &self.names {
            let document = deck_document(name);
            let Some(revision) = bus.document_revision(&document).await? else { continue };
            if self.revision(name).is_some_and(|loaded| loaded == revision) {
                continue;
            }
            let Some(found) = bus.document(&document).await? else { continue };
            let (deck_name, csv) = (name.clone(), found.bytes);
            let read = tokio::task::spawn_blocking(move || Deck::from_csv(deck_name, &csv)).await;
            let Ok(read) = read else { continue };
            match read {
                Ok(deck) => {
                    tracing::info!(
                        deck = name,
                        version = deck.identity().version,
                        prefixes = deck.len(),
                        "price list in use"
                    );
                    let loaded = Loaded { revision: found.revision, deck: Arc::new(deck) };
                    self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), loaded);
                }
                Err(errors) => tracing::error!(deck = name, %errors, "price list not taken, the one in use stays"),
            }
        }
        Ok(())
    }

    fn revision(&self, name: &str) -> Option<String> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(name).map(|loaded| loaded.revision.clone())
    }
}
