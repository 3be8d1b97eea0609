//! What may be ordered of a running call, by where it is.

use proto::svaml::{Action, Instruction};
use proto::{Kind, Svaml};

use crate::lines::Place;

/// A call that is parked takes what it would have taken for an answer to its ICE; one that is connected may be talked
/// to, recorded, parked and ended; a participant of a conference may also be asked something. Any call may be ended, also
/// while it rings.
///
/// # Errors
/// Says what may not be.
pub(crate) fn legal(svaml: &Svaml, place: &Place) -> Result<(), String> {
    let no = |place: &str| Err(format!("{} is not for a call that {place}", svaml.action.name()));
    match (place, &svaml.action) {
        (_, Action::Hangup) => {}
        (Place::Ringing, _) => return no("rings"),
        (_, Action::Continue | Action::Park(_)) => {}
        (Place::Conference(_), Action::RunMenu(_)) => {}
        (
            Place::Parked,
            Action::ConnectPstn(_)
            | Action::ConnectMxp(_)
            | Action::ConnectSip(_)
            | Action::ConnectConf(_)
            | Action::RunMenu(_),
        ) => {}
        (Place::Connected | Place::Parked | Place::Conference(_), _) => return no("goes on so"),
    }
    if matches!(place, Place::Ringing) && !svaml.instructions.is_empty() {
        return Err("nobody is there yet to hear anything".to_owned());
    }
    let picks_up = svaml.instructions.iter().any(|instruction| matches!(instruction, Instruction::Answer));
    if picks_up && !matches!(place, Place::Parked) {
        return Err("answer is not for a call that is answered".to_owned());
    }
    well_formed(svaml)
}

/// The limits are those of answers; but what may come over REST is no answer to anything.
fn well_formed(svaml: &Svaml) -> Result<(), String> {
    // No ICE may be answered with continue, which has nothing that could be wrong.
    let action = if svaml.action == Action::Continue { Action::Hangup } else { svaml.action.clone() };
    let as_ice = Svaml { instructions: svaml.instructions.clone(), action };
    as_ice.check(Kind::Ice).map_err(|problems| problems.to_string())
}
