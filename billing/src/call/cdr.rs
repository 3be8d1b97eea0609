//! The CDR a call comes to.

use jiff::Timestamp;
use proto::event::json;
use proto::{Event, EventId, Kind, Partition, Settled, Subject};

use super::Call;
use super::end::{End, Moment};
use super::leg::CallLeg;

impl Call {
    /// The CDR: of the same knowledge the same event. Should more become known, another one stands in its place.
    pub(crate) fn settlement(&self, now: Timestamp) -> Event {
        let end = self.standing_end();
        let told = [&self.end, &self.other_end].into_iter().flatten();
        let disputed = end.and_then(|end| told.clone().find(|other| other.basis() != end.basis()));
        let supplier_cost = end.into_iter().chain(told).find_map(|end| end.supplier_cost.clone());
        let shown = |at: Moment| at.told.unwrap_or(at.received);
        // Such a CDR never stands in the place of the call's real one, should this be an echo of a call long forgotten.
        let unmatched = !self.decided || self.late;
        let settled = Settled {
            call: self.id.clone(),
            app: self.app.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            started_at: self.started_at,
            answered_at: self.answer.map(shown),
            ended_at: end.map(|end| shown(end.at)),
            result: end.and_then(|end| end.result.clone()),
            reason: end.and_then(|end| end.reason.clone()),
            duration_secs: end.and_then(|end| end.duration_secs).unwrap_or_default(),
            refused: self.refused.clone(),
            unmatched,
            late: self.late,
            asked: self.asked,
            disputed: disputed.map(End::other),
            legs: if unmatched { Vec::new() } else { self.legs.iter().map(CallLeg::settled).collect() },
            supplier_cost,
            placed: self.placed.clone(),
        };
        let body = json(&settled);
        Event {
            id: EventId::of(&["settled", &body]),
            subject: Subject::Call { kind: Kind::Settled, app: self.app.clone(), partition: Partition::of(&self.id) },
            about: self.id.to_string(),
            source: "billing".to_owned(),
            time: now,
            extra: Vec::new(),
            data: body.into(),
        }
    }
}
