//! CRMs: each call is there once, as an activity made from its CDR ([`activity`]), and is changed when a later CDR says
//! something else.
//!
//! Written twice it is one, since a CRM finds it by the call id: HubSpot by a unique property, Salesforce by an external
//! id, a recipe by what it searches for. So a delivery whose process ended before it was written down is simply made again. What was written of
//! a call is kept with its delivery ([`written`]), so that an old CDR, sent again, does not stand in the place of a new one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bus::Recorded;
use jiff::Timestamp;
use outbound::{Request, Url, check_url};
use proto::{CallId, Connector, Delivery, Direction, Progressed, Settled, Subject, Wrote};
use tokio::time::Instant;

use crate::courier::Tools;
use crate::in_force::ReadyDestination;
use crate::lane::Answer;
use crate::route::call_of;

mod activity;
mod template;
mod fields;
mod wire;
mod written;
mod hubspot;
mod salesforce;
mod recipe;

use activity::CallActivity;
use hubspot::Hubspot;
use recipe::Recipe;
use salesforce::Salesforce;
use wire::{Mode, Wire, again, hopeless};
pub(crate) use written::Written;

/// What a CRM wants to know before it lets anybody in, by name.
pub(crate) type Credentials = BTreeMap<String, String>;

/// Nothing had to be sent: the status of a delivery whose CDR does not stand.
const NOTHING_TO_SAY: u16 = 204;

/// A CRM, ready to be written to.
pub(crate) struct Crm {
    base: Url,
    kind: Kind,
    direction: Option<Direction>,
    credentials: Credentials,
}

#[derive(Debug)]
enum Kind {
    Hubspot(Hubspot),
    Salesforce(Salesforce),
    Recipe(Recipe),
}

/// Its credentials, and what it gave for them, are secrets.
impl fmt::Debug for Crm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crm").field("host", &self.base.host_str()).finish_non_exhaustive()
    }
}

/// Where a kind of receiver is when nobody says so; empty where that is not known.
pub(crate) fn usual_url(to: &Connector) -> &'static str {
    match to {
        Connector::Hubspot(_) => hubspot::URL,
        Connector::Webhook | Connector::Salesforce(_) | Connector::Recipe(_) => "",
    }
}

