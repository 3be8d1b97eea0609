//! The legs a wallet has closed and still remembers: most of what a busy wallet is made of, so kept small.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use proto::Leg;
use rpds::{HashTrieMapSync, VectorSync};
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::wallet::Closed;

/// Of one leg as it is written: its digest, when it was closed in seconds and nanoseconds, and what it was charged.
const WRITTEN_BYTES: usize = 32 + 8 + 4 + 8;

type Digest = [u8; 32];

/// In the order in which they were closed. Written as one text, of binary records in base64: as JSON objects, a million
/// legs would be a document more than twice as large.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ClosedLegs {
    legs: HashTrieMapSync<Digest, Closed>,
    /// Those before `first` are forgotten.
    order: VectorSync<Digest>,
    first: usize,
}

/// Text that is not what [`ClosedLegs`] is written as.
#[derive(Debug, thiserror::Error)]
#[error("not a list of closed legs")]
pub(crate) struct NotClosedLegs;

impl ClosedLegs {
    pub(crate) fn get(&self, leg: &Leg) -> Option<Closed> {
        self.legs.get(&leg.to_bytes()).copied()
    }

    /// A leg that is not among them yet.
    pub(crate) fn insert(&mut self, leg: &Leg, closed: Closed) {
        self.push(leg.to_bytes(), closed);
    }

    pub(crate) fn oldest(&self) -> Option<Closed> {
        self.legs.get(self.order.get(self.first)?).copied()
    }

    pub(crate) fn remove_oldest(&mut self) {
        let Some(leg) = self.order.get(self.first) else { return };
        self.legs.remove_mut(leg);
        self.first = self.first.saturating_add(1);
        if self.first > self.order.len() / 2 {
            self.order = self.remembered().copied().collect();
            self.first = 0;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.legs.size()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Leg, Closed)> {
        let leg = |nth| self.order.get(nth).and_then(|leg| Some((Leg::from_bytes(leg), *self.legs.get(leg)?)));
        (self.first..self.order.len()).filter_map(leg)
    }

    fn remembered(&self) -> impl Iterator<Item = &Digest> {
        self.order.iter().skip(self.first)
    }

    fn push(&mut self, leg: Digest, closed: Closed) {
        self.legs.insert_mut(leg, closed);
        self.order.push_back_mut(leg);
    }
}

/// Two are equal when they remember the same, whatever each forgot before.
impl PartialEq for ClosedLegs {
    fn eq(&self, other: &Self) -> bool {
        self.legs == other.legs && self.remembered().eq(other.remembered())
    }
}

impl Eq for ClosedLegs {}

impl From<ClosedLegs> for String {
    fn from(closed: ClosedLegs) -> Self {
        let mut written = Vec::with_capacity(closed.len().saturating_mul(WRITTEN_BYTES));
        for leg in closed.remembered() {
            let Some(Closed { at, charged }) = closed.legs.get(leg) else { continue };
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
        let mut records = written.chunks_exact(WRITTEN_BYTES);
        let mut closed = Self::default();
        for record in &mut records {
            let (leg, at) = record.split_first_chunk().ok_or(NotClosedLegs)?;
            let (secs, at) = at.split_first_chunk().ok_or(NotClosedLegs)?;
            let (nanos, charged) = at.split_first_chunk().ok_or(NotClosedLegs)?;
            let (charged, _) = charged.split_first_chunk().ok_or(NotClosedLegs)?;
            let at = Timestamp::new(i64::from_be_bytes(*secs), i32::from_be_bytes(*nanos));
            let at = at.map_err(|_| NotClosedLegs)?;
            let charged = Micros::new(i64::from_be_bytes(*charged)).map_err(|_| NotClosedLegs)?;
            closed.push(*leg, Closed { at, charged });
        }
        if records.remainder().is_empty() { Ok(closed) } else { Err(NotClosedLegs) }
    }
}
