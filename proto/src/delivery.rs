//! What became of the deliveries to a destination: bodies of the events of the stream `DELIVERIES`, which `delivery`
//! alone writes.
//!
//! A delivery is open from its first event until it is delivered or dead. The events of one destination, folded, say
//! what is open, how far it got, and whether the destination can be reached at all.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AppName, DestinationName, EventId};
use crate::kind::Kind;
use crate::partition::Share;
use crate::placed::Moment;

/// One hand-over of an event of a call to a destination. The call id is the `ce-subject` of the event around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Also the `webhook-id` of every attempt.
    pub id: EventId,
    /// Place of the event in the stream `CALLS`, which holds what is sent.
    pub seq: u64,
    pub kind: Kind,
    pub app: AppName,
    /// When the event happened.
    pub at: Timestamp,
    /// The replay it is part of; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replay: u64,
    /// Who of those that [`Progressed`](crate::Progressed) names is told; absent where the event goes to a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
}

/// One listener of a call, told of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    pub moment: Moment,
    /// His place among those to be told, from 0.
    pub listener: u8,
}

impl Delivery {
    /// The same event to the same destination is the same delivery, unless it was asked to go out anew.
    pub fn id_of(destination: &DestinationName, event: &EventId, replay: u64) -> EventId {
        match replay {
            0 => EventId::of(&["delivery", destination.as_str(), event.as_str()]),
            replay => EventId::of(&["delivery", destination.as_str(), event.as_str(), &replay.to_string()]),
        }
    }

    /// The same of one of those whom an event is told.
    pub fn id_of_told(destination: &DestinationName, event: &EventId, listener: u8) -> EventId {
        EventId::of(&["told", destination.as_str(), event.as_str(), &listener.to_string()])
    }
}

/// Body of `callbus.delivery.noted.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeliveryNoted {
    /// It waits, for an earlier one of its call, for a free place, or for the destination to be reached again.
    Queued { delivery: Delivery },
    /// It is about to be sent.
    Attempted {
        delivery: Delivery,
        /// From 1.
        attempt: u32,
        /// To find out whether the destination can be reached again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        probe: bool,
    },
    /// The destination has taken it.
    Delivered {
        delivery: EventId,
        attempt: u32,
        status: u16,
        took_millis: u64,
        /// Of a CRM: what stands there of the call now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wrote: Option<Wrote>,
    },
    /// It has not, and is asked again.
    Failed {
        delivery: EventId,
        attempt: u32,
        /// Absent where nobody answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        cause: String,
        /// Attempts of the plan that are used up. Probes do not count.
        used: u32,
        next_at: Timestamp,
    },
    /// It is given up, until an operator asks for it.
    Dead {
        delivery: EventId,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        cause: String,
    },
    /// An operator asked for one that was dead: its plan begins anew.
    Retried {
        delivery: Delivery,
        /// Attempts so far; they are counted on.
        attempts: u32,
    },
    /// More is open than is kept in memory: from here on the stream `CALLS` itself is what waits.
    FellBehind {
        /// Who says so.
        group: Share,
        /// The first event that waits there.
        from: u64,
    },
    /// Nothing waits there any more.
    CaughtUp { group: Share },
    /// The destination is not asked any more, but for probes.
    Broke {
        group: Share,
        cause: String,
        /// It said itself that it is not to be asked any more: no probes either, until an operator resumes it.
        gone: bool,
    },
    /// It is asked again.
    Mended { group: Share },
    /// Plain addresses of one origin are told from here on, in a lane of their own.
    Opened { group: Share, lane: DestinationName },
    /// Nothing is open there any more.
    Closed { group: Share, lane: DestinationName },
}

/// What was written of a call in a CRM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wrote {
    /// Where the CRM is. In another one, put later under the same name, nothing is known of the call.
    pub url: String,
    /// Place of the CDR in the stream `CALLS`: an earlier one is not written any more.
    pub seq: u64,
    /// The CDR was an unmatched one, which never stands in the place of a matched one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmatched: bool,
    /// What the CRM calls it.
    pub remote: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
