//! The roles: what is opened for them, in which order they start, and in which they end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use api::{Api, ApiSettings, Metrics};
use billing::admission::{Admission, MemoryAdmission, RedisAdmission};
use billing::{Billing, Credit, Enquiries};
use bus::{Bus, Cache, Clock, SpoolConfig, Unavailable};
use delivery::{Caller, Dispatch, Telephone};
use futures::future::select_all;
use ingress::{Apps, Ingress};
use proto::{AppName, Filter, Stream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use views::{Store, Views};
use workers::{Handlers, Means, Till, Worker, WorkerSettings};

use crate::cli::Role;
use crate::client;
use crate::config::protection::Protection;
use crate::config::{self, Config};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::{broker, health, platform, policy_files};

/// What a stage has begun is finished within this; then the next one is asked all the same.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The cache answers within this or counts as lost: a caller waits on a phone.
const CACHE_WITHIN: Duration = Duration::from_millis(250);
/// Entries of the memory of one process: decisions and call memories.
const MEMORY_ENTRIES_MAX: usize = 100_000;
/// Events read back to fill the decision memory after a start.
const RECALL_EVENTS_MAX: u64 = 100_000;
/// A decision is remembered at least this long, and twice the age a callback may have.
const DECISION_MEMORY_MIN: Duration = Duration::from_secs(15 * 60);
/// The same where callbacks of any age are taken.
const DECISION_MEMORY_ANY_AGE: Duration = Duration::from_secs(24 * 3600);
const SERVE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Before all our keys in Redis.
const REDIS_PREFIX: &str = "callbus:";

/// A process that serves.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where callbacks are taken, if they are.
    pub callbacks: Option<SocketAddr>,
    /// Where the API is served, if it is.
    pub api: Option<SocketAddr>,
    /// Where it says what it counts, if it does.
    pub metrics: Option<SocketAddr>,
    bus: Bus,
    /// In the order they end: who takes work first, who finishes it last.
    stages: Vec<Stage>,
}

/// Parts that end together.
#[derive(Debug)]
struct Stage {
    name: &'static str,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// What the roles stand on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub bus: Bus,
    admission: Admission,
    /// Decisions, and calls that have ended.
    cache: Cache,
    /// What policies remember of a call.
    call_memory: Cache,
    clock: Clock,
}

/// Opens what the role needs and starts it.
///
/// # Errors
/// When the configuration is unsafe, or something cannot be opened or bound.
pub(crate) async fn start(
    role: Role,
    config: &Config,
    environment: &Environment,
    handlers: Handlers,
) -> anyhow::Result<Running> {
    config.refuse_unsafe(role)?;
    Ground::open(role, config, environment).await?.start(role, config, environment, handlers).await
}

impl Ground {
    /// The bus, the place where credit is held, and the memory.
    ///
    /// # Errors
    /// When one of them cannot be reached.
    pub(crate) async fn open(role: Role, config: &Config, environment: &Environment) -> anyhow::Result<Self> {
        let bus = open_bus(role, config, environment).await?;
        let clock = Clock::System;
        let (admission, cache, call_memory) = match (&config.admission, role) {
            // Views have to do with neither.
            (config::Admission::Memory, _) | (_, Role::Views) => {
                let [cache, call_memory] = [(); 2].map(|()| Cache::memory(MEMORY_ENTRIES_MAX, clock.clone()));
                (Admission::Memory(MemoryAdmission::default()), cache, call_memory)
            }
            (config::Admission::Redis { url }, _) => {
                let admission = RedisAdmission::connect(url, REDIS_PREFIX).await?;
                let cache = Cache::redis(url, CACHE_WITHIN).await?;
                (Admission::Redis(admission), cache.clone(), cache)
            }
        };
        Ok(Self { bus, admission, cache, call_memory, clock })
    }

