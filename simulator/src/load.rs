//! Load: many calls, each played to its end.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::platform::Platform;
use crate::report::CallReport;
use crate::script::CallScript;

/// Calls under way at most, whatever the pace: beyond it a slow system would only be asked to be slower.
const UNDER_WAY_MAX: usize = 10_000;

/// How calls follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So many callers, each of whom calls again as soon as the call is over: what a system can do.
    Callers(usize),
    /// So many calls begin in a second, whether or not earlier ones are over: what people do.
    PerSecond(NonZeroU32),
}

/// A call that was played under load.
#[derive(Debug)]
pub struct Played {
    pub report: CallReport,
    /// How much later than its pace it began. Whoever measures adds it to the first answer's time: a platform does not
    /// wait to be asked.
    pub late: Duration,
}

impl Platform {
    /// Plays calls like this one for so long, and hands each over when it is over.
    pub async fn load(&self, script: &CallScript, pace: Pace, lasts: Duration, mut over: impl FnMut(Played)) {
        let (done, mut played) = mpsc::channel(UNDER_WAY_MAX);
        let calling = async move {
            match pace {
                Pace::Callers(callers) => self.call_again_and_again(script, callers, lasts, &done).await,
                Pace::PerSecond(rate) => self.call_at_a_rate(script, rate, lasts, &done).await,
            }
        };
        let taking = async {
            while let Some(call) = played.recv().await {
                over(call);
            }
        };
        tokio::join!(calling, taking);
    }

    async fn call_again_and_again(
        &self,
        script: &CallScript,
        callers: usize,
        lasts: Duration,
        done: &mpsc::Sender<Played>,
    ) {
        let end = Instant::now() + lasts;
        let mut calling = JoinSet::new();
        for _ in 0..callers {
            let (platform, script, done) = (self.clone(), script.clone(), done.clone());
            calling.spawn(async move {
                while Instant::now() < end {
                    let report = platform.call(script.clone()).await;
                    if done.send(Played { report, late: Duration::ZERO }).await.is_err() {
                        return;
                    }
                }
            });
        }
        calling.join_all().await;
    }

    async fn call_at_a_rate(
        &self,
        script: &CallScript,
        rate: NonZeroU32,
        lasts: Duration,
        done: &mpsc::Sender<Played>,
    ) {
        let start = Instant::now();
        let mut calling = JoinSet::new();
        for number in 0_u32.. {
            let after = Duration::from_secs(u64::from(number)) / rate.get();
            if after >= lasts {
                break;
            }
            let due = start + after;
            sleep_until(due).await;
            while calling.len() >= UNDER_WAY_MAX {
                calling.join_next().await;
            }
            let (platform, script, done) = (self.clone(), script.clone(), done.clone());
            calling.spawn(async move {
                let late = due.elapsed();
                let report = platform.call(script).await;
                // Who asked may have gone; the call was played.
                let _ = done.send(Played { report, late }).await;
            });
            while calling.try_join_next().is_some() {}
        }
        calling.join_all().await;
    }
}
