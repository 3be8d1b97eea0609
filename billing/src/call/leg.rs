//! One leg of a call: what was held for it, how it ended, what it came to.

use money::{CannotRate, Cost, Ended, Hold, Micros, cost};
use proto::Kind;
use proto::settled::SettledLeg;
use rust_decimal::Decimal;

use super::end::Basis;

/// A leg, and how far its money is.
#[derive(Debug)]
pub(crate) struct CallLeg {
    pub hold: Hold,
    pub(super) authorised_in: Kind,
    pub placed: bool,
    pub bill: Option<Bill>,
}

/// What a leg came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bill {
    pub cost: Micros,
    billed_secs: u32,
    overrun: bool,
    estimate: bool,
    /// None while it rests on nothing that was told.
    pub basis: Option<Basis>,
}

/// How a leg ended, and whether that is beyond doubt: where it is not, its bill is an estimate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub ended: Ended,
    pub(super) certain: bool,
}

impl Ending {
    pub(crate) fn basis(&self) -> Basis {
        (self.ended.answered, self.ended.duration_secs)
    }

    /// What the leg costs, ended so.
    pub(crate) fn price(&self, hold: &Hold) -> Result<Cost, CannotRate> {
        match self.ended {
            Ended { answered: true, duration_secs: duration_secs @ 1.., answered_at, .. } => {
                cost(&hold.price, duration_secs, answered_at)
            }
            Ended { .. } => Ok(Cost::ZERO),
        }
    }
}

impl CallLeg {
    /// Notes what the leg came to. `charged` is what the wallet says; the rest follows from the hold's own price rows,
    /// so that a process that died between posting and CDR changes nothing.
    pub(crate) fn note(&mut self, charged: Micros, ending: Option<Ending>) {
        let priced = ending.and_then(|ending| ending.price(&self.hold).ok());
        let billed = priced.filter(|priced| priced.amount == charged);
        let certain = ending.is_some_and(|ending| ending.certain) && (billed.is_some() || charged == Micros::ZERO);
        self.bill = Some(Bill {
            cost: charged,
            billed_secs: billed.map(|priced| priced.billed_secs).unwrap_or_default(),
            overrun: charged > self.hold.amount,
            estimate: !certain,
            basis: ending.map(|ending| ending.basis()),
        });
    }

    /// The bill stands, whatever the end says: nothing more can be posted. Or, with none, it does not rest on the end
    /// that is told now.
    pub(crate) fn rest_on(&mut self, ending: Option<Ending>) {
        if let Some(bill) = &mut self.bill {
            bill.basis = ending.map(|ending| ending.basis());
        }
    }

    /// How the leg ended, where its bill rests on something else.
    pub(crate) fn to_be_corrected(&self, ending: Option<Ending>) -> Option<(Bill, Ending)> {
        let (bill, ending) = (self.bill?, ending?);
        (bill.basis != Some(ending.basis())).then_some((bill, ending))
    }

    pub(super) fn settled(&self) -> SettledLeg {
        let Bill { cost, billed_secs, overrun, estimate, .. } = self.bill.unwrap_or_default();
        SettledLeg {
            leg: self.hold.leg.clone(),
            wallet: self.hold.wallet.clone(),
            currency: self.hold.price.currency().to_string(),
            deck: self.hold.deck.name.clone(),
            deck_version: self.hold.deck.version.clone(),
            prefix: self.hold.prefix.clone(),
            held: decimal(self.hold.amount),
            granted_secs: self.hold.granted_secs,
            billed_secs,
            cost: decimal(cost),
            overrun,
            estimate,
        }
    }
}

fn decimal(amount: Micros) -> Decimal {
    Decimal::new(amount.get(), 6).normalize()
}