    /// Starts the role: billing first and the door last, so that who is asked is there before somebody asks.
    ///
    /// # Errors
    /// When a part cannot begin. What has begun ends with this process.
    pub(crate) async fn start(
        self,
        role: Role,
        config: &Config,
        environment: &Environment,
        handlers: Handlers,
    ) -> anyhow::Result<Running> {
        let [mut doors, mut workers, mut books, mut post, mut tables, mut pulse] =
            ["door", "workers", "billing", "delivery", "views", "health"].map(Stage::new);
        // First, so that all that follows is counted.
        let mut metrics = None;
        if let Some(listen) = config.metrics {
            // An ingress may not read the log, not even where it ends.
            let known = match role {
                Role::Ingress => Vec::new(),
                Role::All | Role::Worker | Role::Billing | Role::Delivery | Role::Views | Role::Api => {
                    broker::consumers(config.billing_groups, config.delivery_groups)
                }
            };
            let counting = Metrics::build(listen, self.bus.clone(), known).await?;
            metrics = counting.address();
            pulse.run(move |stop| async move { Ok(counting.run(stop).await?) });
        }
        if role.does(Role::Billing) {
            self.start_billing(&mut books, config).await?;
        }
        if role.does(Role::Worker) {
            self.start_worker(&mut workers, config, environment, handlers).await?;
        }
        if role.does(Role::Delivery) {
            let dispatch = self.dispatch(role, config).await?;
            post.run(move |stop| async move { Ok(dispatch.run(stop).await?) });
        }
        let mut callbacks = None;
        if role.does(Role::Ingress) {
            callbacks = Some(self.start_ingress(&mut doors, config, environment).await?);
        }
        // Tables nobody shares are kept by who serves them.
        if role.does(Role::Views) || (role == Role::Api && config.views.is_none()) {
            let views = Views::new(store(config)?, self.bus.clone());
            tables.run(move |stop| async move {
                views.run(stop).await;
                Ok(())
            });
        }
        let mut api = None;
        if role.does(Role::Api) {
            api = Some(self.start_api(&mut doors, config).await?);
        }
        let (bus, host) = (self.bus.clone(), environment.host().to_owned());
        pulse.run(move |stop| again(stop.clone(), async move || health::serve(&bus, role, &host, stop.clone()).await));
        // An ingress takes callbacks without the broker too, so it does not wait for it.
        if role != Role::Ingress {
            health::reached(&self.bus, role, environment.host()).await?;
        }
        let stages =
            [doors, workers, books, post, tables, pulse].into_iter().filter(|stage| !stage.tasks.is_empty()).collect();
        Ok(Running { callbacks, api, metrics, bus: self.bus, stages })
    }

    async fn start_billing(&self, stage: &mut Stage, config: &Config) -> anyhow::Result<()> {
        let (bus, admission, cache, clock) =
            (self.bus.clone(), self.admission.clone(), self.cache.clone(), self.clock.clone());
        let mut billing = Billing::new(bus, admission, cache, clock).in_groups(config.billing_groups);
        if let Some(platform) = platform::open(config)? {
            billing = billing.asking(Enquiries::new(platform, platform::credentials(config)?));
        }
        stage.run(move |stop| async move { Ok(billing.run(stop).await?) });
        Ok(())
    }

    /// Calls are placed where the platform is named, and where credit can be held for them.
    async fn dispatch(&self, role: Role, config: &Config) -> anyhow::Result<Dispatch> {
        let dispatch = Dispatch::new(self.bus.clone(), platform::outbound(config)?, self.clock.clone());
        let dispatch = dispatch.in_groups(config.delivery_groups);
        let Some(platform) = platform::open(config)? else { return Ok(dispatch) };
        if role == Role::Delivery && config.admission == config::Admission::Memory {
            tracing::warn!("no calls are placed by this process: set [admission] kind = \"redis\", as for workers");
            return Ok(dispatch);
        }
        let credit = Credit::new(self.bus.clone(), self.admission.clone(), self.clock.clone());
        let decks = config.apps.iter().map(|app| app.deck.clone());
        let till = Till::open(&self.bus, credit, self.cache.clone(), decks, self.clock.now()).await;
        let deck =
            |name| config.apps.iter().find(|app| app.name == name).map(|app| app.deck.clone()).unwrap_or_default();
        let caller = |(name, (key, secret)): (AppName, _)| (name.clone(), Caller { key, secret, deck: deck(name) });
        Ok(dispatch.calling(Telephone {
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            platform,
            till: till.context("load the price lists")?,
            apps: platform::credentials(config)?.into_iter().map(caller).collect(),
        }))
    }

