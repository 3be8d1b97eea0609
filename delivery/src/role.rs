//! The role: the destinations followed, and a desk for each group of calls.

use std::sync::Arc;
use std::time::Duration;

use bus::{Asked, Bus, Clock, ConsumerSpec, Groups, ServeSpec, Unavailable};
use bytes::Bytes;
use futures::future::join_all;
use outbound::Outbound;
use proto::event::json;
use proto::{DestinationName, Filter, Share};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::courier::{Tools, checkpoint};
use crate::desk::Desk;
use crate::dialer::{self, Telephone};
use crate::in_force::Follower;
use crate::order::{self, AskedStanding, Taken};
use crate::origins::{self, Origins};
use crate::profiles::Profiles;
use crate::register::Register;
use crate::tokens::Tokens;

/// Events handed out at the same time, by one group; each waits until it is written down that it is on its way.
const IN_FLIGHT_MAX: usize = 64;
/// Questions of operators answered at the same time.
const ASKS_MAX: usize = 8;
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was to be tried again must be, also while there are no calls.
const ONE: Groups = Groups { role: "delivery", of: 1, max_in_flight: IN_FLIGHT_MAX, always_worked: true };

/// How many groups there may be.
pub const GROUPS: [u8; 5] = Groups::COUNTS;

/// The durable consumers delivery works by, two for each of so many groups: one delivers, the other places calls.
pub fn consumers(groups: u8) -> Vec<ConsumerSpec> {
    [ONE, dialer::ONE].into_iter().flat_map(|one| one.with(groups).consumers()).collect()
}

/// All events of the calls up to this sequence are delivered, or known to wait; 0 when delivery has never run.
///
/// # Errors
/// When the log cannot be reached.
pub async fn floor(bus: &Bus) -> Result<u64, Unavailable> {
    ONE.in_force(bus).await?.floor(bus).await
}

/// Delivery cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(
        "go on with {groups} groups: {in_force} are in force, by another process; set [delivery] groups to the same \
         number for all delivery processes"
    )]
    Groups { groups: u8, in_force: u8 },
}

/// The role.
#[derive(Debug)]
pub struct Dispatch {
    groups: Groups,
    tools: Tools,
    /// None: no calls are placed.
    telephone: Option<Telephone>,
}

impl Dispatch {
    /// With one group: of several processes one works, the others stand by.
    pub fn new(bus: Bus, outbound: Outbound, clock: Clock) -> Self {
        Self { groups: ONE, tools: Tools { bus, outbound, clock, tokens: Tokens::default() }, telephone: None }
    }

    /// The calls are shared out among so many groups, one of [`GROUPS`]. All delivery processes have the same number.
    #[must_use]
    pub fn in_groups(self, groups: u8) -> Self {
        Self { groups: self.groups.with(groups), ..self }
    }

    /// Places calls, too.
    #[must_use]
    pub fn calling(self, telephone: Telephone) -> Self {
        Self { telephone: Some(telephone), ..self }
    }

    /// Works until asked to stop, then finishes what it has begun.
    ///
    /// # Errors
    /// When the log can no longer be consumed, or another number of groups was put in force.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DispatchError> {
        let Self { groups, tools, telephone } = self;
        if !put_in_force(groups, &tools, &stop).await? {
            return Ok(());
        }
        let (follower, in_force) = Follower::load(&tools.bus, &tools.clock).await?;
        // Should one part fail, the others end with it.
        let (stop, mut parts) = (stop.child_token(), JoinSet::new());
        let desk = |group| Desk::new(group, groups, tools.clone(), in_force.clone());
        let desks: Arc<[Arc<Desk>]> = groups.all().map(desk).collect();
        for desk in desks.iter().cloned() {
            let stop = stop.clone();
            parts.spawn(async move { Ok(desk.run(stop).await?) });
        }
        if let Some(telephone) = telephone {
            parts.spawn(dialer::run(groups.of, telephone, stop.clone()));
        }
        parts.spawn(serve(tools.bus.clone(), desks, stop.clone()));
        parts.spawn(watch_groups(groups, tools.bus, stop.clone()));
        let following = stop.clone();
        parts.spawn(async move {
            follower.follow_until(following).await;
            Ok(())
        });
        let mut outcome = Ok(());
        while let Some(ended) = parts.join_next().await {
            let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            if ended.is_err() {
                stop.cancel();
                outcome = outcome.and(ended);
            }
        }
        outcome
    }
}

