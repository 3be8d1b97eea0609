//! What a call calls for: holds placed, legs closed and corrected, the CDR.

use jiff::Timestamp;
use money::{Micros, PostingId, Refused};
use proto::{Decided, DecisionKey, EventId};

use super::Books;
use crate::call::{Bill, Call, CallLeg, Ending};
use crate::ledger::{Intent, NotPosted};

/// Who corrects a charge when the truth comes.
const BY: &str = "billing";

impl Books {
    /// Does whatever the call calls for now: places holds, closes legs, writes the CDR. Safe to do again. Answers what
    /// was refused for good, once: the leg is closed without it then, and an operator must look.
    ///
    /// # Errors
    /// When the log cannot be reached; the same again later.
    pub(super) async fn settle(&self, call: &mut Call, may_expire: bool) -> Result<Option<String>, String> {
        let mut refused = None;
        for index in 0..call.legs.len() {
            let now = self.clock.now();
            let ending = call.ending(index);
            let nobody_says = self.enquiries.is_none() || call.gave_up();
            let expired = (may_expire && nobody_says && call.expired(index, now)).then(|| call.answered_at());
            let leg = &mut call.legs[index];
            if leg.bill.is_none() {
                match self.close(leg, ending, expired).await {
                    Ok(()) => {}
                    Err(NotPosted::Unavailable(why)) => return Err(why),
                    Err(NotPosted::Refused(Refused::Late(_))) => {
                        leg.note(Micros::ZERO, None);
                        call.late = true;
                    }
                    Err(why @ (NotPosted::Refused(_) | NotPosted::Unreadable(_))) => {
                        tracing::error!(%why, leg = %leg.hold.leg, "a leg is closed without its posting");
                        leg.note(Micros::ZERO, None);
                        refused = Some(why.to_string());
                    }
                }
            }
            let correction = leg.to_be_corrected(ending).filter(|_| !call.late);
            if let (Some((bill, ending)), Some(told_in)) = (correction, call.told_in().cloned()) {
                let leg = &mut call.legs[index];
                self.correct(leg, bill, ending, &told_in).await?;
                call.settled = false;
            }
        }
        let now = self.clock.now();
        for key in call.take_strays(now) {
            self.free_stray(&key).await;
        }
        if call.due(now) {
            let cdr = call.settlement(now);
            if call.cdr.as_ref() != Some(&cdr.id) {
                self.bus.append(&cdr, None).await.map_err(|error| error.to_string())?;
                call.cdr = Some(cdr.id);
            }
            call.settled = true;
        }
        Ok(refused)
    }

    async fn close(
        &self,
        leg: &mut CallLeg,
        ending: Option<Ending>,
        expired: Option<Option<Timestamp>>,
    ) -> Result<(), NotPosted> {
        let (id, wallet) = (leg.hold.leg.clone(), leg.hold.wallet.clone());
        if !leg.placed {
            self.ledger.post(&wallet, Intent::Place(Box::new(leg.hold.clone()))).await?;
            leg.placed = true;
        }
        let posted = match (ending, expired) {
            (Some(Ending { ended, .. }), _) => {
                match self.ledger.post(&wallet, Intent::Settle { leg: id.clone(), ended }).await {
                    // More than an amount can be: what was held is kept as an estimate.
                    Err(NotPosted::Refused(why)) => {
                        tracing::error!(%why, leg = %id, "a charge is not posted, the hold is kept in its place");
                        let expire = Intent::Expire { leg: id.clone(), answered_at: Some(ended.at) };
                        self.ledger.post(&wallet, expire).await?
                    }
                    posted => posted?,
                }
            }
            (None, Some(answered_at)) => {
                self.ledger.post(&wallet, Intent::Expire { leg: id.clone(), answered_at }).await?
            }
            (None, None) => return Ok(()),
        };
        let Some(charged) = posted.charged else {
            // The wallet does not know the leg: the broker has lost its hold since.
            leg.placed = false;
            return Err(NotPosted::Unavailable(format!("settle {id}: its hold is not in the log any more")));
        };
        leg.note(charged, ending);
        if !posted.new
            && ending.and_then(|ending| ending.price(&leg.hold).ok()).is_some_and(|price| price.amount != charged)
        {
            leg.rest_on(None);
        }
        Ok(())
    }

    /// The end was told in another way than the leg was charged by: the difference is posted.
    ///
    /// # Errors
    /// When the log cannot be reached; the same again later.
    async fn correct(&self, leg: &mut CallLeg, bill: Bill, ending: Ending, told_in: &EventId) -> Result<(), String> {
        match self.post_correction(leg, bill, ending, told_in).await {
            Ok(Some(cost)) => leg.note(cost, Some(ending)),
            Ok(None) => leg.rest_on(Some(ending)),
            Err(NotPosted::Unavailable(why)) => return Err(why),
            Err(why @ (NotPosted::Refused(_) | NotPosted::Unreadable(_))) => {
                tracing::error!(%why, leg = %leg.hold.leg, "a charge is not corrected");
                leg.rest_on(Some(ending));
            }
        }
        Ok(())
    }

    /// What the leg costs now; `None` where nothing was ever posted of it.
    async fn post_correction(
        &self,
        leg: &CallLeg,
        bill: Bill,
        ending: Ending,
        told_in: &EventId,
    ) -> Result<Option<Micros>, NotPosted> {
        let to = ending.price(&leg.hold).map_err(Refused::from)?.amount;
        let wallet = &leg.hold.wallet;
        if to != bill.cost {
            let Some(charged) = self.ledger.closed(wallet, &leg.hold.leg).await? else { return Ok(None) };
            let name = EventId::of(&["correction", leg.hold.leg.as_str(), told_in.as_str(), &to.to_string()]);
            let id = PostingId::new(name.as_str()).map_err(|error| NotPosted::Unreadable(error.to_string()))?;
            let note = format!("{} s, as was told after it had been charged", ending.ended.duration_secs);
            self.ledger.post(wallet, Intent::Correct { charged, id, to, note, by: BY.to_owned() }).await?;
        }
        Ok(Some(to))
    }

    /// Frees a hold whose decision was never recorded: the ingress had answered by fallback. The decision goes as well,
    /// so that a later ask places a hold of its own. Best effort: the hold frees itself at its expiry.
    async fn free_stray(&self, key: &DecisionKey) {
        let memory_key = key.memory_key();
        let Ok(Some(stored)) = self.cache.get(&memory_key).await else { return };
        let Ok(Decided { wallet: Some(wallet), hold: Some(_), .. }) = serde_json::from_slice(&stored) else { return };
        let freed = self.admission.free(&wallet, key).await.map_err(|error| error.to_string());
        let forgotten = self.cache.delete(&memory_key).await.map_err(|error| error.to_string());
        if let Err(error) = freed.and(forgotten) {
            tracing::warn!(error, "a stray hold frees itself at its expiry");
        }
    }
}