    async fn start_worker(
        &self,
        stage: &mut Stage,
        config: &Config,
        environment: &Environment,
        mut handlers: Handlers,
    ) -> anyhow::Result<()> {
        let decision_memory = decision_memory(config);
        if matches!(self.cache, Cache::Memory(_)) {
            let end = self.bus.last_seq(&Filter::All(Stream::Calls)).await?;
            let from = end.saturating_sub(RECALL_EVENTS_MAX);
            let recalled = workers::recall(&self.bus, &self.cache, from, decision_memory).await?;
            tracing::info!(recalled, "decisions remembered from the log");
        }
        policy_files::begin(config, &self.bus, &self.clock).await?;
        let app = |app: &config::App| workers::App {
            name: app.name.clone(),
            wallet: app.wallet.clone(),
            deck: app.deck.clone(),
            handler: handlers.take(&app.name),
        };
        let apps = config.apps.iter().map(app).collect();
        if let Some(app) = handlers.apps().next() {
            anyhow::bail!("the program has a handler for the app {app}, which {} does not have", config.file.display());
        }
        let settings = WorkerSettings {
            name: format!("worker-{}-{}", environment.host(), std::process::id()),
            concurrency_max: config.concurrency_max,
            decision_memory,
            env: environment.for_policies(),
        };
        let means = Means {
            bus: self.bus.clone(),
            credit: Credit::new(self.bus.clone(), self.admission.clone(), self.clock.clone()),
            outbound: platform::outbound(config)?,
            cache: self.cache.clone(),
            call_memory: self.call_memory.clone(),
            clock: self.clock.clone(),
        };
        let worker = Worker::build(settings, apps, means).await.context("start the worker")?;
        stage.run(move |stop| async move { Ok(worker.run(stop).await?) });
        if matches!(config.bus, config::Bus::Embedded) {
            let (config, bus, clock) = (config.clone(), self.bus.clone(), self.clock.clone());
            stage.run(move |stop| async move {
                policy_files::watch(config, bus, clock, stop).await;
                Ok(())
            });
        }
        Ok(())
    }

    async fn start_ingress(
        &self,
        stage: &mut Stage,
        config: &Config,
        environment: &Environment,
    ) -> anyhow::Result<SocketAddr> {
        let protection = Protection::of(environment)?;
        let verify = protection.verifies(environment);
        if !verify {
            tracing::warn!(
                "CALLBACKS ARE NOT VERIFIED ({protection:?}): anybody can place calls at your cost. \
                 Set WEBHOOK_PROTECTION=always"
            );
        }
        let settings = ingress::Settings {
            path: config.ingress.path.clone(),
            public_prefix: config.ingress.public_prefix.clone(),
            max_age: config.ingress.max_age,
            body_bytes_max: config.ingress.body_bytes_max,
            verify,
            ..ingress::Settings::new(config.ingress.listen)
        };
        let mut apps = Vec::new();
        for app in &config.apps {
            apps.push(ingress::App {
                name: app.name.clone(),
                key: app.key.clone(),
                secrets: app.secrets()?,
                fallback: app.fallback.clone(),
            });
        }
        let apps: Apps = apps.into_iter().collect();
        let ingress = Ingress::build(settings, apps, self.bus.clone(), self.clock.clone()).await?;
        let (address, rejections, bus) = (ingress.address(), ingress.rejections(), self.bus.clone());
        stage.run(move |stop| async move { Ok(ingress.run(stop).await?) });
        stage.run(move |stop| {
            again(stop.clone(), async move || api::rejected::serve(&bus, rejections.clone(), stop.clone()).await)
        });
        Ok(address)
    }

    async fn start_api(&self, stage: &mut Stage, config: &Config) -> anyhow::Result<SocketAddr> {
        let token = client::serving_token(config)?;
        let api = Api::build(
            ApiSettings {
                listen: config.api.listen,
                token,
                apps: config.apps.iter().map(|app| app.name.clone()).collect(),
                region: config.api.region.clone(),
                payers: config
                    .platform
                    .as_ref()
                    .map(|_| config.apps.iter().map(|app| (app.name.clone(), app.wallet.clone())).collect()),
            },
            self.bus.clone(),
            store(config)?,
            platform::outbound(config)?,
        )
        .await?;
        let address = api.address();
        stage.run(move |stop| async move { Ok(api.run(stop).await?) });
        Ok(address)
    }
}