/// Puts these groups in force; each lane of a new one is read from where the first of the old ones needs it.
async fn put_in_force(groups: Groups, tools: &Tools, stop: &CancellationToken) -> Result<bool, Unavailable> {
    let bus = &tools.bus;
    let carry = async |before: Groups, _floor: u64| {
        for destination in &lanes(tools).await? {
            let mut after = Some(u64::MAX);
            for group in before.all() {
                let kept = bus.checkpoint(&checkpoint(&before.name(group), destination)).await?;
                after = after.zip(kept).map(|(one, other)| one.min(other));
            }
            // Without one of them, all there is of the destination is read.
            let Some(after) = after else { continue };
            for group in groups.all() {
                bus.set_checkpoint(&checkpoint(&groups.name(group), destination), after).await?;
            }
        }
        Ok(())
    };
    groups.put_in_force(bus, stop, carry).await
}

/// All lanes there are, by name.
async fn lanes(tools: &Tools) -> Result<Vec<DestinationName>, Unavailable> {
    let Tools { bus, clock, .. } = tools;
    let destinations = Register::new(bus.clone(), clock.clone()).all().await?.into_keys();
    let profiles = Profiles::new(bus.clone(), clock.clone()).all().await?;
    let profiles = profiles.keys().map(origins::lane_of_profile);
    let mut open = Origins::new(Share::WHOLE);
    let mut events = bus.events(&Filter::Deliveries(origins::directory()), 0);
    while let Some(recorded) = events.next().await? {
        if let Ok(noted) = serde_json::from_slice(&recorded.event.data) {
            open.apply(recorded.seq, &noted);
        }
    }
    Ok(destinations.chain(profiles).chain(open.lanes().cloned()).chain([origins::directory()]).collect())
}

/// Answers operators, for the groups this process works.
async fn serve(bus: Bus, desks: Arc<[Arc<Desk>]>, stop: CancellationToken) -> Result<(), DispatchError> {
    let spec = ServeSpec {
        name: "callbus-delivery".to_owned(),
        // A group of its own, so that every process is asked.
        group: format!("delivery-{:016x}", fastrand::u64(..)),
        subjects: order::SUBJECTS.map(str::to_owned).to_vec(),
        concurrency_max: ASKS_MAX,
    };
    let answer = move |asked: Asked| {
        let desks = Arc::clone(&desks);
        async move { Bytes::from(answer(&desks, &asked).await) }
    };
    Ok(bus.serve(spec, answer, stop).await?)
}

/// Nothing for a question that is not understood: it is a newer callbus that asks.
async fn answer(desks: &[Arc<Desk>], asked: &Asked) -> String {
    match asked.subject.as_str() {
        order::AGAIN => {
            let Ok(asked) = serde_json::from_slice(&asked.data) else { return String::new() };
            let taken = join_all(desks.iter().map(|desk| desk.again(&asked))).await;
            json(&Taken { taken: taken.into_iter().flatten().collect() })
        }
        _ => {
            let Ok(AskedStanding { destination }) = serde_json::from_slice(&asked.data) else { return String::new() };
            let lanes = join_all(desks.iter().map(|desk| desk.standing(&destination))).await;
            json(&lanes.into_iter().flatten().collect::<Vec<_>>())
        }
    }
}

async fn watch_groups(groups: Groups, bus: Bus, stop: CancellationToken) -> Result<(), DispatchError> {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        match groups.in_force(&bus).await {
            Ok(in_force) if in_force.of != groups.of => {
                return Err(DispatchError::Groups { groups: groups.of, in_force: in_force.of });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the number of groups is looked up later"),
        }
    }
    Ok(())
}
