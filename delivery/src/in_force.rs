//! Who events go to, as is in force, followed on the bus: with conditions parsed and secrets at hand. Each has a lane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, Clock, Unavailable};
use jiff::{SignedDuration, Timestamp};
use outbound::{Url, check_url};
use policy::Condition;
use proto::{DestinationName, Filter, ProfileId, RetryPlan, SigningKey};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::crm::{Credentials, Crm};
use crate::destination::Destination;
use crate::lane::{Answer, Rules};
use crate::plan::Plan;
use crate::profile::{Profile, Status};
use crate::signing::SigningSecret;
use crate::telling::Pinned;
use crate::{origins, profiles, register};

/// A change is in force everywhere after this long.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A secret that is missing is looked for again after this long.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(60);
/// What a profile that was removed is still told: more than a call and 75 hours of trying again.
const TOLD_AFTER_REMOVAL: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Attempts at the same time, to one profile or to the plain addresses of one origin.
const CONCURRENCY: usize = 8;
/// Revisions of one profile at hand.
const PINNED_MAX: usize = 16;

/// Somebody events go to, ready to be sent to.
#[derive(Debug)]
pub(crate) struct InForce {
    /// Of the lane.
    name: DestinationName,
    pub ready: Ready,
}

#[derive(Debug)]
pub(crate) enum Ready {
    Destination(Box<ReadyDestination>),
    Profile(Box<ReadyProfile>),
    /// Plain addresses of one origin. What they are stands in the events.
    Origin,
}

/// A destination, ready to be sent to.
#[derive(Debug)]
pub(crate) struct ReadyDestination {
    pub destination: Destination,
    pub url: Url,
    pub condition: Option<Condition>,
    pub keys: Keys,
    pub headers: BTreeMap<String, String>,
    /// A secret is not to be found, as after a restore: what comes waits until there is one.
    lacks_secret: bool,
    /// Where what is sent is no event, but what a CRM makes of it.
    pub crm: Option<Crm>,
}

/// A callback profile, ready to be told.
#[derive(Debug)]
pub(crate) struct ReadyProfile {
    pub profile: Profile,
    pub keys: Keys,
    /// Revisions that were told by lately.
    pinned: Mutex<VecDeque<(u64, Arc<Pinned>)>>,
}

/// What signs.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Each with the time from which it signs nothing any more.
    keys: Vec<(SigningSecret, Option<Timestamp>)>,
    /// The one in force is not to be found, as after a restore: what comes waits until there is another.
    lacks_newest: bool,
}

/// All that are in force, by the names of their lanes.
pub(crate) type Destinations = BTreeMap<DestinationName, Arc<InForce>>;

impl Keys {
    /// What signs now, the newest first.
    pub(crate) fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let in_force = move |retires: &Option<Timestamp>| retires.is_none_or(|at| at > now);
        self.keys.iter().filter(move |(_, retires)| in_force(retires)).map(|(key, _)| key)
    }

    async fn load(bus: &Bus, of: &str, keys: &[SigningKey]) -> Result<Self, Unavailable> {
        let mut loaded = Self { keys: Vec::new(), lacks_newest: false };
        for key in keys {
            let secret = bus.secret(&key.name).await?;
            let secret = secret.and_then(|bytes| SigningSecret::parse(std::str::from_utf8(&bytes).ok()?).ok());
            match secret {
                Some(secret) => loaded.keys.push((secret, key.retires_at)),
                None => {
                    let secret = &key.name;
                    tracing::error!(of, secret, "a signing secret is missing: deliveries wait until there is another");
                    loaded.lacks_newest |= key.retires_at.is_none();
                }
            }
        }
        Ok(loaded)
    }
}

impl InForce {
    /// Plain addresses of one origin.
    pub(crate) fn origin(name: DestinationName) -> Self {
        Self { name, ready: Ready::Origin }
    }

    pub(crate) fn name(&self) -> &DestinationName {
        &self.name
    }

    pub(crate) fn is_origin(&self) -> bool {
        matches!(self.ready, Ready::Origin)
    }

    /// What comes waits until there is one.
    fn lacks_secret(&self) -> bool {
        match &self.ready {
            Ready::Destination(to) => to.lacks_secret,
            Ready::Profile(to) => to.keys.lacks_newest,
            Ready::Origin => false,
        }
    }

