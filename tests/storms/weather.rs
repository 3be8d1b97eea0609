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
    /// A call to the shared memory gets no answer.
    pub(crate) memory_lost: u32,
    /// A callback, or its answer, gets lost between the platform and us.
    pub(crate) callback_lost: u32,
    /// The memory of decisions, and the holds that the log does not know yet, vanish at some time.
    pub(crate) forgets: bool,
    /// The log is not reached by an ingress for so long at a time, in milliseconds; what it records waits in its spool.
    pub(crate) away: u64,
    /// One billing begins while the one before it still works.
    pub(crate) overlaps: bool,
    /// The wallet's limit of calls at the same time.
    pub(crate) concurrent_max: Option<u32>,
    /// How far apart what happens besides calls may be, in milliseconds.
    pub(crate) changes_within: Option<u64>,
}

impl Odds {
    pub(crate) fn is_fair(&self) -> bool {
        self.crash + self.lost + self.late == 0
    }

    fn draw(rng: &mut Rng) -> Self {
        let mut up_to = |most: u32| if rng.u8(..3) == 0 { 0 } else { rng.u32(..=most) };
        let (crash, lost, late) = (up_to(12), up_to(40), up_to(120));
        let (memory_lost, callback_lost) = (up_to(40), up_to(150));
        let away = [0, 30, 3_000, 45_000][rng.usize(..4)];
        let (overlaps, forgets) = (rng.u8(..3) == 0, rng.u8(..4) == 0);
        let concurrent_max = (rng.u8(..4) == 0).then(|| rng.u32(1..4));
        let changes_within = Some(60_000);
        let lost = Self { crash, lost, late, memory_lost, callback_lost, ..Self::default() };
        Self { away, overlaps, forgets, concurrent_max, changes_within, ..lost }
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
    /// Gates passed since the storm broke, and what becomes of the call at one of them.
    passed: u64,
    fault: Option<(u64, Fate)>,
    broke: bool,
    told: Vec<String>,
}

impl Sky {
    pub(crate) fn stormy(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let odds = Odds::draw(&mut rng);
        Self::new(rng, odds, None)
    }

    /// Fair, but for one fault at a gate. Reading passes none.
    pub(crate) fn fair(gate: u64, fate: Fate) -> Self {
        Self::new(Rng::with_seed(0), Odds::default(), Some((gate, fate)))
    }

    fn new(rng: Rng, odds: Odds, fault: Option<(u64, Fate)>) -> Self {
        Self(Arc::new(Mutex::new(Weather {
            rng,
            forecast: odds,
            odds: Odds::default(),
            passed: 0,
            fault,
            broke: false,
            told: Vec::new(),
        })))
    }

    /// The storm begins.
    pub(crate) fn breaks(&self) {
        let mut weather = self.lock();
        (weather.broke, weather.odds) = (true, weather.forecast);
    }

    /// As it will be once the storm breaks.
    pub(crate) fn forecast(&self) -> Odds {
        self.lock().forecast
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

    /// How long a billing works before another takes its place.
    pub(crate) fn shift(&self) -> Duration {
        let overlaps = self.odds().overlaps;
        if overlaps { Duration::from_secs(3) + self.millis(40_000) } else { Duration::from_hours(24) }
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
            fate @ (Fate::Pass | Fate::Late(_) | Fate::Lost | Fate::Crash) => fate,
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
        // Everybody looks for news all the time; what is read for a call is read again where it fails.
        if self.fault.is_some() && call == "read" {
            return Fate::Pass;
        }
        self.passed += 1;
        if let Some((_, fate)) = self.fault.filter(|(gate, _)| *gate == self.passed) {
            return fate;
        }
        let Odds { crash, lost, late, memory_lost, .. } = self.odds;
        // Reading is most of what is done, since everybody looks for news all the time.
        let (rarely, lost) = match call {
            "read" => (10, lost),
            "get" | "set" | "claim" | "delete" | "extend" => (1, memory_lost),
            _ => (1, lost),
        };
        if self.odds.is_fair() && memory_lost == 0 {
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
