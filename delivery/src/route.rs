//! Which events go where: a function of the event and of what is in force.

use bus::Recorded;
use policy::Condition;
use proto::{Delivery, DestinationName, DestinationPut, Kind, Listener, Progressed, Subject, Told};
use serde_json::{Value, json};

use crate::destination::Destination;
use crate::in_force::{InForce, Ready};
use crate::origins::{lane_of_profile, lane_of_url};

/// The deliveries of an event to somebody in force: none, or one, or one for each time he is to be told.
pub(crate) fn deliveries_to(recorded: &Recorded, to: &InForce, body: &Body<'_>) -> Vec<Delivery> {
    if to.begins_after().is_some_and(|from_seq| recorded.seq <= from_seq) {
        return Vec::new();
    }
    match &to.ready {
        Ready::Destination(to) => {
            delivery_of(recorded, &to.destination, to.condition.as_ref(), body, 0).into_iter().collect()
        }
        Ready::Profile(_) | Ready::Origin => {
            body.told(recorded).iter().filter(|(lane, _)| lane == to.name()).map(|(_, told)| told.clone()).collect()
        }
    }
}

/// Whom a step of a placed call is told, in the order they were named: each with his lane.
fn told_of(recorded: &Recorded) -> Vec<(DestinationName, Delivery)> {
    let Recorded { seq, event } = recorded;
    let Subject::Call { kind: Kind::Progressed, app, .. } = &event.subject else { return Vec::new() };
    // What cannot be read was written by a newer callbus.
    let Ok(Progressed { moment: Some(moment), tell, .. }) = serde_json::from_slice(&event.data) else {
        return Vec::new();
    };
    let told = |(listener, tell): (u8, &Listener)| {
        let lane = match tell {
            Listener::Profile { id, .. } => lane_of_profile(id),
            Listener::Url(url) => lane_of_url(url),
        };
        let id = Delivery::id_of_told(&lane, &event.id, listener);
        let told = Some(Told { moment, listener });
        let (kind, app, at) = (Kind::Progressed, app.clone(), event.time);
        (lane, Delivery { id, seq: *seq, kind, app, at, replay: 0, told })
    };
    (0..=u8::MAX).zip(&tell).map(told).collect()
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
    let wanted = is_of(*kind, put, body)
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
        told: None,
    })
}

/// Whether a destination hears of such events. A CRM has one activity for each call: of one that was placed it is made
/// from its last step, and its legs, which have CDRs too, are none.
pub(crate) fn is_of(kind: Kind, put: &DestinationPut, body: &Body<'_>) -> bool {
    if put.to.is_webhook() {
        return put.kinds.contains(&kind);
    }
    kind == Kind::Settled && body.json()["placed"].is_null()
        || kind == Kind::Progressed && body.json()["step"]["type"] == "over"
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
    told: std::cell::OnceCell<Vec<(DestinationName, Delivery)>>,
}

impl<'a> Body<'a> {
    pub(crate) fn of(recorded: &'a Recorded) -> Self {
        Self { data: &recorded.event.data, read: std::cell::OnceCell::new(), told: std::cell::OnceCell::new() }
    }

    /// Whom it is told, of the same event.
    pub(crate) fn told(&self, recorded: &Recorded) -> &[(DestinationName, Delivery)] {
        self.told.get_or_init(|| told_of(recorded))
    }

    /// Null where it is no JSON.
    fn json(&self) -> &Value {
        self.read.get_or_init(|| serde_json::from_slice(self.data).unwrap_or_default())
    }
}
