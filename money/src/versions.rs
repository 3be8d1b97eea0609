//! The versions of a deck: which one is in force when.

use jiff::Timestamp;
use proto::DeckPutInForce;

/// The fold of one deck's [`DeckPutInForce`] events. A version is in force until one that begins later does; of two that
/// begin at the same time, the one that was imported last is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeckVersions {
    last_seq: u64,
    /// By the time they begin, then by the order of the log.
    versions: Vec<DeckVersion>,
}

/// A version, and from when on it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeckVersion {
    pub version: String,
    pub effective_from: Timestamp,
    pub imported_at: Timestamp,
    pub prefixes: usize,
}

impl DeckVersions {
    /// `at` is when the event was made. An event that was applied before changes nothing.
    pub fn apply(&mut self, seq: u64, at: Timestamp, event: DeckPutInForce) {
        if seq <= self.last_seq {
            return;
        }
        self.last_seq = seq;
        let DeckPutInForce { version, effective_from, prefixes } = event;
        let place = self.begun_by(effective_from);
        self.versions.insert(place, DeckVersion { version, effective_from, imported_at: at, prefixes });
    }

    /// What stands there is no such event.
    pub fn pass(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// Where the log was when this was folded; 0 when it had no event of this deck.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// By the time they begin.
    pub fn all(&self) -> &[DeckVersion] {
        &self.versions
    }

    pub fn in_force(&self, at: Timestamp) -> Option<&DeckVersion> {
        self.until(at).next()
    }

    /// The one that is in force at `at`, and those before it, newest first.
    pub fn until(&self, at: Timestamp) -> impl Iterator<Item = &DeckVersion> {
        self.versions.get(..self.begun_by(at)).unwrap_or_default().iter().rev()
    }

    /// From when on a version that is to be in force at once is: now, or what the clock of another machine said when the
    /// one before was imported, if that is later.
    pub fn at_once(&self, now: Timestamp) -> Timestamp {
        let at_once = self.versions.iter().filter(|version| version.effective_from == version.imported_at);
        at_once.map(|version| version.effective_from).max().map_or(now, |last| last.max(now))
    }

    fn begun_by(&self, at: Timestamp) -> usize {
        self.versions.partition_point(|version| version.effective_from <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-{text}T00:00:00Z").parse().unwrap()
    }

    fn of(events: &[(&str, &str, &str)]) -> DeckVersions {
        let mut versions = DeckVersions::default();
        for (seq, (version, imported, from)) in (1..).zip(events) {
            let event = DeckPutInForce { version: (*version).to_owned(), effective_from: at(from), prefixes: 1 };
            versions.apply(seq, at(imported), event);
        }
        versions
    }

    #[test]
    fn the_version_that_began_last_is_in_force() {
        let versions =
            of(&[("a", "01-01", "01-01"), ("c", "01-02", "12-01"), ("b", "06-01", "06-01"), ("d", "07-01", "12-01")]);
        for (when, expected) in [
            ("01-01", Some("a")),
            ("05-31", Some("a")),
            ("06-01", Some("b")),
            ("11-30", Some("b")),
            ("12-01", Some("d")),
            ("12-31", Some("d")),
        ] {
            assert_eq!(versions.in_force(at(when)).map(|version| version.version.as_str()), expected, "{when}");
        }
        assert_eq!(versions.in_force("2025-12-31T00:00:00Z".parse().unwrap()), None);
        let until: Vec<&str> = versions.until(at("12-02")).map(|version| version.version.as_str()).collect();
        assert_eq!(until, ["d", "c", "b", "a"]);
    }

    #[test]
    fn an_event_counts_once() {
        let mut versions = of(&[("a", "01-01", "01-01")]);
        let before = versions.clone();
        versions.apply(
            1,
            at("01-01"),
            DeckPutInForce { version: "a".to_owned(), effective_from: at("01-01"), prefixes: 1 },
        );
        assert_eq!(versions, before);
    }

    #[test]
    fn what_is_imported_at_once_comes_after_what_was_before_it() {
        let versions = of(&[("a", "06-01", "06-01"), ("b", "05-01", "12-01")]);
        assert_eq!(versions.at_once(at("05-30")), at("06-01"), "whose clock is ahead");
        assert_eq!(versions.at_once(at("06-02")), at("06-02"));
    }
}
