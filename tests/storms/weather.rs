//! The weather: what becomes of every call that a role makes, and when roles and memories are lost. All by the seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::storm::{Fate, Moment};
use fastrand::Rng;
use tokio_util::sync::CancellationToken;

/// Faults told at the end of a storm that broke a law.
const TOLD_MAX: usize = 60;

/// How bad it is, in thousandths per call. Some seeds know one kind of fault only, some all at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Odds {
    crash: u32,
    lost: u32,
    late: u32,
    /// That the shared memory answers nothing, or a callback gets lost between the platform and us.
    pub(crate) memory_lost: u32,
    pub(crate) callback_lost: u32,
    /// The memory of decisions, and the holds that the log does not know yet, vanish at some time.
    pub(crate) forgets: bool,
    /// How far apart what happens besides calls may be, in milliseconds.
    pub(crate) changes_within: Option<u64>,
}

impl Odds {
    fn draw(rng: &mut Rng) -> Self {
        let mut up_to = |most: u32| if rng.u8(..3) == 0 { 0 } else { rng.u32(..=most) };
        let (crash, lost, late) = (up_to(12), up_to(40), up_to(120));
        let (memory_lost, callback_lost) = (up_to(40), up_to(150));
        Self { crash, lost, late, memory_lost, callback_lost, forgets: rng.u8(..4) == 0, changes_within: Some(60_000) }
    }
}

/// One life of a role, over at its crash.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) role: String,
    pub(crate) over: CancellationToken,
    /// There is none after it, so that nothing ends it.
    pub(crate) last: bool,
}

impl Life {
    pub(crate) fn of(role: impl Into<String>) -> Self {
        Self { role: role.into(), over: CancellationToken::new(), last: false }
    }
}

/// The one source of chance of a storm.
#[derive(Clone)]
pub(crate) struct Sky(Arc<Mutex<Weather>>);

struct Weather {
    rng: Rng,
    /// As it will be, and as it is.
    forecast: Odds,
    odds: Odds,
    /// Gates passed since the storm broke, and the one at which its caller's life ends.
    passed: u64,
    crash_at: Option<u64>,
    broke: bool,
    told: Vec<String>,
}

impl Sky {
    pub(crate) fn stormy(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let odds = Odds::draw(&mut rng);
        Self::new(rng, odds, None)
    }

    /// Fair, but for one crash at a gate.
    pub(crate) fn fair(crash_at: Option<u64>) -> Self {
        Self::new(Rng::with_seed(0), Odds::default(), crash_at)
    }

    fn new(rng: Rng, odds: Odds, crash_at: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(Weather {
            rng,
            forecast: odds,
            odds: Odds::default(),
            passed: 0,
            crash_at,
            broke: false,
            told: Vec::new(),
        })))
    }

    /// The storm begins.
    pub(crate) fn breaks(&self) {
        let mut weather = self.lock();
        (weather.broke, weather.odds) = (true, weather.forecast);
    }

    pub(crate) fn odds(&self) -> Odds {
        self.lock().odds
    }

    /// From here on nothing goes wrong.
    pub(crate) fn clears(&self) {
        let mut weather = self.lock();
        (weather.broke, weather.odds) = (false, Odds::default());
    }

    pub(crate) fn passed(&self) -> u64 {
        self.lock().passed
    }

    /// What has gone wrong lately.
    pub(crate) fn told(&self) -> String {
        self.lock().told.join("\n")
    }

    pub(crate) fn note(&self, what: String) {
        let told = &mut self.lock().told;
        if told.len() == TOLD_MAX {
            told.remove(0);
        }
        told.push(what);
    }

    /// A generator of its own for a part of the storm.
    pub(crate) fn fork(&self) -> Rng {
        self.lock().rng.fork()
    }

    pub(crate) fn chance(&self, thousandths: u32) -> bool {
        self.lock().rng.u32(..1000) < thousandths
    }

    pub(crate) fn millis(&self, up_to: u64) -> Duration {
        Duration::from_millis(self.lock().rng.u64(..=up_to))
    }

    /// What becomes of a call of this life.
    pub(crate) fn fate(&self, life: &Life, call: &'static str, moment: Moment) -> Fate {
        if life.over.is_cancelled() {
            return Fate::Crash;
        }
        let fate = match self.lock().draw(call) {
            Fate::Crash if life.last => Fate::Lost,
            fate => fate,
        };
        if fate != Fate::Pass {
            self.note(format!("{}: {call}, {moment:?}: {fate:?}", life.role));
        }
        if fate == Fate::Crash {
            life.over.cancel();
        }
        fate
    }

    fn lock(&self) -> MutexGuard<'_, Weather> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Weather {
    fn draw(&mut self, call: &'static str) -> Fate {
        if !self.broke {
            return Fate::Pass;
        }
        self.passed += 1;
        if self.crash_at == Some(self.passed) {
            return Fate::Crash;
        }
        let Odds { crash, lost, late, memory_lost, .. } = self.odds;
        // Reading is most of what is done, since everybody looks for news all the time.
        let (rarely, lost) = match call {
            "read" => (10, lost),
            "get" | "set" | "claim" | "delete" | "extend" => (1, memory_lost),
            _ => (1, lost),
        };
        if crash + lost + late == 0 {
            return Fate::Pass;
        }
        let drawn = self.rng.u32(..1000 * rarely);
        if drawn < crash {
            Fate::Crash
        } else if drawn < crash + lost {
            Fate::Lost
        } else if drawn < crash + lost + late {
            let most = [5, 50, 400, 3_000][self.rng.usize(..4)];
            Fate::Late(Duration::from_millis(self.rng.u64(..=most)))
        } else {
            Fate::Pass
        }
    }
}
