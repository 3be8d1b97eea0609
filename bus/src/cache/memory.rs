//! The cache of one process: a map, bounded, with what ends first at the front of an index.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::clock::{Clock, after};

/// Remembers at most so many entries; when full, the one that would end first goes.
#[derive(Debug)]
pub struct MemoryCache {
    entries_max: usize,
    clock: Clock,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    values: HashMap<Arc<str>, (Bytes, Timestamp)>,
    by_end: BTreeSet<(Timestamp, Arc<str>)>,
}

impl MemoryCache {
    pub(crate) fn new(entries_max: usize, clock: Clock) -> Self {
        Self { entries_max: entries_max.max(1), clock, entries: Mutex::default() }
    }

    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        self.alive().values.get(key).map(|(value, _)| value.clone())
    }

    pub(super) fn set(&self, key: &str, value: Bytes, ttl: Duration) {
        let end = after(self.clock.now(), ttl);
        self.alive().insert(key, value, end, self.entries_max);
    }

    pub(super) fn claim(&self, key: &str, value: Bytes, ttl: Duration) -> Option<Bytes> {
        let end = after(self.clock.now(), ttl);
        let mut entries = self.alive();
        if let Some((winner, _)) = entries.values.get(key) {
            return Some(winner.clone());
        }
        entries.insert(key, value, end, self.entries_max);
        None
    }

    pub(super) fn delete(&self, key: &str) {
        self.alive().remove(key);
    }

    pub(super) fn extend(&self, key: &str, ttl: Duration) -> bool {
        let end = after(self.clock.now(), ttl);
        let mut entries = self.alive();
        let Some(value) = entries.remove(key) else { return false };
        entries.insert(key, value, end, self.entries_max);
        true
    }

    #[cfg(feature = "storm")]
    pub(crate) fn clear(&self) {
        *self.alive() = Entries::default();
    }

    /// The entries without those whose time is over.
    fn alive(&self) -> MutexGuard<'_, Entries> {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        while entries.by_end.first().is_some_and(|(end, _)| *end <= now) {
            entries.drop_first();
        }
        entries
    }
}

impl Entries {
    fn insert(&mut self, key: &str, value: Bytes, end: Timestamp, entries_max: usize) {
        self.remove(key);
        while self.values.len() >= entries_max {
            self.drop_first();
        }
        let key: Arc<str> = key.into();
        self.by_end.insert((end, Arc::clone(&key)));
        self.values.insert(key, (value, end));
    }

    fn remove(&mut self, key: &str) -> Option<Bytes> {
        let (key, (value, end)) = self.values.remove_entry(key)?;
        self.by_end.remove(&(end, key));
        Some(value)
    }

    fn drop_first(&mut self) {
        if let Some((_, key)) = self.by_end.pop_first() {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_and_the_first_to_end_makes_room() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let cache = MemoryCache::new(2, clock.clone());
        let secs = Duration::from_secs;
        cache.set("a", "1".into(), secs(10));
        cache.set("b", "2".into(), secs(5));
        assert!(cache.extend("b", secs(20)));
        cache.set("c", "3".into(), secs(30));
        assert_eq!(cache.get("a"), None, "ended first");
        assert_eq!(cache.get("b"), Some("2".into()));
        clock.advance(secs(20));
        assert_eq!(cache.get("b"), None);
        assert!(!cache.extend("b", secs(1)));
        assert_eq!(cache.claim("c", "4".into(), secs(1)), Some("3".into()));
        assert_eq!(cache.claim("d", "5".into(), secs(1)), None);
        cache.delete("d");
        assert_eq!(cache.get("d"), None);
    }
}
