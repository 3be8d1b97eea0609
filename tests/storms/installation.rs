//! Two ingresses, two workers and billing on one storm. Who crashes begins again, with nothing but what the disk has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use billing::admission::{Admission, MemoryAdmission};
use billing::order::{Order, Ordered, order};
use billing::{Billing, Credit};
use bus::storm::{Gate, Moment, Spool, Storm};
use bus::{Bus, Cache, Clock};
use ingress::{Reception, Settings};
use jiff::{SignedDuration, Timestamp};
use money::posting::{Change, TopUp};
use money::{Deck, Edit, LimitsEdit, Micros, PostingId};
use outbound::{Outbound, OutboundSettings};
use policy::Bundle;
use proto::signature::AppSecret;
use proto::{AppName, DeckName, PolicyOrigin, PolicyPutInForce, WalletId};
use tests::world::{APP_KEY, APP_SECRET};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use workers::policies::Policies;
use workers::{Means, Worker, WorkerSettings};

use crate::law::Law;
use crate::weather::{Life, Sky};

pub(crate) const START: &str = "2026-03-01T12:00:00Z";
pub(crate) const APP: &str = "acme";
/// Two hundredths a second, by the second, and one for the connection.
const DECK: &str =
    "prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency\n46,Sweden,0.01,1.2,60,1/1,up4,EUR\n";
const POLICY: &str = r#"
version: 1
menus: { main: { prompt: "Press 1.", keys: { "1": sales } } }
ice:
  - { name: barred, when: "prefix(call.to.endpoint, '+4699')", deny: BARRED }
  - { name: welcome, when: "prefix(call.to.endpoint, '+4688')", reply: { menu: main } }
  - { name: paid, reserve: true, reply: { connect_pstn: "${call.to.endpoint}", max_duration: 100 } }
ace:
  - { name: on, reply: { continue: true } }
pie:
  - { name: sales, reserve: true, reply: { connect_pstn: "+46701234567", max_duration: 60 } }
"#;
/// Lives of workers are built before anything runs: loading a price list takes another thread, and a seed must be a
/// history.
const WORKER_LIVES: usize = 5;
const INGRESSES: usize = 2;
const WORKERS: usize = 2;

/// Where callbacks are taken, while its ingress lives.
type Door = Arc<Mutex<Option<(Arc<Reception>, Life)>>>;

pub(crate) struct Installation {
    pub(crate) sky: Sky,
    pub(crate) law: Arc<Law>,
    pub(crate) doors: Vec<Door>,
    /// By which the platform lives, and the laws are judged.
    pub(crate) clock: Clock,
    ground: Ground,
    roles: JoinSet<()>,
}

/// What outlives every role.
#[derive(Clone)]
struct Ground {
    storm: Storm,
    admission: MemoryAdmission,
    sky: Sky,
    law: Arc<Law>,
}

/// What a life stands on.
struct Reach {
    bus: Bus,
    cache: Cache,
    admission: Admission,
    clock: Clock,
}

impl Ground {
    fn gate(&self, life: &Life) -> Gate {
        let (sky, law, life) = (self.sky.clone(), Arc::clone(&self.law), life.clone());
        Gate::new(move |call, moment| {
            let changes = matches!(call, "append" | "hold" | "free" | "apply" | "load");
            if moment == Moment::After && changes {
                law.check(call);
            }
            sky.fate(&life, call, moment)
        })
    }

    fn reach(&self, life: &Life, clock: &Clock) -> Reach {
        let gate = self.gate(life);
        Reach {
            bus: self.storm.bus(&gate, clock.clone()),
            cache: self.storm.cache(&gate),
            admission: Admission::Storm(self.admission.clone(), gate),
            clock: clock.clone(),
        }
    }
}