impl Running {
    /// Waits until a part ends that was not asked to, and says which and why.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let ends = self.stages.iter_mut().map(|stage| {
            Box::pin(async move {
                match stage.tasks.join_next().await {
                    Some(Ok(Ok(()))) | None => anyhow::anyhow!("{} ended by itself", stage.name),
                    Some(Ok(Err(error))) => error.context(format!("{} failed", stage.name)),
                    Some(Err(error)) => anyhow::Error::new(error).context(format!("{} failed", stage.name)),
                }
            })
        });
        select_all(ends).await.0
    }

    /// Finishes what was begun, stage by stage, and hands over what can be handed over.
    pub(crate) async fn drain(self) {
        for mut stage in self.stages {
            stage.stop.cancel();
            let finished = async {
                while let Some(ended) = stage.tasks.join_next().await {
                    if let Ok(Err(error)) = ended {
                        tracing::warn!(stage = stage.name, %error, "did not end well");
                    }
                }
            };
            if timeout(DRAIN_MAX, finished).await.is_err() {
                tracing::warn!(stage = stage.name, within = ?DRAIN_MAX, "not finished in time, going on");
            }
        }
        self.bus.drain().await;
    }
}

impl Stage {
    fn new(name: &'static str) -> Self {
        Self { name, stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    fn run<F>(&mut self, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(part(self.stop.clone()));
    }
}

/// A part the process does without while the broker is away: an ingress takes callbacks all the same.
async fn again(stop: CancellationToken, serve: impl AsyncFn() -> Result<(), Unavailable>) -> anyhow::Result<()> {
    while let Err(error) = serve().await {
        tracing::debug!(%error, "not served, trying again");
        tokio::select! {
            () = sleep(SERVE_AGAIN_AFTER) => {}
            () = stop.cancelled() => break,
        }
    }
    Ok(())
}

/// Where the tables are.
///
/// # Errors
/// When the URL cannot be read.
pub(crate) fn store(config: &Config) -> anyhow::Result<Store> {
    match &config.views {
        None => Ok(Store::sqlite(&config.data_dir)),
        Some(url) => {
            let url = url.read().map_err(|(cause, todo)| anyhow::anyhow!("[views] url: {cause}; {todo}"))?;
            Store::postgres(&url).context("[views] url")
        }
    }
}

/// The log for a command that changes nothing: the file itself, or the broker.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn open_to_read(config: &Config, environment: &Environment) -> Result<Bus, Failure> {
    match &config.bus {
        config::Bus::Embedded => Bus::embedded_read_only(&config.data_dir)
            .context("is data_dir the right one, and did callbus ever run?")
            .map_err(Failure::from),
        config::Bus::Nats(nats) => {
            let connected = broker::connect(nats, broker::user(Role::Api), environment, None).await;
            connected.map_err(|error| Failure::new(Exit::Unreachable, error))
        }
    }
}

/// Whether admission knows no wallet; in the memory of a process it knows none once that has ended.
///
/// # Errors
/// When the server cannot be reached.
pub(crate) async fn admission_is_empty(config: &Config) -> anyhow::Result<bool> {
    match &config.admission {
        config::Admission::Memory => Ok(true),
        config::Admission::Redis { url } => Ok(RedisAdmission::connect(url, REDIS_PREFIX).await?.is_empty().await?),
    }
}

/// A connection to the log for a process of this role. Only those that take callbacks have a spool.
async fn open_bus(role: Role, config: &Config, environment: &Environment) -> anyhow::Result<Bus> {
    match &config.bus {
        config::Bus::Embedded => Ok(Bus::embedded(&config.data_dir)?),
        config::Bus::Nats(nats) => {
            let spool = role.does(Role::Ingress).then(|| SpoolConfig {
                durability: nats.durability,
                ..SpoolConfig::new(config.data_dir.join("spool"), nats.sync_interval)
            });
            broker::connect(nats, broker::user(role), environment, spool).await
        }
    }
}

fn decision_memory(config: &Config) -> Duration {
    match config.ingress.max_age {
        Some(age) => age.unsigned_abs().saturating_mul(2).max(DECISION_MEMORY_MIN),
        None => DECISION_MEMORY_ANY_AGE,
    }
}
