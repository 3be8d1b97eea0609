//! What becomes of a leg is told by callbacks and a CDR of its own, which are handed on to the call it is a leg of.

use bus::Recorded;
use jiff::Timestamp;
use proto::callback::Details;
use proto::signature::Verified;
use proto::{
    AppName, CallFacts, CallId, Callback, Event, Kind, LegBill, LegMark, LegOf, Progressed, Settled, Step, Subject,
};
use workers::placed::{self, PlacedLeg};

use super::act::dialled;
use super::{Telephone, progressed_event};

/// What has none is no leg's, and need not be read.
const MARK: &[u8] = LegMark::BEGIN.as_bytes();

/// # Errors
/// A sentence, when the log cannot be reached.
pub(super) async fn relay(telephone: &Telephone, recorded: &Recorded) -> Result<(), String> {
    let event = &recorded.event;
    let Subject::Call { kind, app, .. } = &event.subject else { return Ok(()) };
    if matches!(kind, Kind::Ace | Kind::Dice) && event.data.windows(MARK.len()).any(|window| window == MARK) {
        callback(telephone, app, event).await
    } else if *kind == Kind::Settled {
        settled(telephone, app, event).await
    } else {
        Ok(())
    }
}

async fn callback(telephone: &Telephone, app: &AppName, event: &Event) -> Result<(), String> {
    let Ok(Callback { common, details }) = Callback::parse(&Verified::unchecked(event.data.clone())) else {
        return Ok(());
    };
    let found = placed::find(&telephone.bus, app, common.custom.as_deref()).await;
    let found = found.map_err(|error| error.to_string())?;
    let (Some(PlacedLeg { of, begins, placed, facts, dialled_at, hold }), Some(platform_call)) = (found, common.call)
    else {
        return Ok(());
    };
    let LegOf { side, attempt, .. } = of;
    let at = event.time;
    let facts = CallFacts { started_at: facts.started_at.or(Some(dialled_at)), leg: Some(side), ..facts };
    // The platform's answer to the callout may be slower than this, or nobody is left to hear it: that the leg rings is
    // told first all the same.
    if begins && matches!(details, Details::Ace(_)) {
        let dialled = dialled(&placed, of.clone(), hold.as_ref(), &platform_call, at)?;
        telephone.bus.append(&dialled, None).await.map_err(|error| error.to_string())?;
        let moment = placed.order.start_of(side);
        let begun = Progressed {
            step: Step::Dialled { side, attempt, platform_call: platform_call.clone() },
            moment,
            tell: placed.told_of(moment),
            facts: CallFacts { status: "ringing".to_owned(), ..facts.clone() },
        };
        write(telephone, app, &of.call, &begun, at).await?;
    }
    let progressed = match details {
        Details::Ace(_) => {
            let moment = placed.order.answer_of(side);
            Progressed {
                step: Step::Answered { side, attempt, platform_call, at },
                moment,
                tell: placed.told_of(moment),
                facts: CallFacts { status: "answered".to_owned(), answered_at: Some(at), ..facts },
            }
        }
        Details::Dice(dice) => Progressed {
            step: Step::Ended { side, attempt, platform_call, at, answered: dice.answered() },
            moment: None,
            tell: Vec::new(),
            facts: CallFacts { ended_at: Some(at), result: dice.result, reason: dice.reason, ..facts },
        },
        Details::Ice(_) | Details::Pie(_) | Details::Notify(_) | Details::Unknown { .. } => return Ok(()),
    };
    write(telephone, app, &of.call, &progressed, at).await
}

async fn settled(telephone: &Telephone, app: &AppName, event: &Event) -> Result<(), String> {
    let Ok(settled) = serde_json::from_slice::<Settled>(&event.data) else { return Ok(()) };
    let Some(LegOf { call, side, attempt }) = settled.placed.clone() else { return Ok(()) };
    let Ok(platform_call) = CallId::new(event.about.as_str()) else { return Ok(()) };
    let bill = LegBill {
        answered_at: settled.answered_at,
        ended_at: settled.ended_at,
        duration_secs: settled.duration_secs,
        billed_secs: settled.legs.iter().map(|leg| leg.billed_secs).fold(0, u32::saturating_add),
        cost: settled.legs.iter().map(|leg| leg.cost).sum(),
        currency: settled.legs.first().map(|leg| leg.currency.clone()),
        result: settled.result,
        reason: settled.reason,
    };
    let facts = CallFacts {
        ended_at: bill.ended_at,
        billed_secs: Some(bill.billed_secs),
        cost: Some(bill.cost),
        currency: bill.currency.clone(),
        leg: Some(side),
        ..CallFacts::default()
    };
    let step = Step::Settled { side, attempt, platform_call, bill };
    let progressed = Progressed { step, moment: None, tell: Vec::new(), facts };
    write(telephone, app, &call, &progressed, event.time).await
}

/// Its time is that of what it was told by, so that it is the same however often it is relayed.
async fn write(
    telephone: &Telephone,
    app: &AppName,
    call: &CallId,
    progressed: &Progressed,
    time: Timestamp,
) -> Result<(), String> {
    let event = progressed_event(app, call, progressed, time);
    telephone.bus.append(&event, None).await.map(drop).map_err(|error| error.to_string())
}