impl Installation {
    pub(crate) async fn begin(sky: Sky) -> Result<Self> {
        let start: Timestamp = START.parse()?;
        let clock = Clock::tokio(start);
        let storm = Storm::new(clock.clone())?;
        let admission = MemoryAdmission::default();
        let open = storm.bus(&Gate::open(), clock.clone());
        stock(&open, &clock).await?;
        let spools: Vec<Spool> = (0..INGRESSES).map(|_| Spool::default()).collect();
        let law = Arc::new(Law::new(open, Admission::Memory(admission.clone()), spools.clone()));
        let ground = Ground { storm, admission, sky: sky.clone(), law: Arc::clone(&law) };
        // No two machines show the same time.
        let skewed = |sky: &Sky| {
            let skew = i64::try_from(sky.millis(2_000).as_millis()).unwrap_or_default();
            Clock::tokio(start + SignedDuration::from_millis(skew - 1_000))
        };
        // Under a fair sky one fault is all there is.
        let lives_max = if sky.forecast().is_fair() { 2 } else { WORKER_LIVES };
        let mut staff = Vec::new();
        for number in 0..WORKERS {
            let clock = skewed(&sky);
            let mut lives = Vec::new();
            for nth in 1..=lives_max {
                let life = Life { last: nth == lives_max, ..Life::of(format!("worker-{number}")) };
                lives.push((life.clone(), worker(&ground, life, &clock).await?));
            }
            staff.push(lives);
        }
        let doors: Vec<Door> = (0..INGRESSES).map(|_| Door::default()).collect();
        let mut roles = JoinSet::new();
        for (number, (door, spool)) in doors.iter().zip(spools).enumerate() {
            roles.spawn(forward(ground.clone(), spool.clone()));
            roles.spawn(keep_ingress(ground.clone(), skewed(&sky), number, Arc::clone(door), spool));
        }
        for lives in staff {
            roles.spawn(keep_worker(ground.clone(), lives));
        }
        roles.spawn(keep_billing(ground.clone(), skewed(&sky)));
        let installation = Self { sky, law, doors, clock, ground, roles };
        installation.top_up("first", 6).await?;
        if let Some(max) = installation.sky.forecast().concurrent_max {
            let limits = LimitsEdit { concurrent_max: Edit::Set(max), ..LimitsEdit::default() };
            let change = Change { limits: Some(limits), by: "storm".to_owned(), ..Change::default() };
            installation.order(Ordered::Change { currency: None, change }).await?;
        }
        Ok(installation)
    }

    /// Money comes in.
    pub(crate) async fn top_up(&self, id: &str, euros: i64) -> Result<()> {
        let top_up = TopUp {
            id: PostingId::new(id)?,
            amount: Micros::new(euros * 1_000_000)?,
            grant: None,
            note: String::new(),
            by: "storm".to_owned(),
        };
        self.order(Ordered::TopUp { currency: "EUR".parse()?, top_up }).await
    }

