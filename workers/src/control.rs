//! What is in force: the policies of the apps and the live lists, followed on the bus while calls go on.
//!
//! A revision that does not load never takes the place of one that does: it is refused, and said to whoever asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bus::{Bus, Clock, Unavailable};
use policy::{LiveLists, Needs, Policy};
use proto::{AppName, Filter, Kind, ListChanged, Stream, Subject};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::policies::{Policies, PutInForce};

/// A change is in force everywhere after this long, and the time it takes to load.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The policies and lists by which this worker decides.
#[derive(Debug)]
pub(crate) struct Control {
    bus: Bus,
    policies: Policies,
    apps: HashMap<AppName, RwLock<Arc<InForce>>>,
    built_in: Arc<InForce>,
    lists: LiveLists,
    /// How far the stream `CONFIG` was followed.
    followed: Mutex<u64>,
}

/// What decides for an app.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub policy: Arc<Policy>,
    /// Decides beside it, and is only recorded.
    pub shadow: Option<Arc<Policy>>,
    /// The newest change this stands for, be it taken or refused.
    pub seq: u64,
    /// Why the newest revision was not taken.
    pub refused: Option<String>,
}

impl InForce {
    /// What has to be fetched before either of them decides.
    pub(crate) fn needs(&self, kind: Kind) -> Needs {
        let (needs, shadow) = (self.policy.needs(kind), self.shadow.as_ref().map(|shadow| shadow.needs(kind)));
        let shadow = shadow.unwrap_or_default();
        Needs {
            memory: needs.memory || shadow.memory,
            wallet: needs.wallet || shadow.wallet,
            price: needs.price || shadow.price,
        }
    }
}

impl Control {
    /// Everything there is so far. An app without a policy is decided for by the rules that are built in.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub(crate) async fn load(
        bus: &Bus,
        clock: &Clock,
        apps: impl Iterator<Item = AppName>,
    ) -> Result<Self, Unavailable> {
        let built_in = Arc::new(InForce { policy: Arc::new(built_in()), shadow: None, seq: 0, refused: None });
        let control = Self {
            bus: bus.clone(),
            policies: Policies::new(bus.clone(), clock.clone()),
            apps: apps.map(|app| (app, RwLock::new(Arc::clone(&built_in)))).collect(),
            built_in,
            lists: LiveLists::default(),
            followed: Mutex::new(0),
        };
        control.follow().await?;
        Ok(control)
    }

    pub(crate) fn lists(&self) -> &LiveLists {
        &self.lists
    }

    pub(crate) fn in_force(&self, app: &AppName) -> Arc<InForce> {
        let slot = self.apps.get(app);
        slot.map_or_else(|| Arc::clone(&self.built_in), |slot| Arc::clone(&read(slot)))
    }

    /// All apps in the order of their names.
    pub(crate) fn all(&self) -> BTreeMap<AppName, Arc<InForce>> {
        self.apps.iter().map(|(app, slot)| (app.clone(), Arc::clone(&read(slot)))).collect()
    }

    pub(crate) async fn follow_until(&self, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.follow().await {
                tracing::warn!(%error, "policies and lists not looked at, those in force stay");
            }
        }
    }

    /// Takes what is new. When something cannot be reached, all of it comes again the next time.
    async fn follow(&self) -> Result<(), Unavailable> {
        let mut followed = self.followed.lock().await;
        let config = Filter::All(Stream::Config);
        if self.bus.last_seq(&config).await? <= *followed {
            return Ok(());
        }
        let mut events = self.bus.events(&config, *followed);
        let mut changes: HashMap<AppName, Vec<PutInForce>> = HashMap::new();
        while let Some(next) = events.next().await? {
            match &next.event.subject {
                Subject::List(list) => {
                    if let Ok(change) = serde_json::from_slice::<ListChanged>(&next.event.data) {
                        self.lists.apply(list, next.seq, &change);
                    }
                }
                Subject::Policy(app) => {
                    changes.entry(app.clone()).or_default().extend(PutInForce::read(next.seq, &next.event));
                }
                // Price lists are followed by themselves.
                Subject::Call { .. }
                | Subject::Wallet(_)
                | Subject::Deck(_)
                | Subject::Destination(_)
                | Subject::Profile(_)
                | Subject::Delivery { .. } => {}
            }
        }
        let mut unreachable = None;
        for (app, changes) in changes {
            if let Some(slot) = self.apps.get(&app) {
                let before = Arc::clone(&read(slot));
                let (after, unread) = self.change(&app, &before, &changes).await;
                *slot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
                unreachable = unreachable.or(unread);
            }
        }
        // What could not be read is looked at again, and its app decides by what could meanwhile.
        if let Some(error) = unreachable {
            tracing::warn!(%error, "a policy could not be read, trying again");
            return Ok(());
        }
        *followed = events.passed_seq();
        Ok(())
    }

    /// The app after these changes, and what kept a text of them from being read.
    async fn change(&self, app: &AppName, before: &InForce, changes: &[PutInForce]) -> (InForce, Option<Unavailable>) {
        let mut unread = None;
        let mut after = InForce { refused: None, ..before.clone() };
        after.seq = changes.last().map_or(before.seq, |newest| newest.seq);
        for shadow in [false, true] {
            // The newest that loads; an older one only where a newer one does not.
            for put in changes.iter().rev().filter(|put| put.what.shadow == shadow) {
                if put.what.revision.is_empty() {
                    after.shadow = None;
                    break;
                }
                let read = match self.read(&put.what.revision).await {
                    Ok(read) => read,
                    Err(error) => {
                        let why = error.to_string();
                        unread = Some(error);
                        Err(why)
                    }
                };
                match read {
                    Ok(policy) => {
                        let revision = policy.revision().get(..12);
                        tracing::info!(%app, revision, shadow, "policy in force");
                        let policy = Arc::new(policy);
                        if shadow {
                            after.shadow = Some(policy)
                        } else {
                            after.policy = policy
                        }
                        break;
                    }
                    Err(why) => {
                        let revision = put.what.revision.get(..12);
                        tracing::error!(%app, revision, shadow, why, "policy refused, the one in force stays");
                        after.refused.get_or_insert(why);
                    }
                }
            }
        }
        (after, unread)
    }

    /// The policy of a revision, or why it cannot be used. Loading a large one takes a while: not on a thread that
    /// callers wait for.
    async fn read(&self, revision: &str) -> Result<Result<Policy, String>, Unavailable> {
        let Some(bundle) = self.policies.bundle(revision).await? else {
            return Ok(Err("its text is not among the documents, or of a newer callbus".to_owned()));
        };
        let loaded = tokio::task::spawn_blocking(move || bundle.load()).await;
        Ok(match loaded {
            Ok(Ok(policy)) if policy.revision() != revision => Err("its document holds another policy".to_owned()),
            Ok(loaded) => loaded.map_err(|errors| errors.to_string()),
            Err(panicked) => Err(panicked.to_string()),
        })
    }
}

/// Nobody gets in, who is connected stays so: the rules that are built in.
fn built_in() -> Policy {
    #[expect(clippy::expect_used, reason = "a constant that a test loads")]
    Policy::load("version: 1\n", "built-in", &|_| Err("there are no files".to_owned())).expect("an empty policy loads")
}

fn read(slot: &RwLock<Arc<InForce>>) -> RwLockReadGuard<'_, Arc<InForce>> {
    slot.read().unwrap_or_else(PoisonError::into_inner)
}