impl Crm {
    /// `None` for what takes events as they are.
    ///
    /// # Errors
    /// Says what is wrong with the settings, and which credentials are missing or nothing to it.
    pub(crate) fn parse(to: &Connector, url: &str, credentials: Credentials) -> Result<Option<Self>, String> {
        let (kind, direction, wanted): (_, _, Vec<String>) = match to {
            Connector::Webhook if credentials.is_empty() => return Ok(None),
            Connector::Webhook => return Err("credentials: a webhook has headers".to_owned()),
            Connector::Hubspot(settings) => (
                Kind::Hubspot(Hubspot::parse(settings)?),
                settings.direction,
                Hubspot::CREDENTIALS.map(str::to_owned).into(),
            ),
            Connector::Salesforce(settings) => {
                let salesforce = Salesforce::parse(settings)?;
                (Kind::Salesforce(salesforce), settings.direction, Salesforce::CREDENTIALS.map(str::to_owned).into())
            }
            Connector::Recipe(settings) => {
                let recipe = Recipe::parse(&settings.text)?;
                let wanted = recipe.credentials.clone();
                (Kind::Recipe(recipe), settings.direction, wanted)
            }
        };
        if credentials.keys().any(|name| !wanted.contains(name))
            || wanted.iter().any(|name| !credentials.contains_key(name))
        {
            return Err(format!("credentials: {} wants {}", to.as_str(), wanted.join(", ")));
        }
        if credentials.values().any(|value| value.is_empty() || value.chars().any(char::is_control)) {
            return Err("credentials: one is empty, or has a line break in it".to_owned());
        }
        let base = check_url(url).map_err(|error| format!("url: {error}"))?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err("url: it has a query; write where the CRM is, such as https://crm.example.com".to_owned());
        }
        Ok(Some(Self { base, kind, direction, credentials }))
    }

    /// Writes the call of a CDR, where this CDR stands.
    pub(crate) async fn deliver(
        &self,
        tools: &Tools,
        written: &Written,
        to: &ReadyDestination,
        delivery: &Delivery,
        recorded: &Recorded,
    ) -> Answer {
        let began = Instant::now();
        let (activity, unmatched) = match self.read(recorded) {
            Ok(read) => read,
            Err(why) => return hopeless(None, why),
        };
        let call = call_of(recorded);
        let before = match written.of(&tools.bus, &to.destination, call).await {
            Ok(before) => before,
            Err(error) => return again(None, format!("look up what was written: {error}")),
        };
        if before.as_ref().is_some_and(|before| before.seq > delivery.seq || (unmatched && !before.unmatched)) {
            return Answer::Taken { status: NOTHING_TO_SAY, took: Duration::ZERO, wrote: None };
        }
        let now = tools.clock.now();
        // What was written is read from the log when it is first needed, which is no fault of the CRM.
        let until = Instant::now() + Duration::from_secs(to.destination.put.timeout_secs.into());
        let wire = Wire { base: &self.base, now, mode: Mode::Sends { outbound: &tools.outbound, until } };
        let remote = before.as_ref().map(|before| before.remote.as_str());
        match self.write(&wire, &activity, remote).await {
            Ok((status, remote)) => {
                let url = to.destination.put.url.clone();
                let wrote = Wrote { url, seq: delivery.seq, unmatched, remote };
                written.add(call, wrote.clone()).await;
                Answer::Taken { status, took: began.elapsed(), wrote: Some(wrote) }
            }
            Err(answer) => answer.hiding(self.credentials.values()),
        }
    }

    /// What would be sent of a CDR.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) async fn show(&self, recorded: &Recorded, now: Timestamp) -> Result<Vec<Request>, String> {
        let (activity, _) = self.read(recorded)?;
        let wire = Wire { base: &self.base, now, mode: Mode::Shows(Mutex::default()) };
        let outcome = self.write(&wire, &activity, None).await;
        if let Err(Answer::Hopeless { cause, .. }) = outcome {
            return Err(cause);
        }
        match wire.mode {
            Mode::Shows(shown) => Ok(shown.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Mode::Sends { .. } => Ok(Vec::new()),
        }
    }

    /// The call that an event is the end of, and whether nothing but its end is known.
    fn read(&self, Recorded { event, .. }: &Recorded) -> Result<(CallActivity, bool), String> {
        let no_end = |_| "it is no CDR, and not the end of a call that was placed".to_owned();
        if let Subject::Call { kind: proto::Kind::Progressed, app, .. } = &event.subject {
            let Progressed { facts, .. } = serde_json::from_slice(&event.data).map_err(no_end)?;
            let call = CallId::new(event.about.as_str()).map_err(|error| error.to_string())?;
            return Ok((CallActivity::of_placed(call, app.clone(), &facts, event.time), false));
        }
        let cdr: Settled = serde_json::from_slice(&event.data).map_err(no_end)?;
        Ok((CallActivity::of(&cdr, event.time, self.direction), cdr.unmatched))
    }

    /// Answers the status, and what the CRM calls it.
    async fn write(
        &self,
        wire: &Wire<'_>,
        activity: &CallActivity,
        remote: Option<&str>,
    ) -> Result<(u16, String), Answer> {
        match &self.kind {
            Kind::Hubspot(hubspot) => hubspot.write(wire, &self.credentials, activity).await,
            Kind::Salesforce(salesforce) => salesforce.write(wire, &self.credentials, activity).await,
            Kind::Recipe(recipe) => recipe.write(wire, &self.credentials, activity, remote).await,
        }
    }
}
