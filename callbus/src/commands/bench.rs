//! `callbus bench`: plays calls at a pace, with correct signatures, looks at every answer, and says how fast they came
//! and what they cost. With `--check` it looks for each kind of callback that was acknowledged in the log, and follows
//! every call to its bill.

#![expect(clippy::disallowed_types, clippy::float_arithmetic, reason = "rates and times, and no amount")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use proto::{CallId, Kind};
use serde_json::{Value, json};
use simulator::{CallReport, CallResult, Hangup, Outcome, Pace, Party, Platform, Played, What};
use tokio::time::{Instant, sleep};

use super::call::Call;
use super::sim;
use crate::cli::Bench;
use crate::client::{self, ApiClient};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::processes::{self, Cost};

/// A platform that waits longer for an answer has gone on without it.
const ANSWER_DUE: Duration = Duration::from_secs(5);
/// Latencies are told to three digits up to a minute; a longer one counts as a minute.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
/// Of what went wrong so many are named; all are counted.
const NAMED_MAX: usize = 10;
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// # Errors
/// When nobody takes the callbacks; exit 3 when an answer was wrong, or something acknowledged did not come to its end.
pub(crate) async fn run(asked: Bench, config: &Config, output: Output) -> Result<(), Failure> {
    let app = config.apps.first();
    let app = app.ok_or_else(|| Failure::say(Exit::NotFound, "there is no app in the configuration"))?;
    let url = asked.url.clone().unwrap_or_else(|| config.callback_url());
    client::look(&url).await?;
    let platform = sim::platform(app, &url, asked.fallback_url.clone())?;
    let mut script = sim::to(&asked.to);
    script.hangup = Hangup { after_secs: asked.hangup_after, by: Party::Caller };
    let pace = match asked.rate {
        Some(rate) => Pace::PerSecond(rate),
        None => Pace::Callers(asked.callers),
    };
    let before = processes::costs();
    let measured = measure(&platform, &script, pace, asked.lasts, output).await;
    let costs = spent(&before, processes::costs());
    let missing = match asked.check {
        Some(within) => Some(check(&ApiClient::new(config)?, &measured.calls, within).await?),
        None => None,
    };
    if output.json {
        output.json(&measured.json(&costs, missing.as_deref()));
    } else {
        measured.print(&costs, missing.as_deref(), output);
    }
    let wrong = measured.wrong.len() + missing.map_or(0, |missing| missing.len());
    if wrong > 0 { Err(Failure::say(Exit::CheckFailed, format!("{wrong} things went wrong"))) } else { Ok(()) }
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    took: Duration,
    calls: Vec<Acknowledged>,
    answers: BTreeMap<Kind, Histogram<u64>>,
    /// Callbacks nobody acknowledged: the platform tried its fallback URL, or gave up.
    refused: usize,
    late: usize,
    wrong: Vec<String>,
}

/// What of a call was acknowledged, and so must be in the log.
#[derive(Debug)]
struct Acknowledged {
    call: CallId,
    kinds: Vec<Kind>,
    /// How long it lasted, if it was answered and its end acknowledged.
    billed_secs: Option<u32>,
}

async fn measure(
    platform: &Platform,
    script: &simulator::CallScript,
    pace: Pace,
    lasts: Duration,
    output: Output,
) -> Measured {
    let mut measured = Measured {
        took: Duration::ZERO,
        calls: Vec::new(),
        answers: BTreeMap::new(),
        refused: 0,
        late: 0,
        wrong: Vec::new(),
    };
    let bar = if output.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let started = Instant::now();
    let over = |played: Played| {
        measured.add(played);
        bar.set_message(format!("{} calls in {:.0} s", measured.calls.len(), started.elapsed().as_secs_f64()));
        bar.tick();
    };
    platform.load(script, pace, lasts, over).await;
    measured.took = started.elapsed();
    bar.finish_and_clear();
    measured
}

impl Measured {
    fn add(&mut self, Played { report, late }: Played) {
        let mut waited = late;
        let mut kinds = Vec::new();
        for step in &report.steps {
            if let What::BadAnswer { why } = &step.what {
                self.wrong.push(format!("{}: {why}", report.call));
            }
            let What::Callback { kind, latency_micros, outcome, .. } = &step.what else { continue };
            if !matches!(outcome, Outcome::Replied { status: 200, .. }) {
                self.refused += 1;
                continue;
            }
            let took = Duration::from_micros(*latency_micros) + std::mem::take(&mut waited);
            self.late += usize::from(took > ANSWER_DUE);
            let micros = u64::try_from(took.as_micros()).unwrap_or(LATENCY_MICROS_MAX).clamp(1, LATENCY_MICROS_MAX);
            self.answers.entry(*kind).or_insert_with(histogram).saturating_record(micros);
            kinds.push(*kind);
        }
        let billed_secs = billed(&report).filter(|_| kinds.contains(&Kind::Dice));
        self.calls.push(Acknowledged { call: report.call, kinds, billed_secs });
    }

    fn callbacks(&self) -> u64 {
        self.answers.values().map(Histogram::len).sum()
    }

    fn per_second(&self) -> f64 {
        self.callbacks() as f64 / self.took.as_secs_f64()
    }

    fn json(&self, costs: &[Cost], missing: Option<&[String]>) -> Value {
        let answers: BTreeMap<&str, Value> =
            self.answers.iter().map(|(kind, all)| (kind.as_str(), quantiles(all))).collect();
        let processes: Vec<Value> = costs
            .iter()
            .map(|cost| {
                json!({ "name": cost.name, "cpu_micros_per_callback": self.micros_each(cost), "peak_bytes": cost.peak_bytes })
            })
            .collect();
        json!({
            "calls": self.calls.len(), "callbacks": self.callbacks(), "per_second": self.per_second(), "secs": self.took.as_secs_f64(),
            "answers_micros": answers, "late": self.late, "not_acknowledged": self.refused, "wrong": self.wrong,
            "processes": processes, "missing": missing,
        })
    }

