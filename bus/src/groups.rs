//! Groups: the calls shared out among the processes of a role, by partition. Each group is a consumer of its own, and the
//! broker lets one process work each; with one group all is done by one.
//!
//! How many there are is written down beside the log. A process with another number first waits until nobody works
//! under the old one, then has the new groups begin where the old ones are; who still runs with the old number stops.
//! Should two overlap, a call is looked at twice, which whoever works by groups must bear anyway.

use std::time::Duration;

use proto::Share;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, ConsumerSpec};
use crate::error::Unavailable;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The groups of one role.
#[derive(Debug, Clone, Copy)]
pub struct Groups {
    /// The role, and the consumer where one group does it all. Letters, digits, `-` and `_`.
    pub role: &'static str,
    /// How many there are, one of [`Groups::COUNTS`].
    pub of: u8,
    /// Handlers that run at the same time, in each.
    pub max_in_flight: usize,
    /// See [`ConsumerSpec::always_worked`].
    pub always_worked: bool,
}

impl Groups {
    /// How many there may be: each divides the partitions evenly, and they are few enough that the broker can be told of
    /// every consumer beforehand.
    pub const COUNTS: [u8; 5] = [1, 2, 4, 8, 16];

    /// The same role with another number of groups.
    #[must_use]
    pub fn with(self, of: u8) -> Self {
        Self { of, ..self }
    }

    pub fn all(self) -> impl Iterator<Item = Share> {
        Share::all(self.of)
    }

    /// Name of a group's consumer.
    pub fn name(self, group: Share) -> String {
        match group.count() {
            1 => self.role.to_owned(),
            of => format!("{}-{}-of-{of}", self.role, group.nth()),
        }
    }

    pub fn consumer(self, group: Share) -> ConsumerSpec {
        ConsumerSpec {
            name: self.name(group),
            filter: group.filter(),
            max_in_flight: self.max_in_flight,
            always_worked: self.always_worked,
        }
    }

    /// The durable consumers of all groups.
    pub fn consumers(self) -> Vec<ConsumerSpec> {
        self.all().map(|group| self.consumer(group)).collect()
    }

    /// The groups in force; one until somebody has put another number in force.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn in_force(self, bus: &Bus) -> Result<Self, Unavailable> {
        let of = bus.checkpoint(&self.number()).await?.and_then(|of| u8::try_from(of).ok());
        Ok(self.with(of.unwrap_or(1)))
    }

    /// All events of the calls up to this sequence are done, by whichever group; 0 when the role has never run.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn floor(self, bus: &Bus) -> Result<u64, Unavailable> {
        let mut floor = u64::MAX;
        for group in self.all() {
            floor = floor.min(bus.consumer_floor(&group.filter(), &self.name(group)).await?);
        }
        Ok(floor)
    }

    /// Puts these groups in force, once nobody works under another number. Before they begin, `carry` is told which were
    /// in force and how far they were, to hand over what the role keeps beside the log. False when `stop` came first.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn put_in_force(
        self,
        bus: &Bus,
        stop: &CancellationToken,
        carry: impl AsyncFnOnce(Self, u64) -> Result<(), Unavailable>,
    ) -> Result<bool, Unavailable> {
        let before = self.in_force(bus).await?;
        if before.of == self.of {
            return Ok(true);
        }
        while before.are_worked(bus).await? {
            tracing::warn!(
                role = self.role,
                groups = self.of,
                in_force = before.of,
                "waiting for the processes with another number of groups to end"
            );
            if stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_none() {
                return Ok(false);
            }
        }
        let floor = before.floor(bus).await?;
        carry(before, floor).await?;
        for consumer in self.consumers() {
            bus.restart_consumer(&consumer, floor).await?;
        }
        bus.set_checkpoint(&self.number(), self.of.into()).await?;
        tracing::info!(
            role = self.role,
            groups = self.of,
            before = before.of,
            floor,
            "another number of groups is in force"
        );
        Ok(true)
    }

    async fn are_worked(self, bus: &Bus) -> Result<bool, Unavailable> {
        for group in self.all() {
            if bus.consumer_standing(&group.filter(), &self.name(group)).await?.worked {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the number in force is written down.
    fn number(self) -> String {
        format!("{}-groups", self.role)
    }
}
