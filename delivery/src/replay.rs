//! A replay: what happened in a stretch of the log goes out to a destination anew, as deliveries with ids of their own.

use bus::{Bus, Unavailable};
use jiff::Timestamp;
use policy::Condition;
use proto::{Filter, Stream};

use crate::destination::Destination;
use crate::order::{AGAIN_MAX, Again};
use crate::route::{Body, call_of, delivery_of};

/// Events looked at for one page.
const EVENTS_MAX: usize = 50_000;

/// Which events go out anew.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// What happened at or after it.
    pub from: Timestamp,
    /// What happened before it.
    pub to: Timestamp,
    /// Events of the log after this sequence.
    pub after_seq: u64,
}

/// A part of a replay.
#[derive(Debug)]
pub struct ReplayPage {
    pub deliveries: Vec<Again>,
    /// All up to this sequence was looked at.
    pub passed_seq: u64,
    /// There is no more.
    pub is_last: bool,
}

/// The deliveries a stretch of the log makes, a page of them. `number` tells one replay from another; it is not 0.
///
/// # Errors
/// When the log cannot be read.
pub async fn replay(
    bus: &Bus,
    destination: &Destination,
    stretch: Stretch,
    number: u64,
) -> Result<ReplayPage, Unavailable> {
    // It was checked when it was put; what cannot be read takes nothing.
    let condition = match destination.put.when.as_str() {
        "" => None,
        when => match Condition::parse(when) {
            Ok(condition) => Some(condition),
            Err(_) => return Ok(ReplayPage { deliveries: Vec::new(), passed_seq: stretch.after_seq, is_last: true }),
        },
    };
    let mut events = bus.events(&Filter::All(Stream::Calls), stretch.after_seq);
    let (mut deliveries, mut looked, mut is_last) = (Vec::new(), 0, false);
    while deliveries.len() < AGAIN_MAX && looked < EVENTS_MAX {
        let Some(recorded) = events.next().await? else {
            is_last = true;
            break;
        };
        looked += 1;
        if !(stretch.from..stretch.to).contains(&recorded.event.time) {
            continue;
        }
        let body = Body::of(&recorded);
        if let Some(delivery) = delivery_of(&recorded, destination, condition.as_ref(), &body, number) {
            deliveries.push(Again { delivery, call: call_of(&recorded).to_owned(), attempts: 0 });
        }
    }
    Ok(ReplayPage { deliveries, passed_seq: events.passed_seq(), is_last })
}