    /// How its lanes are to be: what it can take is shared out to the groups.
    pub(crate) fn rules(&self, groups: u8) -> Rules {
        match &self.ready {
            Ready::Destination(to) => {
                let put = &to.destination.put;
                Rules {
                    plan: Plan::of(&put.retry),
                    concurrency_max: usize::from(put.concurrency_max).div_ceil(groups.into()),
                    rate_per_sec: put.rate_per_sec.map(|rate| rate.div_ceil(groups.into())),
                    paused: to.destination.paused || self.lacks_secret(),
                }
            }
            Ready::Profile(to) => Rules::of_told(groups, to.profile.status == Status::Disabled || self.lacks_secret()),
            Ready::Origin => Rules::of_told(groups, false),
        }
    }

    /// Where in `DELIVERIES` it begins; what is before was about another of its name, removed since.
    pub(crate) fn deliveries_seq(&self) -> u64 {
        match &self.ready {
            Ready::Destination(to) => to.destination.deliveries_seq,
            Ready::Profile(_) | Ready::Origin => 0,
        }
    }

    /// Where it begins: what is of one name and begins elsewhere is another.
    pub(crate) fn began(&self) -> (Option<u64>, u64) {
        (self.begins_after(), self.deliveries_seq())
    }

    /// From here on it is tried again, whatever happened before.
    pub(crate) fn tried_anew_at(&self) -> Timestamp {
        match &self.ready {
            Ready::Destination(to) => to.destination.tried_anew_at,
            Ready::Profile(to) => to.profile.tried_anew_at,
            Ready::Origin => Timestamp::MIN,
        }
    }

    /// Events of the calls up to this sequence are not for it; `None` where nobody knows.
    pub(crate) fn begins_after(&self) -> Option<u64> {
        match &self.ready {
            Ready::Destination(to) => Some(to.destination.from_seq),
            Ready::Profile(to) => Some(to.profile.from_seq),
            Ready::Origin => None,
        }
    }
}

impl Rules {
    fn of_told(groups: u8, paused: bool) -> Self {
        let concurrency_max = CONCURRENCY.div_ceil(groups.into());
        Self { plan: Plan::of(&RetryPlan::Lasting), concurrency_max, rate_per_sec: None, paused }
    }
}

