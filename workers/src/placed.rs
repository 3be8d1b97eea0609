//! Callbacks of legs that we dialled: what the platform repeats of our own leads to what was ordered.

use bus::{Bus, Unavailable};
use jiff::Timestamp;
use policy::{Facts, Policy};
use proto::svaml::{Action, Instruction};
use proto::{
    AppName, CallFacts, Kind, LegMark, LegOf, Order, Placed, Progressed, Step, Stream, Subject, Svaml, Target,
};
use serde_json::Value;

/// A leg, found by its mark.
#[derive(Debug, Clone)]
pub struct PlacedLeg {
    pub of: LegOf,
    /// No leg of its side has rung before it.
    pub begins: bool,
    pub placed: Placed,
    /// What was known when it was dialled.
    pub facts: CallFacts,
    pub dialled_at: Timestamp,
    /// What was held for it: `money::Hold`.
    pub hold: Option<Value>,
}

/// Which leg a callback's `custom` names; none for any text but one of ours, in this app's own calls.
///
/// # Errors
/// When the log cannot be reached.
pub async fn find(bus: &Bus, app: &AppName, custom: Option<&str>) -> Result<Option<PlacedLeg>, Unavailable> {
    let Some(LegMark { dialling_seq, call }) = custom.and_then(LegMark::parse) else { return Ok(None) };
    let read = async |seq, wanted| -> Result<_, Unavailable> {
        let found = bus.event(Stream::Calls, seq).await?.map(|recorded| recorded.event);
        Ok(found.filter(|event| {
            matches!(&event.subject, Subject::Call { kind, app: of, .. } if *kind == wanted && of == app)
                && event.about == call.as_str()
        }))
    };
    let Some(dialling) = read(dialling_seq, Kind::Progressed).await? else { return Ok(None) };
    let Ok(Progressed { step: Step::Dialling { side, attempt, begins, placed_seq, hold, .. }, facts, .. }) =
        serde_json::from_slice(&dialling.data)
    else {
        return Ok(None);
    };
    let Some(placed) = read(placed_seq, Kind::Placed).await? else { return Ok(None) };
    let Ok(placed) = serde_json::from_slice(&placed.data) else { return Ok(None) };
    Ok(Some(PlacedLeg { of: LegOf { call, side, attempt }, begins, placed, facts, dialled_at: dialling.time, hold }))
}

impl PlacedLeg {
    /// What whoever has answered is to hear, or why he hears nothing; none where the policy's rules say.
    pub(crate) fn answer(&self, policy: &Policy, facts: &Facts<'_>) -> Option<Result<Svaml, String>> {
        match &self.placed.order {
            Order::Outbound { target: Target::Say(text), .. } => {
                Some(Ok(Svaml { instructions: vec![Instruction::say(text)], action: Action::Hangup }))
            }
            Order::Outbound { target: Target::Menu(name), .. } => Some(policy.menu(name, facts)),
            // On into the conference, where the other one is called to.
            Order::Outbound { target: Target::Connect(_), .. } | Order::ClickToCall { .. } => {
                Some(Ok(Svaml::only(Action::Continue)))
            }
            Order::Outbound { target: Target::Policy, .. } => None,
        }
    }
}