    fn print(&self, costs: &[Cost], missing: Option<&[String]>, output: Output) {
        output.line(format!(
            "{} calls, {} callbacks in {:.1} s: {}",
            self.calls.len(),
            self.callbacks(),
            self.took.as_secs_f64(),
            output.toned(Tone::Strong, format!("{:.0} callbacks a second", self.per_second())),
        ));
        let ms = |micros: u64| format!("{:.2}", micros as f64 / 1_000.0);
        let row = |(kind, all): (&Kind, &Histogram<u64>)| {
            let at = |quantile| ms(all.value_at_quantile(quantile));
            [kind.to_string(), all.len().to_string(), at(0.5), at(0.9), at(0.99), at(0.999), ms(all.max())]
        };
        output.table(
            ["ANSWERS", "COUNT", "P50 MS", "P90", "P99", "P99.9", "MAX"],
            self.answers.iter().map(row).collect(),
        );
        if !costs.is_empty() {
            let row = |cost: &Cost| {
                let mib = format!("{:.0}", cost.peak_bytes as f64 / 1_048_576.0);
                [cost.name.clone(), format!("{:.1}", self.micros_each(cost)), mib]
            };
            output.table(["PROCESS", "CPU µS EACH CALLBACK", "PEAK MIB"], costs.iter().map(row).collect());
        }
        output.line(format!("late: {}, not acknowledged: {}, wrong: {}", self.late, self.refused, self.wrong.len()));
        for wrong in self.wrong.iter().take(NAMED_MAX) {
            output.line(format!("  {}", output.toned(Tone::Bad, wrong)));
        }
        if let Some(missing) = missing {
            output.line(format!("acknowledged, and not come to their end: {}", missing.len()));
            for missing in missing.iter().take(NAMED_MAX) {
                output.line(format!("  {}", output.toned(Tone::Bad, missing)));
            }
        }
    }

    fn micros_each(&self, cost: &Cost) -> f64 {
        cost.cpu_secs * 1e6 / self.callbacks().max(1) as f64
    }
}

fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constants that it takes")]
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("the bounds of latencies")
}

fn quantiles(all: &Histogram<u64>) -> Value {
    let at = |quantile| all.value_at_quantile(quantile);
    json!({ "count": all.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": all.max() })
}

fn billed(report: &CallReport) -> Option<u32> {
    if report.ending.result == CallResult::Answered { report.duration_secs } else { None }
}

/// What each process that ran from beginning to end spent, the dearest first.
fn spent(before: &BTreeMap<u32, Cost>, after: BTreeMap<u32, Cost>) -> Vec<Cost> {
    let spent = after.into_iter().filter_map(|(id, cost)| {
        let cpu_secs = cost.cpu_secs - before.get(&id)?.cpu_secs;
        Some(Cost { cpu_secs, ..cost })
    });
    let mut spent: Vec<Cost> = spent.filter(|cost| cost.cpu_secs > 0.0).collect();
    spent.sort_by(|a, b| b.cpu_secs.total_cmp(&a.cpu_secs));
    spent
}

/// Looks in the log for each kind of callback that was acknowledged, and for the bill of every call that was answered.
/// What is not there yet has `within` to come, all of it together.
async fn check(api: &ApiClient, calls: &[Acknowledged], within: Duration) -> Result<Vec<String>, Failure> {
    let give_up = Instant::now() + within;
    let mut missing = Vec::new();
    for acknowledged in calls {
        loop {
            match lacks(api, acknowledged).await? {
                None => break,
                Some(lack) if Instant::now() >= give_up => {
                    missing.push(format!("{}: {lack}", acknowledged.call));
                    break;
                }
                Some(_) => sleep(CHECK_EVERY).await,
            }
        }
    }
    Ok(missing)
}

/// What the log lacks of an acknowledged call, or bills in another way.
async fn lacks(api: &ApiClient, acknowledged: &Acknowledged) -> Result<Option<String>, Failure> {
    let Acknowledged { call, kinds, billed_secs } = acknowledged;
    let known = match Call::fetch(api, call.as_str(), false).await {
        Ok(known) => known,
        Err(failure) if failure.exit == Exit::NotFound && kinds.is_empty() => return Ok(None),
        Err(failure) if failure.exit == Exit::NotFound => return Ok(Some("it is not in the log".to_owned())),
        Err(failure) => return Err(failure),
    };
    let mut recorded: HashMap<Kind, usize> = HashMap::new();
    known.events.iter().for_each(|event| *recorded.entry(event.kind).or_default() += 1);
    for (kind, recorded_count) in kinds.iter().map(|kind| (kind, recorded.get(kind).copied().unwrap_or_default())) {
        let acknowledged = kinds.iter().filter(|other| *other == kind).count();
        if recorded_count < acknowledged {
            return Ok(Some(format!("{acknowledged} {kind} were acknowledged, {recorded_count} are in the log")));
        }
    }
    let Some(secs) = billed_secs else { return Ok(None) };
    let Some(cdr) = known.settled() else { return Ok(Some("it is not settled".to_owned())) };
    let charged: u32 = cdr.legs.iter().map(|leg| leg.billed_secs).sum();
    // An answer by fallback holds no credit, so there is nothing to charge.
    let is_right = cdr.legs.is_empty() || charged == *secs;
    Ok((!is_right).then(|| format!("{charged} s are billed, not {secs}")))
}