impl ReadyDestination {
    /// The inner error: why it cannot be told which events are for it. It was put by a newer callbus.
    async fn load(bus: &Bus, destination: Destination) -> Result<Result<Self, String>, Unavailable> {
        let put = &destination.put;
        let keys = Keys::load(bus, destination.name.as_str(), &put.keys).await?;
        let mut lacks_secret = keys.lacks_newest;
        let mut headers = BTreeMap::new();
        if let Some(name) = &put.header_values {
            let found = bus.secret(name).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match found {
                Some(found) => headers = found,
                None => {
                    let destination = &destination.name;
                    let what = "the values of its headers";
                    tracing::error!(%destination, what, "they are missing: deliveries wait; put it again");
                    lacks_secret = true;
                }
            }
        }
        let mut credentials = Credentials::new();
        if let Some(name) = &put.credential_values {
            let found = bus.secret(name).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match found {
                Some(found) => credentials = found,
                None => {
                    let destination = &destination.name;
                    let what = "the values of its credentials";
                    tracing::error!(%destination, what, "they are missing: deliveries wait; put it again");
                    lacks_secret = true;
                    // In force all the same, so that what comes waits: without them it could not be read.
                    credentials = put.credentials.iter().map(|name| (name.clone(), "…".to_owned())).collect();
                }
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
            Ok(url) => Ok(Ok(Self { url, condition, keys, headers, lacks_secret, crm, destination })),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

impl ReadyProfile {
    async fn load(bus: &Bus, profile: Profile) -> Result<Self, Unavailable> {
        let keys = Keys::load(bus, profile.id.as_str(), &profile.put.keys).await?;
        Ok(Self { profile, keys, pinned: Mutex::default() })
    }

    /// A revision of it, to tell by.
    ///
    /// # Errors
    /// With what follows for the delivery.
    pub(crate) async fn pinned(&self, bus: &Bus, id: &ProfileId, revision: u64) -> Result<Arc<Pinned>, Answer> {
        let at_hand = {
            let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
            pinned.iter().find(|(seq, _)| *seq == revision).map(|(_, pinned)| Arc::clone(pinned))
        };
        if let Some(pinned) = at_hand {
            return Ok(pinned);
        }
        let loaded = Arc::new(Pinned::load(bus, &self.profile.put, id, revision).await?);
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.push_front((revision, Arc::clone(&loaded)));
        pinned.truncate(PINNED_MAX);
        Ok(loaded)
    }
}

/// Follows the register and the profiles.
#[derive(Debug)]
pub(crate) struct Follower {
    bus: Bus,
    clock: Clock,
    followed: (u64, u64),
    /// When those that lack a secret were last looked at.
    looked_again: Instant,
    destinations: BTreeMap<DestinationName, Destination>,
    profiles: BTreeMap<ProfileId, Profile>,
    tell: watch::Sender<Arc<Destinations>>,
}

impl Follower {
    /// Everything there is so far.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub(crate) async fn load(
        bus: &Bus,
        clock: &Clock,
    ) -> Result<(Self, watch::Receiver<Arc<Destinations>>), Unavailable> {
        let (tell, told) = watch::channel(Arc::default());
        let mut follower = Self {
            bus: bus.clone(),
            clock: clock.clone(),
            followed: (0, 0),
            looked_again: Instant::now(),
            destinations: BTreeMap::new(),
            profiles: BTreeMap::new(),
            tell,
        };
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
        let put = self.bus.last_seq(&Filter::Destinations).await? > self.followed.0;
        let changed = self.bus.last_seq(&Filter::Profiles).await? > self.followed.1;
        let over = |profile: &Profile| profile.is_over(self.clock.now());
        // A secret may be late: a broker of several servers reads what was written a moment ago from any of them.
        let lacks =
            self.looked_again.elapsed() > LOOK_AGAIN_EVERY && self.tell.borrow().values().any(|to| to.lacks_secret());
        if !put && !changed && !lacks && !self.profiles.values().any(over) {
            return Ok(());
        }
        self.looked_again = Instant::now();
        let (mut destinations, mut known) = (self.destinations.clone(), self.profiles.clone());
        let mut events = self.bus.events(&Filter::Destinations, self.followed.0);
        while let Some(next) = events.next().await? {
            register::take(&mut destinations, &next);
        }
        let mut told = self.bus.events(&Filter::Profiles, self.followed.1);
        while let Some(next) = told.next().await? {
            profiles::take(&mut known, &next);
        }
        known.retain(|_, profile| !over(profile));
        let before = Arc::clone(&self.tell.borrow());
        let mut in_force = Destinations::new();
        let mut take = |name: DestinationName, loaded: Result<Ready, String>| match loaded {
            Ok(ready) => drop(in_force.insert(name.clone(), Arc::new(InForce { name, ready }))),
            Err(why) => {
                tracing::error!(destination = %name, why, "a destination is not taken; what was in force stays");
                let old = before.get(&name).map(Arc::clone);
                in_force.extend(old.map(|old| (name, old)));
            }
        };
        let mut same = Destinations::new();
        for (name, destination) in &destinations {
            match before.get(name) {
                Some(old)
                    if !old.lacks_secret()
                        && matches!(&old.ready, Ready::Destination(to) if to.destination == *destination) =>
                {
                    same.insert(name.clone(), Arc::clone(old));
                }
                Some(_) | None => {
                    let loaded = ReadyDestination::load(&self.bus, destination.clone()).await?;
                    take(name.clone(), loaded.map(|to| Ready::Destination(Box::new(to))));
                }
            }
        }
        for (id, profile) in &known {
            let name = origins::lane_of_profile(id);
            match before.get(&name) {
                Some(old)
                    if !old.lacks_secret() && matches!(&old.ready, Ready::Profile(to) if to.profile == *profile) =>
                {
                    same.insert(name, Arc::clone(old));
                }
                Some(_) | None => {
                    let loaded = ReadyProfile::load(&self.bus, profile.clone()).await?;
                    take(name, Ok(Ready::Profile(Box::new(loaded))));
                }
            }
        }
        in_force.append(&mut same);
        self.followed = (events.passed_seq(), told.passed_seq());
        (self.destinations, self.profiles) = (destinations, known);
        self.tell.send_replace(Arc::new(in_force));
        Ok(())
    }
}

impl Profile {
    /// It was removed, and so long ago that no call is told by it any more.
    fn is_over(&self, now: Timestamp) -> bool {
        self.removed_at.is_some_and(|at| now.duration_since(at) > TOLD_AFTER_REMOVAL)
    }
}
