//! Groups: the calls shared out among billing processes, by partition. Each group is a consumer of its own, and the
//! broker lets one process work each; with one group all is done by one.
//!
//! How many there are is written down beside the log. A process with another number first waits until nobody works
//! under the old one, then has the new groups begin where the old ones are; who still runs with the old number stops.
//! Should two overlap, a call is looked at twice and posted once.

use std::time::Duration;

use bus::{Bus, ConsumerSpec, Unavailable};
use proto::{Filter, Share, Stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Name of the consumer of the calls, and of its checkpoint, where one group does it all.
pub const CONSUMER: &str = "billing";

/// Calls worked on at the same time, by one group; each waits for at most a few appends.
const IN_FLIGHT_MAX: usize = 64;

/// Where the number of groups in force is written down.
const IN_FORCE: &str = "billing-groups";

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One of several groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group(Share);

impl Group {
    pub(crate) fn all(of: u8) -> impl Iterator<Item = Self> {
        Share::all(of).map(Self)
    }

    /// Name of its consumer, and of its checkpoint.
    pub(crate) fn name(self) -> String {
        if self.0 == Share::WHOLE {
            return CONSUMER.to_owned();
        }
        format!("{CONSUMER}-{}-of-{}", self.0.nth(), self.0.count())
    }

    pub(crate) fn filter(self) -> Filter {
        if self.0 == Share::WHOLE {
            return Filter::All(Stream::Calls);
        }
        Filter::Partitions(self.0.partitions().collect())
    }

    pub(crate) fn consumer(self) -> ConsumerSpec {
        ConsumerSpec { name: self.name(), filter: self.filter(), max_in_flight: IN_FLIGHT_MAX }
    }
}

/// How many groups there may be: each divides the partitions evenly, and they are few enough that the broker can be
/// told of every consumer beforehand.
pub const GROUPS: [u8; 5] = [1, 2, 4, 8, 16];

/// The durable consumers billing works by, one for each of so many groups.
pub fn consumers(groups: u8) -> Vec<ConsumerSpec> {
    Group::all(groups).map(Group::consumer).collect()
}

/// All events of the calls up to this sequence are done, by whichever group; 0 when billing has never run.
///
/// # Errors
/// When the log cannot be reached.
pub async fn floor(bus: &Bus) -> Result<u64, Unavailable> {
    floor_of(bus, in_force(bus).await?).await
}

/// How many groups are in force; 1 until somebody has put another number in force.
pub(crate) async fn in_force(bus: &Bus) -> Result<u8, Unavailable> {
    let of = bus.checkpoint(IN_FORCE).await?.and_then(|of| u8::try_from(of).ok());
    Ok(of.unwrap_or(1))
}

async fn floor_of(bus: &Bus, of: u8) -> Result<u64, Unavailable> {
    let mut floor = u64::MAX;
    for group in Group::all(of) {
        floor = floor.min(bus.consumer_floor(&group.filter(), &group.name()).await?);
    }
    Ok(floor)
}

/// Puts so many groups in force, once nobody works under another number. False when `stop` came first.
pub(crate) async fn put_in_force(bus: &Bus, of: u8, stop: &CancellationToken) -> Result<bool, Unavailable> {
    let before = in_force(bus).await?;
    if before == of {
        return Ok(true);
    }
    while is_worked(bus, before).await? {
        tracing::warn!(
            groups = of,
            in_force = before,
            "waiting for the billing processes with another number of groups to end"
        );
        if stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_none() {
            return Ok(false);
        }
    }
    let floor = floor_of(bus, before).await?;
    let mut oldest = floor.saturating_add(1);
    for group in Group::all(before) {
        oldest = oldest.min(bus.checkpoint(&group.name()).await?.unwrap_or_default());
    }
    for group in Group::all(of) {
        bus.set_checkpoint(&group.name(), oldest).await?;
        bus.restart_consumer(&group.consumer(), floor).await?;
    }
    bus.set_checkpoint(IN_FORCE, of.into()).await?;
    tracing::info!(groups = of, before, floor, "another number of groups is in force");
    Ok(true)
}

async fn is_worked(bus: &Bus, of: u8) -> Result<bool, Unavailable> {
    for group in Group::all(of) {
        if bus.consumer_standing(&group.filter(), &group.name()).await?.worked {
            return Ok(true);
        }
    }
    Ok(false)
}
