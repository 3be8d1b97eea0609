//! What the program says of itself while it runs, on stderr: for people on a terminal, as JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::environment::Environment;

/// Ours in full, others only when something is wrong.
pub(crate) const SERVING: &str =
    "warn,callbus=info,api=info,billing=info,bus=info,ingress=info,policy=info,simulator=info,workers=info";

/// For commands that print what they do themselves.
pub(crate) const QUIET: &str = "error";

/// Begins to log; `RUST_LOG` wins over `level`, and `CALLBUS_LOG_FORMAT=json` gives one object a line.
///
/// # Errors
/// When `RUST_LOG` or the format cannot be understood.
pub(crate) fn start(environment: &Environment, level: &str) -> anyhow::Result<()> {
    let level = environment.get("RUST_LOG").unwrap_or(level);
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("RUST_LOG={level}: {error}; write a level, or target=level,…"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = match environment.get("CALLBUS_LOG_FORMAT") {
        Some("json") => log.json().try_init(),
        Some("text") | None => {
            let colour = stderr().is_terminal() && environment.get("NO_COLOR").is_none();
            log.with_ansi(colour).with_target(false).try_init()
        }
        Some(other) => anyhow::bail!("CALLBUS_LOG_FORMAT={other}: write json or text"),
    };
    started.map_err(|error| anyhow::anyhow!("begin to log: {error}"))
}
