//! Which events go where: a function of the event and of what is in force.

use bus::Recorded;
use policy::Condition;
use proto::{Delivery, Subject};
use serde_json::{Value, json};

use crate::destination::Destination;
use crate::in_force::InForce;

/// The delivery of an event to a destination in force, where it is for it.
pub(crate) fn delivery_to(recorded: &Recorded, to: &InForce, body: &Body<'_>) -> Option<Delivery> {
    if recorded.seq <= to.destination.from_seq {
        return None;
    }
    delivery_of(recorded, &to.destination, to.condition.as_ref(), body, 0)
}

/// The same for one whose condition was read, as part of a replay or (0) of none. A replay may reach back further than
/// the destination does.
pub(crate) fn delivery_of(
    recorded: &Recorded,
    destination: &Destination,
    condition: Option<&Condition>,
    body: &Body<'_>,
    replay: u64,
) -> Option<Delivery> {
    let Recorded { seq, event } = recorded;
    let Subject::Call { kind, app, .. } = &event.subject else { return None };
    let put = &destination.put;
    let wanted = put.kinds.contains(kind)
        && (put.apps.is_empty() || put.apps.contains(app))
        && condition.is_none_or(|condition| {
            let about = json!({ "kind": kind, "app": app, "call": event.about, "time": event.time, "id": event.id });
            condition.holds(&about, body.json())
        });
    wanted.then(|| Delivery {
        id: Delivery::id_of(&destination.name, &event.id, replay),
        seq: *seq,
        kind: *kind,
        app: app.clone(),
        at: event.time,
        replay,
    })
}

/// What is kept in order together: a call of an app. The few events without a call id are alone.
pub(crate) fn call_of(recorded: &Recorded) -> &str {
    match recorded.event.about.as_str() {
        "" => recorded.event.id.as_str(),
        call => call,
    }
}

/// An event's body, read at most once, by the first condition that asks.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    data: &'a [u8],
    read: std::cell::OnceCell<Value>,
}

impl<'a> Body<'a> {
    pub(crate) fn of(recorded: &'a Recorded) -> Self {
        Self { data: &recorded.event.data, read: std::cell::OnceCell::new() }
    }

    /// Null where it is no JSON.
    fn json(&self) -> &Value {
        self.read.get_or_init(|| serde_json::from_slice(self.data).unwrap_or_default())
    }
}
