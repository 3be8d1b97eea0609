//! The destinations in force, followed on the bus: with their conditions parsed and their secrets at hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Unavailable};
use jiff::Timestamp;
use outbound::{Url, check_url};
use policy::Condition;
use proto::{DestinationName, Filter};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::crm::{Credentials, Crm};
use crate::destination::Destination;
use crate::lane::Rules;
use crate::plan::Plan;
use crate::register;
use crate::signing::SigningSecret;

/// A change is in force everywhere after this long.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A destination, ready to be sent to.
#[derive(Debug)]
pub(crate) struct InForce {
    pub destination: Destination,
    pub url: Url,
    pub condition: Option<Condition>,
    /// With the time from which each signs nothing any more.
    keys: Vec<(SigningSecret, Option<Timestamp>)>,
    pub headers: BTreeMap<String, String>,
    /// Where what is sent is no event, but what a CRM makes of it.
    pub crm: Option<Crm>,
}

/// All that are in force.
pub(crate) type Destinations = BTreeMap<DestinationName, Arc<InForce>>;

impl InForce {
    pub(crate) fn name(&self) -> &DestinationName {
        &self.destination.name
    }

    /// What signs now, the newest first.
    pub(crate) fn keys(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let in_force = move |retires: &Option<Timestamp>| retires.is_none_or(|at| at > now);
        self.keys.iter().filter(move |(_, retires)| in_force(retires)).map(|(key, _)| key)
    }

    /// How its lanes are to be: what it can take is shared out to the groups.
    pub(crate) fn rules(&self, groups: u8) -> Rules {
        let put = &self.destination.put;
        Rules {
            plan: Plan::of(&put.retry),
            concurrency_max: usize::from(put.concurrency_max).div_ceil(groups.into()),
            rate_per_sec: put.rate_per_sec.map(|rate| rate.div_ceil(groups.into())),
            paused: self.destination.paused,
        }
    }

    /// # Errors
    /// With the reason why it cannot be sent to: it was put by a newer callbus, or a secret is missing.
    async fn load(bus: &Bus, destination: Destination) -> Result<Result<Self, String>, Unavailable> {
        let put = &destination.put;
        let mut keys = Vec::new();
        for key in &put.keys {
            let secret = bus.secret(&key.name).await?;
            let secret = secret.and_then(|bytes| SigningSecret::parse(std::str::from_utf8(&bytes).ok()?).ok());
            match secret {
                Some(secret) => keys.push((secret, key.retires_at)),
                None => return Ok(Err(format!("its signing secret {} is missing; rotate it", key.name))),
            }
        }
        let mut headers = BTreeMap::new();
        if let Some(name) = &put.header_values {
            let found = bus.secret(name).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match found {
                Some(found) => headers = found,
                None => return Ok(Err("the values of its headers are missing; put it again".to_owned())),
            }
        }
        let mut credentials = Credentials::new();
        if let Some(name) = &put.credential_values {
            let found = bus.secret(name).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match found {
                Some(found) => credentials = found,
                None => return Ok(Err("the values of its credentials are missing; put it again".to_owned())),
            }
        }
        let crm = match Crm::parse(&put.to, &put.url, credentials) {
            Ok(crm) => crm,
            Err(why) => return Ok(Err(why)),
        };
        let condition = match put.when.as_str() {
            "" => None,
            when => match Condition::parse(when) {
                Ok(condition) => Some(condition),
                Err(why) => return Ok(Err(format!("its condition cannot be read: {why}"))),
            },
        };
        match check_url(&put.url) {
            Ok(url) => Ok(Ok(Self { url, condition, keys, headers, crm, destination })),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

/// Follows the register.
#[derive(Debug)]
pub(crate) struct Follower {
    bus: Bus,
    followed: u64,
    known: BTreeMap<DestinationName, Destination>,
    tell: watch::Sender<Arc<Destinations>>,
}

impl Follower {
    /// Everything there is so far.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub(crate) async fn load(bus: &Bus) -> Result<(Self, watch::Receiver<Arc<Destinations>>), Unavailable> {
        let (tell, told) = watch::channel(Arc::default());
        let mut follower = Self { bus: bus.clone(), followed: 0, known: BTreeMap::new(), tell };
        follower.follow().await?;
        Ok((follower, told))
    }

    pub(crate) async fn follow_until(mut self, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            if let Err(error) = self.follow().await {
                tracing::warn!(%error, "destinations not looked at, those in force stay");
            }
        }
    }

    /// Takes what is new. When something cannot be reached, all of it comes again the next time.
    async fn follow(&mut self) -> Result<(), Unavailable> {
        if self.bus.last_seq(&Filter::Destinations).await? <= self.followed {
            return Ok(());
        }
        let mut known = self.known.clone();
        let mut events = self.bus.events(&Filter::Destinations, self.followed);
        while let Some(next) = events.next().await? {
            register::take(&mut known, &next);
        }
        let before = Arc::clone(&self.tell.borrow());
        let mut in_force = Destinations::new();
        for (name, destination) in &known {
            let old = before.get(name);
            if let Some(old) = old.filter(|old| old.destination == *destination) {
                in_force.insert(name.clone(), Arc::clone(old));
                continue;
            }
            match InForce::load(&self.bus, destination.clone()).await? {
                Ok(loaded) => drop(in_force.insert(name.clone(), Arc::new(loaded))),
                Err(why) => {
                    tracing::error!(destination = %name, why, "a destination is not taken; what was in force stays");
                    in_force.extend(old.map(|old| (name.clone(), Arc::clone(old))));
                }
            }
        }
        self.followed = events.passed_seq();
        self.known = known;
        self.tell.send_replace(Arc::new(in_force));
        Ok(())
    }
}
