//! The price lists in use: the versions in force now and soon, looked at again now and then.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bus::{Bus, Clock};
use jiff::{SignedDuration, Timestamp};
use money::{Deck, DeckVersions};
use proto::{DeckName, Filter};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::deck_log::{DeckLogError, catch_up, deck_document, deck_of_version, early_deck};

/// A deck that was imported is in use everywhere after this long at the most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A version that comes into force is loaded this long before.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// One that has gone out of force is kept this long, for calls that were asked about before: longer than any ask.
const BEHIND: SignedDuration = SignedDuration::from_secs(10);

/// A version that cannot be read is tried again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Decks {
    names: Vec<DeckName>,
    loaded: RwLock<HashMap<String, Loaded>>,
}

/// One deck, as far as it is known here.
#[derive(Debug, Clone, Default)]
struct Loaded {
    versions: DeckVersions,
    decks: HashMap<String, Arc<Deck>>,
    /// Of an installation without versions, with the revision of its document.
    early: Option<(String, Arc<Deck>)>,
    /// Versions that could not be read, and when to try again.
    unread: HashMap<String, Instant>,
}

impl Decks {
    pub(crate) async fn load(
        bus: &Bus,
        names: impl Iterator<Item = String>,
        now: Timestamp,
    ) -> Result<Self, DeckLogError> {
        let mut names: Vec<DeckName> = names.filter_map(|name| DeckName::new(name).ok()).collect();
        names.sort();
        names.dedup();
        let decks = Self { names, loaded: RwLock::default() };
        decks.refresh(bus, now).await?;
        Ok(decks)
    }

    /// The version that is in force at `at`; where it is not loaded yet, the one before it.
    pub(crate) fn find(&self, name: &str, at: Timestamp) -> Option<Arc<Deck>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let Loaded { versions, decks, early, .. } = loaded.get(name)?;
        let in_force = versions.until(at).find_map(|version| decks.get(&version.version));
        in_force.or(early.as_ref().map(|(_, deck)| deck)).map(Arc::clone)
    }

    pub(crate) async fn refresh_until(&self, bus: &Bus, clock: &Clock, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.refresh(bus, clock.now()).await {
                tracing::warn!(%error, "price lists not looked at, the ones in use stay");
            }
        }
    }

    pub(crate) async fn refresh(&self, bus: &Bus, now: Timestamp) -> Result<(), DeckLogError> {
        for name in &self.names {
            let mut loaded = {
                let all = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
                all.get(name.as_str()).cloned().unwrap_or_default()
            };
            let looked = loaded.look(bus, name, now).await;
            self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), loaded);
            looked?;
        }
        Ok(())
    }
}

impl Loaded {
    async fn look(&mut self, bus: &Bus, name: &DeckName, now: Timestamp) -> Result<(), DeckLogError> {
        if bus.last_seq(&Filter::Deck(name.clone())).await? > self.versions.last_seq() {
            catch_up(bus, name, &mut self.versions).await?;
        }
        if self.versions.is_empty() {
            return self.look_at_early(bus, name).await;
        }
        if let Some((_, deck)) = self.early.take() {
            self.decks.insert(deck.identity().version.clone(), deck);
        }
        let wanted = self.wanted(now);
        self.unread.retain(|version, _| wanted.contains(version));
        for version in &wanted {
            if !self.decks.contains_key(version)
                && let Some(deck) = self.read(version, deck_of_version(bus, name, version)).await?
            {
                self.decks.insert(version.clone(), deck);
            }
        }
        let in_force = |at| self.versions.in_force(at).map(|version| version.version.clone());
        if in_force(now).is_some_and(|version| self.decks.contains_key(&version)) {
            let behind = in_force(now - BEHIND);
            self.decks.retain(|version, _| wanted.contains(version) || behind.as_ref() == Some(version));
        }
        Ok(())
    }

    /// In force now, or soon.
    fn wanted(&self, now: Timestamp) -> Vec<String> {
        let mut wanted = Vec::new();
        for version in self.versions.until(now + AHEAD) {
            wanted.push(version.version.clone());
            if version.effective_from <= now {
                break;
            }
        }
        wanted
    }

    async fn look_at_early(&mut self, bus: &Bus, name: &DeckName) -> Result<(), DeckLogError> {
        let Some(revision) = bus.document_revision(&deck_document(name.as_str())).await? else { return Ok(()) };
        if self.early.as_ref().is_some_and(|(known, _)| *known == revision) {
            return Ok(());
        }
        let read = async { early_deck(bus, name).await?.ok_or_else(|| DeckLogError::Lost(revision.clone())) };
        if let Some(deck) = self.read(&revision, async { read.await.map(|(_, deck)| deck) }).await? {
            self.early = Some((revision, deck));
        }
        Ok(())
    }

    /// Nothing when it is unreadable; then it is not tried again for a while.
    async fn read(
        &mut self,
        what: &str,
        deck: impl Future<Output = Result<Deck, DeckLogError>>,
    ) -> Result<Option<Arc<Deck>>, DeckLogError> {
        if self.unread.get(what).is_some_and(|again| Instant::now() < *again) {
            return Ok(None);
        }
        match deck.await {
            Ok(deck) => {
                let (name, version) = (&deck.identity().name, &deck.identity().version);
                tracing::info!(deck = name, version, prefixes = deck.len(), "price list loaded");
                self.unread.remove(what);
                Ok(Some(Arc::new(deck)))
            }
            Err(error @ (DeckLogError::Deck(_) | DeckLogError::Lost(_))) => {
                tracing::error!(version = what, %error, "price list not taken, the one in use stays");
                self.unread.insert(what.to_owned(), Instant::now() + AGAIN_AFTER);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
