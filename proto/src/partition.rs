//! How the calls are shared out: each has a partition, and several readers take a share of the partitions each.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::CallId;
use crate::subject::{Filter, Stream};

/// Where a call belongs: FNV-1a of the call id mod 64. Order is kept within a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition(u8);

impl Partition {
    /// How many there are; for ever, since subjects name them.
    pub const COUNT: u8 = 64;

    /// A call's own.
    pub fn of(call: &CallId) -> Self {
        Self::of_text(call.as_str())
    }

    /// For events without a call id (DICE, notify and unknown may lack one), which are filed by their event id.
    pub fn of_text(text: &str) -> Self {
        let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self((hash % u32::from(Self::COUNT)) as u8)
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Reads `p07` back.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let index = text.strip_prefix('p').filter(|index| index.len() == 2)?;
        index.parse().ok().filter(|index| *index < Self::COUNT).map(Self)
    }

    /// From 0, below [`Partition::COUNT`].
    pub fn index(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:02}", self.0)
    }
}

/// One of several shares of the calls, as people write it: `2/4` is the second of four. A call is in one of them, so
/// who reads a share has the whole call, in order.
///
/// ```
/// use proto::{Partition, Share};
///
/// let second: Share = "2/4".parse()?;
/// assert_eq!(second.partitions().count(), 16);
/// assert!(!second.partitions().any(|partition| partition.index() == 0));
/// # Ok::<(), proto::partition::NotAShare>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Share {
    /// From 1.
    nth: u8,
    of: u8,
}

impl Share {
    /// Everything, for who reads alone.
    pub const WHOLE: Self = Self { nth: 1, of: 1 };

    /// All of so many.
    pub fn all(of: u8) -> impl Iterator<Item = Self> {
        (1..=of).map(move |nth| Self { nth, of })
    }

    /// How many shares there are.
    pub fn count(self) -> u8 {
        self.of
    }

    /// Which of them this is, from 1.
    pub fn nth(self) -> u8 {
        self.nth
    }

    /// What belongs to it.
    pub fn partitions(self) -> impl Iterator<Item = Partition> {
        Partition::all().filter(move |partition| self.has(*partition))
    }

    /// Whether these calls belong to it.
    pub fn has(self, partition: Partition) -> bool {
        partition.index() % self.of == self.nth - 1
    }

    /// Whether some calls belong to both.
    pub fn overlaps(self, other: Self) -> bool {
        self.partitions().any(|partition| other.has(partition))
    }

    /// Its first partition, under which it files what is about all of them.
    pub fn first(self) -> Partition {
        Partition(self.nth - 1)
    }

    /// The events of its calls.
    pub fn filter(self) -> Filter {
        if self.of == 1 { Filter::All(Stream::Calls) } else { Filter::Partitions(self.partitions().collect()) }
    }
}

/// Text that is no share of the calls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a share: write 1/4 for the first of four, of {max} at most", max = Partition::COUNT)]
pub struct NotAShare(String);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.nth, self.of)
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl TryFrom<String> for Share {
    type Error = NotAShare;
    fn try_from(text: String) -> Result<Self, NotAShare> {
        text.parse()
    }
}

impl FromStr for Share {
    type Err = NotAShare;
    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let share =
            text.split_once('/').and_then(|(nth, of)| Some(Self { nth: nth.parse().ok()?, of: of.parse().ok()? }));
        let can_be = |share: &Self| (1..=share.of).contains(&share.nth) && share.of <= Partition::COUNT;
        share.filter(can_be).ok_or_else(|| NotAShare(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_in_one_share() {
        for of in 1..=Partition::COUNT {
            let mut all: Vec<Partition> = Share::all(of).flat_map(Share::partitions).collect();
            all.sort_unstable();
            assert_eq!(all, Partition::all().collect::<Vec<_>>(), "{of} shares");
        }
    }

    #[test]
    fn shares_overlap_where_some_calls_are_in_both() {
        let share = |text: &str| text.parse::<Share>().expect("share");
        assert!(share("2/2").overlaps(share("4/4")));
        assert!(!share("2/2").overlaps(share("3/4")));
        assert!(share("1/1").overlaps(share("3/16")));
    }

    #[test]
    fn a_share_is_written_as_a_fraction() {
        for wrong in ["", "1", "0/4", "5/4", "1/0", "1/65", "1/4/2", "a/b", "-1/4"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        assert_eq!("1/1".parse(), Ok(Share::WHOLE));
    }
}
