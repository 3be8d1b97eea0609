//! Credit for a call: rate the number, work out how long the wallet can pay, hold exactly that.

use billing::admission::HoldRequest;
use billing::credit::CreditError;
use billing::{HoldReply, tombstone};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use money::hold::GRACE;
use money::{Answer, Hold, WalletStatus, grant};
use policy::Reason;
use proto::{CallId, DecisionKey, PhoneNumber, Svaml, WalletId};

use crate::decide::Desk;
use crate::worker::App;

/// How long a call may ring where the answer sets no limit.
const RING_SECS: u32 = 120;

/// How often credit may shrink under us before we give up.
const ATTEMPTS_MAX: usize = 8;

/// What came of a reservation.
pub(crate) enum Reserved {
    /// Held, with the decision that says so.
    Held(Bytes),
    /// Another worker has decided about this leg; these are its words.
    Decided(Bytes),
    Refused(Reason),
    /// Nobody can say now; not to be remembered.
    Unknown(CreditError),
}

/// A reservation to make.
pub(crate) struct Request<'a> {
    pub app: &'a App,
    pub leg: &'a DecisionKey,
    pub call: &'a CallId,
    pub wallet: &'a WalletId,
    pub number: &'a PhoneNumber,
    pub answer: &'a Svaml,
    pub cap_secs: u32,
}

impl Desk {
    /// Holds credit for as many whole seconds as the wallet can pay, up to the cap. `decision` words the decision for a
    /// hold; it is stored with the hold, so that a second worker gives the same answer.
    pub(crate) async fn reserve(
        &self,
        now: Timestamp,
        request: &Request<'_>,
        decision: impl Fn(&Hold) -> Bytes,
    ) -> Reserved {
        let Some(deck) = self.decks.find(&request.app.deck, now) else { return Reserved::Refused(Reason::NO_RATE) };
        let Some(row) = deck.lookup(request.number) else { return Reserved::Refused(Reason::NO_RATE) };
        let facts = match self.credit.facts(request.wallet).await {
            Ok(facts) => facts,
            Err(error) => return Reserved::Unknown(error),
        };
        if facts.currency.is_some_and(|currency| currency != row.price.currency()) {
            return Reserved::Refused(Reason::WALLET_CURRENCY);
        }
        if facts.status != WalletStatus::Active {
            return Reserved::Refused(Reason::WALLET_CLOSED);
        }
        let ring_secs = ring_secs(request.answer);
        let answer = Answer { from: now, ring_secs };
        let mut available = facts.available;
        for _ in 0..ATTEMPTS_MAX {
            let Some(granted) = grant(row.price, available, request.cap_secs, answer) else {
                // The credit may be missing because another worker holds it for this very leg.
                return match self.credit.decision(request.wallet, request.leg).await {
                    Ok(Some(theirs)) => Reserved::Decided(theirs),
                    Ok(None) => Reserved::Refused(Reason::NO_CREDIT),
                    Err(error) => Reserved::Unknown(error),
                };
            };
            let lasts_secs = i64::from(ring_secs.saturating_add(granted.secs)).saturating_add(GRACE.as_secs());
            let hold = Hold {
                leg: request.leg.clone(),
                call: request.call.clone(),
                wallet: request.wallet.clone(),
                amount: granted.hold,
                granted_secs: granted.secs,
                price: row.price.as_ref().clone(),
                deck: deck.identity().clone(),
                prefix: row.prefix.to_owned(),
                placed_at: now,
                expires_at: now + SignedDuration::from_secs(lasts_secs),
            };
            let decided = decision(&hold);
            match self.place(now, request, &hold, &decided).await {
                Ok(HoldReply::Ok) => return Reserved::Held(decided),
                Ok(HoldReply::Dup(theirs)) => return Reserved::Decided(theirs),
                Ok(HoldReply::Insufficient { available: left }) => available = left,
                Ok(HoldReply::Closed) => return Reserved::Refused(Reason::CALL_ENDED),
                // A wallet without any history.
                Ok(HoldReply::NotLoaded) => return Reserved::Refused(Reason::NO_CREDIT),
                Err(error) => return Reserved::Unknown(error),
            }
        }
        Reserved::Refused(Reason::NO_CREDIT)
    }

    /// Holds, unless the call has ended already. Both questions leave together; a hold for an ended call goes back.
    async fn place(
        &self,
        now: Timestamp,
        request: &Request<'_>,
        hold: &Hold,
        decision: &[u8],
    ) -> Result<HoldReply, CreditError> {
        let ask = HoldRequest {
            wallet: request.wallet,
            leg: request.leg,
            amount: hold.amount,
            expires_at: hold.expires_at,
            decision,
        };
        let ended = tombstone::stands(&self.cache, &request.app.name, request.call);
        let (reply, ended) = tokio::join!(self.credit.hold(now, ask), ended);
        let reply = reply?;
        if matches!(ended, Ok(true)) && reply == HoldReply::Ok {
            self.credit.free(request.wallet, request.leg).await;
            return Ok(HoldReply::Closed);
        }
        Ok(reply)
    }
}

fn ring_secs(answer: &Svaml) -> u32 {
    answer.action.connect_pstn().and_then(|connect| connect.dial_timeout).unwrap_or(RING_SECS)
}
