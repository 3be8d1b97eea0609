//! How the calls are shared out among billing processes.

use bus::{Bus, ConsumerSpec, Groups, Unavailable};
use tokio_util::sync::CancellationToken;

/// Name of the consumer of the calls, and of its checkpoint, where one group does it all.
pub const CONSUMER: &str = "billing";

/// Calls worked on at the same time, by one group; each waits for at most a few appends.
const IN_FLIGHT_MAX: usize = 64;

/// Billing's groups. A group's checkpoint has the name of its consumer. What billing does by itself, those who stand by
/// do too, so a group may be nobody's while there are no calls.
pub(crate) const ONE: Groups = Groups { role: CONSUMER, of: 1, max_in_flight: IN_FLIGHT_MAX, always_worked: false };

/// How many groups there may be.
pub const GROUPS: [u8; 5] = Groups::COUNTS;

/// The durable consumers billing works by, one for each of so many groups.
pub fn consumers(groups: u8) -> Vec<ConsumerSpec> {
    ONE.with(groups).consumers()
}

/// All events of the calls up to this sequence are done, by whichever group; 0 when billing has never run.
///
/// # Errors
/// When the log cannot be reached.
pub async fn floor(bus: &Bus) -> Result<u64, Unavailable> {
    ONE.in_force(bus).await?.floor(bus).await
}

/// Puts these groups in force, from the oldest call that one of the old ones still needs.
pub(crate) async fn put_in_force(groups: Groups, bus: &Bus, stop: &CancellationToken) -> Result<bool, Unavailable> {
    let carry = async |before: Groups, floor: u64| {
        let mut oldest = floor.saturating_add(1);
        for group in before.all() {
            oldest = oldest.min(bus.checkpoint(&before.name(group)).await?.unwrap_or_default());
        }
        for group in groups.all() {
            bus.set_checkpoint(&groups.name(group), oldest).await?;
        }
        Ok(())
    };
    groups.put_in_force(bus, stop, carry).await
}
