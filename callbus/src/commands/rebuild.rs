//! `callbus rebuild`: the tables once more, from the log.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::{Filter, Stream};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use views::Views;

use crate::config::Config;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::output::Output;
use crate::roles::{open_to_read, store};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Empties the tables and sees them filled. Who keeps them fills them; where nobody does, this process does.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn views(config: &Config, environment: &Environment, output: Output) -> Result<(), Failure> {
    let (bus, store) = (open_to_read(config, environment).await?, store(config)?);
    let streams = [Stream::Calls, Stream::Wallets];
    let mut ends = [0; 2];
    for (end, stream) in ends.iter_mut().zip(streams) {
        *end = bus.last_seq(&Filter::All(stream)).await?;
    }
    store.prepare().await?;
    store.clear().await?;
    let (stop, begun) = (CancellationToken::new(), Instant::now());
    let mut filling = JoinSet::new();
    filling.spawn(Views::new(store.clone(), bus).run(stop.clone()));
    let bar = bar(output, ends.iter().sum());
    loop {
        let mut done = 0;
        for (end, stream) in ends.iter().zip(streams) {
            done += store.seq(stream).await?.min(*end);
        }
        bar.set_position(done);
        if done == ends.iter().sum::<u64>() {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    stop.cancel();
    filling.join_all().await;
    bar.finish_and_clear();
    let (events, secs) = (ends.iter().sum::<u64>(), begun.elapsed().as_secs_f64());
    if output.json {
        output.json(&json!({ "events": events, "seconds": secs }));
    } else {
        output.line(format!("{events} events in {secs:.1} s"));
    }
    Ok(())
}

fn bar(output: Output, events: u64) -> ProgressBar {
    let shown = !output.json && stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} events, {per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(events), target);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
