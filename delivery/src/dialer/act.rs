//! Doing what is due for a call: credit is held, it is written down, the platform is asked, it is written down again.

use std::time::Duration;

use bus::Appended;
use bytes::Bytes;
use jiff::Timestamp;
use money::Hold;
use outbound::{Callout, NotCalled};
use policy::Reason;
use proto::event::json;
use proto::{CallId, Dialled, Event, EventId, Kind, Leg, LegMark, LegOf, PhoneNumber, Placed, Side, Step};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::{to_raw_value, to_value};
use tokio::time::Instant;
use workers::{Request, Reserved};

use super::{Booth, progressed_event, subject_of};
use crate::dial::{Dial, Do, NOT_KNOWN};

/// A process that stood still for longer between looking and writing may be one of two: the other has the call by now.
const FRESH: Duration = Duration::from_secs(30);

impl Booth {
    /// # Errors
    /// A sentence, when it is to be tried again.
    pub(super) async fn act(&self, call: &CallId, what: Do) -> Result<(), String> {
        let Some(dial) = self.calls().open.get(call).cloned() else { return Ok(()) };
        // Somebody may just have hung up.
        if !dial.next(self.telephone.clock.now()).now.contains(&what) {
            return Ok(());
        }
        match what {
            Do::Dial(side, attempt) => self.dial(&dial, side, attempt).await,
            Do::Adopt(side, attempt, platform_call) => self.dialled(&dial, side, attempt, platform_call).await,
            Do::HangUp(leg) => {
                let caller = self.telephone.apps.get(&dial.placed.app).ok_or("its app is not in the configuration")?;
                let (key, secret) = (&caller.key, &caller.secret);
                let hung_up = self.telephone.platform.hang_up(key, secret, &leg, self.telephone.clock.now()).await;
                hung_up.map_err(|error| error.to_string())
            }
            Do::GiveUp(side, attempt) => {
                if let Some(leg) = dial.find(side, attempt).and_then(|leg| leg.leg.clone()) {
                    self.telephone.till.free(&dial.placed.wallet, &leg).await;
                }
                let cause = NOT_KNOWN.to_owned();
                self.note(call, Step::NotDialled { side, attempt, cause, may_be_redialled: true }).await.map(drop)
            }
            Do::Finish => self.note(call, Step::Over).await.map(drop),
        }
    }

    async fn dial(&self, dial: &Dial, side: Side, attempt: u8) -> Result<(), String> {
        let (placed, telephone, looked) = (&dial.placed, &self.telephone, Instant::now());
        let call = &placed.call;
        let refused = |cause: String, may_be_redialled| Step::NotDialled { side, attempt, cause, may_be_redialled };
        let Some(caller) = telephone.apps.get(&placed.app) else {
            let cause = format!("the app {} is not in the configuration", placed.app);
            return self.note(call, refused(cause, false)).await.map(drop);
        };
        let parties = placed.order.parties();
        let Some((_, to)) = parties.into_iter().find(|(of, _)| *of == side) else { return Ok(()) };
        let of = LegOf { call: call.clone(), side, attempt };
        let leg = Leg::of_placed(&placed.app, &of);
        let hold = match self.hold(dial, &caller.deck, &leg, to).await? {
            Ok(hold) => hold,
            Err(reason) => return self.note(call, refused(reason, false)).await.map(drop),
        };
        let step = Step::Dialling {
            side,
            attempt,
            begins: !dial.has_rung(side),
            placed_seq: dial.placed_seq,
            leg: leg.clone(),
            hold: Some(to_value(&hold).map_err(|error| error.to_string())?),
        };
        let Some(Appended { seq, duplicate: false }) = self.note(call, step).await? else { return Ok(()) };
        if looked.elapsed() > FRESH {
            return Err(format!("{NOT_KNOWN}: this process stood still for {:?}", looked.elapsed()));
        }
        let callout = Callout {
            to,
            cli: &placed.cli,
            conference: call.as_str(),
            custom: LegMark { dialling_seq: seq, call: call.clone() }.to_string(),
            max_secs: hold.granted_secs.min(placed.max_secs),
        };
        let now = telephone.clock.now();
        match telephone.platform.call_out(&caller.key, &caller.secret, &callout, now).await {
            Ok(platform_call) => {
                let Some(dial) = self.calls().open.get(call).cloned() else { return Ok(()) };
                self.dialled(&dial, side, attempt, platform_call).await
            }
            // Its callbacks say, or their absence does.
            Err(error @ NotCalled::Unknown(_)) => {
                tracing::warn!(%call, %error, "a callout had no answer");
                Ok(())
            }
            Err(error) => {
                telephone.till.free(&placed.wallet, &leg).await;
                let may_be_redialled = matches!(error, NotCalled::NotSent(_));
                self.note(call, refused(error.to_string(), may_be_redialled)).await.map(drop)
            }
        }
    }

