//! Storms: callbacks get lost, come twice, late and out of order; every call to the log, the cache and admission may be
//! late, fail before or after it was done, or be the last one its caller makes; memories vanish. After every change all
//! of `law.rs` must hold.
//!
//! The real ingress, workers and billing run here in one thread on a paused clock, so that a seed is a history:
//! `STORM_SEED=123 cargo nextest run --workspace -E 'test(=storms)'` plays one again; `STORM_SEEDS=1000` plays so many.

mod installation;
mod law;
mod platform;
mod weather;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bus::storm::Fate;
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::installation::Installation;
use crate::platform::{Platform, Script};
use crate::weather::Sky;

/// All roles are one future here, which is large where nothing is optimised.
const STACK_BYTES: usize = 16 << 20;

/// Storms of a usual run; `tests/run --long` plays a thousand.
const SEEDS: u64 = 100;

/// One storm from its beginning to when nothing more is due; answers what the log came to.
fn weather(sky: &Sky, scripts: Vec<Script>) -> Result<String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let installation = Arc::new(Installation::begin(sky.clone()).await?);
        let law = Arc::clone(&installation.law);
        let broken = law.broken.clone();
        let played = tokio::select! {
            biased;
            () = broken.cancelled() => Ok(()),
            played = play(Arc::clone(&installation), scripts) => played,
        };
        let fault = law.verdict().map_or(played, |why| Err(anyhow!(why)));
        let history = law.history();
        if let Some(installation) = Arc::into_inner(installation) {
            installation.end().await;
        }
        fault.map(|()| history).map_err(|error| anyhow!("{error:#}\nwhat went wrong before:\n{}", sky.told()))
    })
}

async fn play(installation: Arc<Installation>, scripts: Vec<Script>) -> Result<()> {
    let sky = installation.sky.clone();
    sky.breaks();
    let platform = Arc::new(Platform::new(Arc::clone(&installation))?);
    tokio::try_join!(platform.play(scripts), change(&installation))?;
    installation.settle().await?;
    installation.law.settled().await.map_err(|why| anyhow!("at the end: {why}"))
}

/// What happens besides calls: money comes in, and with some luck memories vanish.
async fn change(installation: &Installation) -> Result<()> {
    let sky = &installation.sky;
    for id in ["second", "third"] {
        let Some(pause) = sky.odds().changes_within else { return Ok(()) };
        sleep(sky.millis(pause)).await;
        if sky.odds().forgets {
            sky.note("what Redis knew is lost".to_owned());
            installation.forget();
        }
        installation.top_up(id, 4).await?;
    }
    Ok(())
}

fn storm(seed: u64) -> Result<String> {
    // What roles draw by lot is of this thread.
    fastrand::seed(seed);
    let sky = Sky::stormy(seed);
    let mut rng = sky.fork();
    let scripts = (0..rng.usize(4..14)).map(|_| Script::draw(&mut rng)).collect();
    let again = format!("STORM_SEED={seed} cargo nextest run --workspace -E 'test(=storms)'");
    weather(&sky, scripts).map_err(|error| error.context(format!("storm {seed}; again with: {again}")))
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "how a person asks a test for one storm, or for many")]
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `each` for every number, on all processors; the first error ends it.
fn on_all_processors(numbers: std::ops::Range<u64>, each: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicU64::new(numbers.start);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            each(number).inspect_err(|_| next.store(numbers.end, Ordering::Relaxed))?;
        }
    };
    thread::scope(|scope| {
        let hands = thread::available_parallelism().map_or(1, usize::from);
        let hand = || thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let working = (0..hands).map(|_| hand()).collect::<Result<Vec<_>, _>>()?;
        working.into_iter().try_for_each(|hand| hand.join().map_err(|_| anyhow!("a storm panicked"))?)
    })
}

#[test]
fn storms() -> Result<()> {
    let seeds = match number("STORM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORM_SEEDS").unwrap_or(SEEDS),
    };
    on_all_processors(seeds, |seed| storm(seed).map(drop))
}

#[test]
fn a_seed_is_a_history() -> Result<()> {
    on_all_processors(0..4, |seed| {
        assert_eq!(storm(seed)?, storm(seed)?, "storm {seed}");
        Ok(())
    })
}

/// A granted call, one that leads through a menu, one that is refused, and a callback that comes twice.
fn short() -> Vec<Script> {
    let twice = Some(Duration::from_millis(200));
    vec![
        Script { ice_again: twice, dice_again: twice, ..Script::plain("+46701234567", 0) },
        Script::plain("+46880000001", 1),
        Script::plain("+46990000001", 2),
    ]
}

/// A crash, and an error, before and after everything that is done about a few calls.
#[test]
fn a_fault_at_every_call() -> Result<()> {
    const FAULTS: [Fate; 2] = [Fate::Crash, Fate::Lost];
    let gates = AtomicU64::new(0);
    on_all_processors(0..1, |_| {
        let fair = Sky::fair(0, Fate::Pass);
        weather(&fair, short())?;
        gates.store(fair.passed(), Ordering::Relaxed);
        Ok(())
    })?;
    let met = gates.load(Ordering::Relaxed);
    anyhow::ensure!(met > 50, "a few calls pass more than {met} gates: the faults strike nothing");
    let faults = match number("STORM_FAULT") {
        Some(fault) => fault..fault + 1,
        None => 0..gates.load(Ordering::Relaxed) * FAULTS.len() as u64,
    };
    on_all_processors(faults, |fault| {
        let (gate, fate) = (fault / 2 + 1, FAULTS[(fault % 2) as usize]);
        let again = format!("STORM_FAULT={fault} cargo nextest run --workspace -E 'test(=a_fault_at_every_call)'");
        let struck = weather(&Sky::fair(gate, fate), short()).map(drop);
        struck.map_err(|error| error.context(format!("{fate:?} at gate {gate}; again with: {again}")))
    })
}
