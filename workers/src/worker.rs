//! The role: serves the asks of its apps until asked to stop.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use billing::Credit;
use bus::{Asked, Bus, Cache, Clock, ServeSpec, Unavailable};
use bytes::Bytes;
use outbound::Outbound;
use proto::{AppName, Kind, WalletId};
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::decide::Desk;
use crate::deck_log::DeckLogError;
use crate::handler::Handler;
use crate::reserve::Till;
use crate::{emit, status};

/// The queue group every worker joins.
const GROUP: &str = "workers";

/// One Sinch application, as a worker sees it.
#[derive(Debug, Clone)]
pub struct App {
    pub name: AppName,
    /// Who pays where the policy does not say.
    pub wallet: WalletId,
    /// Name of the price list its calls are rated by.
    pub deck: String,
    /// Decides in the place of the policy in force.
    pub handler: Option<Handler>,
}

/// What a worker is told at start.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How this worker signs its decisions.
    pub name: String,
    /// Asks worked on at the same time; one more is told *busy*, and goes to another worker.
    pub concurrency_max: usize,
    /// How long a decision is remembered: at least twice the age a callback may have.
    pub decision_memory: Duration,
    /// What policies read as `env`.
    pub env: BTreeMap<String, String>,
}

/// What a worker works with.
#[derive(Debug)]
pub struct Means {
    pub bus: Bus,
    pub credit: Credit,
    /// For rules that ask elsewhere.
    pub outbound: Outbound,
    /// Remembers decisions, and calls that have ended.
    pub cache: Cache,
    /// What policies keep of a call. In Redis both are one.
    pub call_memory: Cache,
    pub clock: Clock,
}

/// A worker cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("serve asks: {0}")]
    Serve(#[from] Unavailable),
    #[error("load price lists: {0}")]
    Decks(#[from] DeckLogError),
}

/// The role, ready to run.
#[derive(Debug)]
pub struct Worker {
    desk: Arc<Desk>,
}

impl Worker {
    /// Loads the policies in force and the price lists of the apps; what changes or is not there yet is looked for while
    /// the worker runs.
    ///
    /// # Errors
    /// When the log or the documents cannot be reached.
    pub async fn build(settings: WorkerSettings, apps: Vec<App>, means: Means) -> Result<Self, WorkerError> {
        let Means { bus, credit, outbound, cache, call_memory, clock } = means;
        let decks = apps.iter().map(|app| app.deck.clone());
        let till = Till::open(&bus, credit, cache.clone(), decks, clock.now()).await?;
        let control = Arc::new(Control::load(&bus, &clock, apps.iter().map(|app| app.name.clone())).await?);
        let apps: HashMap<AppName, App> = apps.into_iter().map(|app| (app.name.clone(), app)).collect();
        let desk = Desk { settings, apps, bus, till, outbound, cache, call_memory, clock, control };
        Ok(Self { desk: Arc::new(desk) })
    }

    /// Serves until asked to stop, then answers what it was asked.
    ///
    /// # Errors
    /// When the broker does not let it serve.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let spec = ServeSpec {
            name: "callbus-worker".to_owned(),
            group: GROUP.to_owned(),
            subjects: self.desk.apps.keys().map(|app| format!("ask.v1.*.{app}")).collect(),
            concurrency_max: self.desk.settings.concurrency_max,
        };
        let desk = Arc::clone(&self.desk);
        let serve = self.desk.bus.serve(
            spec,
            move |asked: Asked| {
                let desk = Arc::clone(&desk);
                async move { desk.answer(asked).await.unwrap_or_else(|| Bytes::from_static(b"")) }
            },
            stop.clone(),
        );
        let known = status::serve(
            &self.desk.bus,
            &self.desk.settings.name,
            Arc::clone(&self.desk.control),
            self.handlers(),
            stop.clone(),
        );
        let dice = emit::run(&self.desk, Kind::Dice, stop.clone());
        let notify = emit::run(&self.desk, Kind::Notify, stop.clone());
        let follow = async {
            tokio::join!(
                self.desk.till.follow_until(&self.desk.bus, &self.desk.clock, stop.clone()),
                self.desk.control.follow_until(stop.clone()),
            );
            Ok(())
        };
        tokio::try_join!(serve, known, dice, notify, follow)?;
        Ok(())
    }

    /// The apps whose calls a handler decides.
    fn handlers(&self) -> BTreeMap<AppName, String> {
        let named = |app: &App| Some((app.name.clone(), app.handler.as_ref()?.0.name()));
        self.desk.apps.values().filter_map(named).collect()
    }
}
