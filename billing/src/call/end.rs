//! How a call ended, as somebody told it.

use jiff::{SignedDuration, Timestamp};
use proto::callback::{self, Dice};
use proto::settled::{OtherEnd, SupplierCost};
use proto::{CallInfo, Event, EventId};

/// A time of Sinch's that is further from our clock is not believed.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(10);

/// The platform speaks of a call some time after it; longer ago than this none can have been.
const TOLD_AFTER_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A longer duration is not believed.
const DURATION_MAX_SECS: u32 = 24 * 3600;

/// Answered or not, and for how long: what the money of a leg depends on.
pub(crate) type Basis = (bool, u32);

/// When something happened: as Sinch says, and when we received it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub told: Option<Timestamp>,
    pub received: Timestamp,
}

impl Moment {
    /// Sinch's time where it can be true, since a period's prices hang on it; else ours.
    pub(super) fn believed(self) -> Timestamp {
        self.told.filter(|told| told.duration_since(self.received).abs() <= SKEW_MAX).unwrap_or(self.received)
    }
}

/// An end that was told.
#[derive(Debug)]
pub(super) struct End {
    pub told_in: EventId,
    pub answered: bool,
    pub duration_secs: Option<u32>,
    pub at: Moment,
    pub result: Option<String>,
    pub reason: Option<String>,
    pub supplier_cost: Option<SupplierCost>,
}

impl End {
    pub(super) fn of_dice(dice: Dice, told_in: EventId, at: Moment) -> Self {
        let supplier_cost = supplier_cost(dice.debit.as_ref());
        let answered = dice.answered();
        Self {
            told_in,
            answered,
            duration_secs: dice.duration_secs,
            at,
            result: dice.result,
            reason: dice.reason,
            supplier_cost,
        }
    }

    /// As the platform says when it is asked, some time after.
    pub(super) fn of_info(info: CallInfo, event: &Event) -> Self {
        let possible =
            |at: &Timestamp| (SignedDuration::ZERO..TOLD_AFTER_MAX).contains(&event.time.duration_since(*at));
        let at = info.timestamp.filter(possible);
        Self {
            told_in: event.id.clone(),
            answered: info.answered(),
            duration_secs: info.duration_secs,
            at: Moment { told: at, received: at.unwrap_or(event.time) },
            supplier_cost: supplier_cost(info.debit.as_ref()),
            result: info.result,
            reason: info.reason,
        }
    }

    /// How long it lasted, if that is told and can be.
    pub(super) fn duration(&self) -> Option<u32> {
        self.duration_secs.filter(|secs| *secs <= DURATION_MAX_SECS)
    }

    /// It says all that its price hangs on.
    pub(super) fn can_be_rated(&self) -> bool {
        !self.answered || self.duration().is_some()
    }

    /// What matters of it: a time or a cost that differs does not make it another end.
    pub(super) fn basis(&self) -> Basis {
        (self.answered, if self.answered { self.duration_secs.unwrap_or_default() } else { 0 })
    }

    pub(super) fn other(&self) -> OtherEnd {
        OtherEnd { result: self.result.clone(), duration_secs: self.duration_secs }
    }
}

fn supplier_cost(debit: Option<&callback::Money>) -> Option<SupplierCost> {
    let debit = debit?;
    Some(SupplierCost { amount: debit.amount?, currency: debit.currency_id.clone() })
}