    /// What billing is to post, asked for until it says that it is there.
    async fn order(&self, what: Ordered) -> Result<()> {
        let order_it = Order { wallet: WalletId::new(APP)?, what };
        let bus = self.ground.storm.bus(&Gate::open(), self.clock.clone());
        let asked = async {
            while order(&bus, &order_it).await.is_err() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(Duration::from_secs(600), asked).await.context("billing never took an order")
    }

    /// What Redis knew is gone: decisions, calls that ended, holds.
    pub(crate) fn forget(&self) {
        self.law.memory_is_lost();
        self.ground.storm.forget();
        self.ground.admission.forget();
    }

    /// The sky clears, and enough time passes for everything that is due to be done.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.sky.clears();
        for (steps, secs) in [(40, 15), (8, 2_700)] {
            for _ in 0..steps {
                tokio::time::advance(Duration::from_secs(secs)).await;
                // Whatever became due is done.
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    pub(crate) async fn end(mut self) {
        self.roles.shutdown().await;
    }
}

async fn stock(bus: &Bus, clock: &Clock) -> Result<()> {
    let name = DeckName::new("standard")?;
    let deck = Deck::from_csv("standard", DECK.as_bytes()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    workers::deck_log::import(bus, &name, &deck, None, clock.now()).await?;
    let (bundle, policy) = Bundle::read(POLICY, "policy.yaml", &|_| Err("there are no files".to_owned()))
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let put = PolicyPutInForce {
        revision: policy.revision().to_owned(),
        file: "policy.yaml".to_owned(),
        shadow: false,
        origin: PolicyOrigin::File,
        note: String::new(),
    };
    Policies::new(bus.clone(), clock.clone()).put_in_force(&AppName::new(APP)?, &bundle, put).await?;
    Ok(())
}

/// What an ingress has recorded gets into the log in its order, now and then late.
async fn forward(ground: Ground, spool: Spool) {
    loop {
        sleep(Duration::from_millis(25) + ground.sky.millis(ground.sky.odds().away)).await;
        while matches!(ground.storm.forward(&spool), Ok(true)) {
            ground.law.check("forward");
        }
    }
}

async fn keep_ingress(ground: Ground, clock: Clock, number: usize, door: Door, spool: Spool) {
    loop {
        let life = Life::of(format!("ingress-{number}"));
        let bus = ground.storm.bus_with(&ground.gate(&life), clock.clone(), Some(&spool));
        let apps = AppName::new(APP).ok().zip(APP_KEY.parse().ok()).zip(AppSecret::from_base64(APP_SECRET).ok());
        let apps = apps.map(|((name, key), secret)| ingress::App {
            name,
            key,
            secrets: vec![secret],
            fallback: ingress::Fallback::default(),
        });
        let settings = Settings::new(([127, 0, 0, 1], 0).into());
        let reception = Reception::new(settings, apps.into_iter().collect(), bus, clock.clone());
        *lock(&door) = Some((Arc::new(reception), life.clone()));
        life.over.cancelled().await;
        *lock(&door) = None;
        sleep(ground.sky.millis(3_000)).await;
    }
}

async fn worker(ground: &Ground, life: Life, clock: &Clock) -> Result<Worker> {
    let Reach { bus, cache, admission, clock } = ground.reach(&life, clock);
    let settings = WorkerSettings {
        name: life.role.clone(),
        concurrency_max: 8,
        decision_memory: Duration::from_secs(15 * 60),
        env: BTreeMap::new(),
    };
    let (name, wallet) = (AppName::new(APP)?, WalletId::new(APP)?);
    let apps = vec![workers::App { name, wallet, deck: "standard".to_owned(), handler: None }];
    let credit = Credit::new(bus.clone(), admission, clock.clone());
    let means = Means { bus, credit, outbound: nowhere()?, call_memory: cache.clone(), cache, clock };
    Ok(Worker::build(settings, apps, means).await?)
}

/// No rule of the storm's policy asks elsewhere.
fn nowhere() -> Result<Outbound> {
    static NOWHERE: OnceLock<Outbound> = OnceLock::new();
    if let Some(outbound) = NOWHERE.get() {
        return Ok(outbound.clone());
    }
    let outbound =
        Outbound::new(OutboundSettings { allow: Vec::new(), plain_http: false, user_agent: "storm".to_owned() })?;
    Ok(NOWHERE.get_or_init(|| outbound).clone())
}

async fn keep_worker(ground: Ground, lives: Vec<(Life, Worker)>) {
    for (life, worker) in lives {
        live(&life, Box::pin(worker.run(CancellationToken::new()))).await;
        sleep(ground.sky.millis(3_000)).await;
    }
}

async fn keep_billing(ground: Ground, clock: Clock) {
    let mut going = JoinSet::new();
    loop {
        let life = Life::of("billing");
        let Reach { bus, cache, admission, clock } = ground.reach(&life, &clock);
        let mut working = Box::pin(async move {
            live(&life, Box::pin(Billing::new(bus, admission, cache, clock).run(CancellationToken::new()))).await;
        });
        if timeout(ground.sky.shift(), &mut working).await.is_ok() {
            sleep(ground.sky.millis(10_000)).await;
            continue;
        }
        // The next begins, and this one does not know it yet.
        let left = ground.sky.millis(8_000);
        going.spawn(async move { timeout(left, working).await });
    }
}

/// Until it is over; a role that ends by itself is begun again as well.
async fn live<T>(life: &Life, role: impl Future<Output = T>) {
    tokio::select! {
        biased;
        () = life.over.cancelled() => {}
        _ = role => {}
    }
    life.over.cancel();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
