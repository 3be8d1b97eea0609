//! Credit for a call: rate the number, work out how long the wallet can pay, hold exactly that.

use billing::admission::HoldRequest;
use billing::credit::CreditError;
use billing::{Credit, HoldReply, tombstone};
use bus::{Bus, Cache, Clock};
use bytes::Bytes;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use money::hold::GRACE;
use money::{Answer, Barred, Hold, Limit, WalletStatus, check_call, grant, least};
use policy::Reason;
use proto::{AppName, CallId, DecisionKey, PhoneNumber, Svaml, WalletId};
use tokio_util::sync::CancellationToken;

use crate::deck_log::DeckLogError;
use crate::decks::Decks;

/// How long a call may ring where the answer sets no limit.
const RING_SECS: u32 = 120;
/// No call rings longer, whatever an answer says: its credit would be held for as long.
const RING_SECS_MAX: u32 = 3_600;

/// How often credit may shrink under us before we give up.
const ATTEMPTS_MAX: usize = 8;

/// What credit for calls is held with.
#[derive(Debug)]
pub struct Till {
    pub(crate) credit: Credit,
    /// Calls that have ended.
    pub(crate) cache: Cache,
    pub(crate) decks: Decks,
}

/// What came of a reservation.
#[derive(Debug)]
pub enum Reserved {
    /// Held, with the decision that says so.
    Held(Bytes),
    /// Another has decided about this leg; these are its words.
    Decided(Bytes),
    Refused(Reason),
    /// Nobody can say now; not to be remembered.
    Unknown(CreditError),
}

/// A reservation to make.
#[derive(Debug)]
pub struct Request<'a> {
    pub app: &'a AppName,
    /// Name of the price list.
    pub deck: &'a str,
    pub leg: &'a DecisionKey,
    pub call: &'a CallId,
    pub wallet: &'a WalletId,
    pub number: &'a PhoneNumber,
    /// How long it may ring before it is answered.
    pub ring_secs: u32,
    pub cap_secs: u32,
}

impl Till {
    /// With the price lists of these names.
    ///
    /// # Errors
    /// When the log or the documents cannot be reached.
    pub async fn open(
        bus: &Bus,
        credit: Credit,
        cache: Cache,
        decks: impl Iterator<Item = String>,
        now: Timestamp,
    ) -> Result<Self, DeckLogError> {
        Ok(Self { credit, cache, decks: Decks::load(bus, decks, now).await? })
    }

    /// Follows the price lists.
    pub async fn follow_until(&self, bus: &Bus, clock: &Clock, stop: CancellationToken) {
        self.decks.refresh_until(bus, clock, stop).await;
    }

    /// Looks whether the price lists in use are those in force.
    ///
    /// # Errors
    /// When the log or the documents cannot be reached.
    pub async fn refresh(&self, bus: &Bus, now: Timestamp) -> Result<(), DeckLogError> {
        self.decks.refresh(bus, now).await
    }

    /// Frees a hold whose decision will not be followed.
    pub async fn free(&self, wallet: &WalletId, leg: &DecisionKey) {
        self.credit.free(wallet, leg).await;
    }

    /// Holds credit for as many whole seconds as the wallet can pay, up to the cap. `decision` words the decision for a
    /// hold; it is stored with the hold, so that who asks for the same leg again is given the same answer.
    pub async fn reserve(&self, now: Timestamp, request: &Request<'_>, decision: impl Fn(&Hold) -> Bytes) -> Reserved {
        let deck = self.decks.find(request.deck, now);
        let found = deck.as_ref().and_then(|deck| Some((deck, deck.lookup(request.number)?)));
        let facts = match self.credit.facts(request.wallet).await {
            Ok(facts) => facts,
            Err(error) => return Reserved::Unknown(error),
        };
        let price = found.as_ref().map(|(_, row)| row.price.as_ref());
        if let Err(barred) = check_call(&facts, request.number, policy::country(request.number), price, now) {
            return Reserved::Refused(barred_reason(barred));
        }
        let Some((deck, row)) = found else { return Reserved::Refused(Reason::NO_RATE) };
        if facts.currency.is_none() {
            // A wallet without any history.
            return Reserved::Refused(Reason::NO_CREDIT);
        }
        let ring_secs = request.ring_secs.min(RING_SECS_MAX);
        let answer = Answer { from: now, ring_secs };
        let Some(least) = least(row.price, request.cap_secs, answer) else {
            return Reserved::Refused(Reason::NO_CREDIT);
        };
        let date = facts.limits.date(now);
        let mut budget = facts.budget(date);
        for _ in 0..ATTEMPTS_MAX {
            // What does not fit is asked for all the same, in its smallest size: admission says which limit is in the
            // way, or that another worker holds credit for this very leg.
            let granted = grant(row.price, budget, request.cap_secs, answer).unwrap_or(least);
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
                in_place_of: None,
            };
            let decided = decision(&hold);
            match self.place(now, date, request, &hold, &decided).await {
                Ok(HoldReply::Ok) => return Reserved::Held(decided),
                Ok(HoldReply::Dup(theirs)) => return Reserved::Decided(theirs),
                Ok(HoldReply::Closed) => return Reserved::Refused(Reason::CALL_ENDED),
                Ok(HoldReply::Limited(limit)) => match limit.left() {
                    // There is less than there was, and still enough for a shorter call.
                    Some(left) if granted.secs > least.secs => budget = budget.min(left),
                    Some(_) | None => return Reserved::Refused(limit_reason(limit)),
                },
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
        date: Date,
        request: &Request<'_>,
        hold: &Hold,
        decision: &[u8],
    ) -> Result<HoldReply, CreditError> {
        let ask = HoldRequest {
            wallet: request.wallet,
            leg: request.leg,
            amount: hold.amount,
            date,
            expires_at: hold.expires_at,
            decision,
        };
        let ended = tombstone::stands(&self.cache, request.app, request.call);
        let (reply, ended) = tokio::join!(self.credit.hold(now, ask), ended);
        let reply = reply?;
        if matches!(ended, Ok(true)) && reply == HoldReply::Ok {
            self.credit.free(request.wallet, request.leg).await;
            return Ok(HoldReply::Closed);
        }
        Ok(reply)
    }
}

/// How long the answer lets it ring.
pub(crate) fn ring_secs(answer: &Svaml) -> u32 {
    answer.action.connect_pstn().and_then(|connect| connect.dial_timeout).unwrap_or(RING_SECS)
}

fn barred_reason(barred: Barred) -> Reason {
    match barred {
        Barred::Closed => Reason::WALLET_CLOSED,
        Barred::Blocked => Reason::WALLET_BLOCKED,
        Barred::Denied => Reason::DENIED_NUMBER,
        Barred::NotAllowed => Reason::PREFIX_NOT_ALLOWED,
        Barred::NoRate => Reason::NO_RATE,
        Barred::Currency => Reason::WALLET_CURRENCY,
        Barred::PriceCeiling => Reason::PRICE_CEILING,
    }
}

fn limit_reason(limit: Limit) -> Reason {
    match limit {
        Limit::Status(WalletStatus::Blocked) => Reason::WALLET_BLOCKED,
        Limit::Status(WalletStatus::Closed | WalletStatus::Active) => Reason::WALLET_CLOSED,
        Limit::Concurrent => Reason::LIMIT_CONCURRENT,
        Limit::Velocity => Reason::LIMIT_VELOCITY,
        Limit::SpendDay { .. } => Reason::SPEND_DAY,
        Limit::SpendMonth { .. } => Reason::SPEND_MONTH,
        Limit::Credit { .. } => Reason::NO_CREDIT,
    }
}
