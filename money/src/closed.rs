//! The legs a wallet has closed and still remembers: most of what a busy wallet is made of, so kept small, and quick to
//! read from a snapshot.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashTable;
use jiff::Timestamp;
use proto::Leg;
use rpds::{HashTrieMapSync, VectorSync};
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::wallet::Closed;

/// Of one leg as it is written: its digest, when it was closed in seconds and nanoseconds, and what it was charged.
const WRITTEN_BYTES: usize = 32 + 8 + 4 + 8;

type Digest = [u8; 32];

/// In the order in which they were closed: those that were read from a snapshot, then those that came since. Written as
/// one text, of binary records in base64: as JSON objects, a million legs would be a document more than twice as large.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ClosedLegs {
    /// Shared by all clones and never changed. Those before `forgotten` are forgotten.
    read: Arc<Read>,
    forgotten: usize,
    legs: HashTrieMapSync<Digest, Closed>,
    /// Of `legs`. Those before `first` are forgotten.
    order: VectorSync<Digest>,
    first: usize,
}

/// Legs as a snapshot has them, and where each stands.
#[derive(Debug, Default)]
struct Read {
    legs: Vec<(Digest, Closed)>,
    places: HashTable<u32>,
}

/// Text that is not what [`ClosedLegs`] is written as.
#[derive(Debug, thiserror::Error)]
#[error("not a list of closed legs")]
pub(crate) struct NotClosedLegs;

impl ClosedLegs {
    pub(crate) fn get(&self, leg: &Leg) -> Option<Closed> {
        let digest = leg.to_bytes();
        let since = self.legs.get(&digest).copied();
        since.or_else(|| self.read.get(&digest).filter(|(place, _)| *place >= self.forgotten).map(|(_, closed)| closed))
    }

    /// A leg that is not among them yet.
    pub(crate) fn insert(&mut self, leg: &Leg, closed: Closed) {
        let digest = leg.to_bytes();
        self.legs.insert_mut(digest, closed);
        self.order.push_back_mut(digest);
    }

    pub(crate) fn oldest(&self) -> Option<Closed> {
        self.all().next().map(|(_, closed)| closed)
    }

    pub(crate) fn remove_oldest(&mut self) {
        if self.forgotten < self.read.legs.len() {
            self.forgotten = self.forgotten.saturating_add(1);
            if self.forgotten == self.read.legs.len() {
                (self.read, self.forgotten) = (Arc::default(), 0);
            }
            return;
        }
        let Some(leg) = self.order.get(self.first) else { return };
        self.legs.remove_mut(leg);
        self.first = self.first.saturating_add(1);
        if self.first > self.order.len() / 2 {
            self.order = self.order.iter().skip(self.first).copied().collect();
            self.first = 0;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.read.legs.len().saturating_sub(self.forgotten).saturating_add(self.legs.size())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Leg, Closed)> {
        self.all().map(|(digest, closed)| (Leg::from_bytes(digest), closed))
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = (&Digest, Closed)> {
        let read = self.read.legs.get(self.forgotten..).unwrap_or_default();
        let since = |nth| self.order.get(nth).and_then(|leg| Some((leg, *self.legs.get(leg)?)));
        read.iter().map(|(leg, closed)| (leg, *closed)).chain((self.first..self.order.len()).filter_map(since))
    }
}

impl Read {
    /// Those of which each leg stands there once.
    fn new(legs: Vec<(Digest, Closed)>) -> Result<Self, NotClosedLegs> {
        let mut places = HashTable::with_capacity(legs.len());
        for (place, (digest, _)) in legs.iter().enumerate() {
            let is_there = |other: &u32| legs.get(*other as usize).is_some_and(|(there, _)| there == digest);
            if places.find(hash(digest), is_there).is_some() {
                return Err(NotClosedLegs);
            }
            let hash_of = |other: &u32| legs.get(*other as usize).map_or(0, |(there, _)| hash(there));
            places.insert_unique(hash(digest), u32::try_from(place).map_err(|_| NotClosedLegs)?, hash_of);
        }
        Ok(Self { legs, places })
    }

    fn get(&self, digest: &Digest) -> Option<(usize, Closed)> {
        let leg = |place: &u32| self.legs.get(*place as usize);
        let place = self.places.find(hash(digest), |place| leg(place).is_some_and(|(there, _)| there == digest))?;
        Some((*place as usize, leg(place)?.1))
    }
}

/// A digest is as good as any hash of it.
fn hash(digest: &Digest) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Two are equal when they remember the same, whatever each forgot before.
impl PartialEq for ClosedLegs {
    fn eq(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }
}

impl Eq for ClosedLegs {}

impl From<ClosedLegs> for String {
    fn from(closed: ClosedLegs) -> Self {
        let mut written = Vec::with_capacity(closed.len().saturating_mul(WRITTEN_BYTES));
        for (leg, Closed { at, charged }) in closed.all() {
            written.extend_from_slice(leg);
            written.extend_from_slice(&at.as_second().to_be_bytes());
            written.extend_from_slice(&at.subsec_nanosecond().to_be_bytes());
            written.extend_from_slice(&charged.get().to_be_bytes());
        }
        STANDARD.encode(written)
    }
}

impl TryFrom<String> for ClosedLegs {
    type Error = NotClosedLegs;
    fn try_from(text: String) -> Result<Self, NotClosedLegs> {
        let written = STANDARD.decode(text).map_err(|_| NotClosedLegs)?;
        let records = written.chunks_exact(WRITTEN_BYTES);
        if !records.remainder().is_empty() {
            return Err(NotClosedLegs);
        }
        let legs = records.map(|record| read_leg(record).ok_or(NotClosedLegs)).collect::<Result<_, _>>()?;
        Ok(Self { read: Arc::new(Read::new(legs)?), ..Self::default() })
    }
}

fn read_leg(record: &[u8]) -> Option<(Digest, Closed)> {
    let (leg, at) = record.split_first_chunk()?;
    let (secs, at) = at.split_first_chunk()?;
    let (nanos, charged) = at.split_first_chunk()?;
    let (charged, _) = charged.split_first_chunk()?;
    let at = Timestamp::new(i64::from_be_bytes(*secs), i32::from_be_bytes(*nanos)).ok()?;
    Some((*leg, Closed { at, charged: Micros::new(i64::from_be_bytes(*charged)).ok()? }))
}