    /// Credit for a leg; the inner error is why there is none. Asked for again, the same hold is found.
    async fn hold(&self, dial: &Dial, deck: &str, leg: &Leg, to: &PhoneNumber) -> Result<Result<Hold, String>, String> {
        let placed = &dial.placed;
        let request = Request {
            app: &placed.app,
            deck,
            leg,
            call: &placed.call,
            wallet: &placed.wallet,
            number: to,
            ring_secs: placed.ring_secs.into(),
            cap_secs: placed.max_secs,
        };
        let (till, now) = (&self.telephone.till, self.telephone.clock.now());
        let hold = async || till.reserve(now, &request, |hold| Bytes::from(json(hold))).await;
        let mut reserved = hold().await;
        if matches!(&reserved, Reserved::Refused(reason) if *reason == Reason::NO_RATE) {
            // Nobody waits on a phone yet, so a price list that has just come into force is waited for.
            till.refresh(&self.telephone.bus, now).await.map_err(|error| error.to_string())?;
            reserved = hold().await;
        }
        match reserved {
            Reserved::Held(hold) | Reserved::Decided(hold) => {
                serde_json::from_slice(&hold).map(Ok).map_err(|error| error.to_string())
            }
            Reserved::Refused(reason) => Ok(Err(reason.to_string())),
            Reserved::Unknown(error) => Err(error.to_string()),
        }
    }

    /// The platform has it: billing hears of it first, so that what was held is settled whatever comes.
    async fn dialled(&self, dial: &Dial, side: Side, attempt: u8, platform_call: CallId) -> Result<(), String> {
        let placed = &dial.placed;
        let of = LegOf { call: placed.call.clone(), side, attempt };
        let hold = dial.find(side, attempt).and_then(|leg| leg.hold.as_ref());
        let event = dialled(placed, of, hold, &platform_call, self.telephone.clock.now())?;
        self.telephone.bus.append(&event, None).await.map_err(|error| error.to_string())?;
        self.note(&placed.call, Step::Dialled { side, attempt, platform_call }).await.map(drop)
    }

    /// Writes a step down and takes it; nothing where the call is over, or another group's.
    pub(super) async fn note(&self, call: &CallId, step: Step) -> Result<Option<Appended>, String> {
        let time = self.telephone.clock.now();
        let Some((app, progressed)) =
            self.calls().open.get(call).map(|dial| (dial.placed.app.clone(), dial.progressed(time, step)))
        else {
            return Ok(None);
        };
        let event = progressed_event(&app, call, &progressed, time);
        let appended = self.telephone.bus.append(&event, None).await.map_err(|error| error.to_string())?;
        // A step that was there already is the same step.
        self.apply(call, time, &progressed.step);
        Ok(Some(appended))
    }
}

/// What tells billing that the platform's call is a leg of ours.
pub(super) fn dialled(
    placed: &Placed,
    of: LegOf,
    hold: Option<&Value>,
    platform_call: &CallId,
    time: Timestamp,
) -> Result<Event, String> {
    let hold = match hold {
        Some(hold) => {
            let hold = Hold::deserialize(hold).map_err(|error| error.to_string())?;
            let hold = Hold { call: platform_call.clone(), ..hold };
            Some(to_raw_value(&hold).map_err(|error| error.to_string())?)
        }
        None => None,
    };
    Ok(Event {
        id: EventId::of(&["dialled", placed.app.as_str(), platform_call.as_str()]),
        subject: subject_of(Kind::Dialled, &placed.app, platform_call),
        about: platform_call.to_string(),
        source: "delivery".to_owned(),
        time,
        extra: Vec::new(),
        data: json(&Dialled { of, wallet: placed.wallet.clone(), hold }).into(),
    })
}

/// The same step is the same event, whoever writes it.
pub(super) fn id_of(call: &CallId, step: &Step) -> EventId {
    let of = |word: &str, side: &Side, attempt: &u8| {
        EventId::of(&["progressed", call.as_str(), word, side.as_str(), &attempt.to_string()])
    };
    match step {
        Step::Dialling { side, attempt, .. } => of("dialling", side, attempt),
        Step::Dialled { side, attempt, .. } => of("dialled", side, attempt),
        Step::NotDialled { side, attempt, .. } => of("not_dialled", side, attempt),
        Step::Answered { side, attempt, .. } => of("answered", side, attempt),
        Step::Ended { side, attempt, .. } => of("ended", side, attempt),
        // Once more where another CDR comes to something else.
        Step::Settled { side, attempt, bill, .. } => {
            EventId::of(&["progressed", call.as_str(), "settled", side.as_str(), &attempt.to_string(), &json(bill)])
        }
        Step::HangupAsked { .. } => EventId::of(&["progressed", call.as_str(), "hangup_asked"]),
        Step::Over => EventId::of(&["progressed", call.as_str(), "over"]),
    }
}
