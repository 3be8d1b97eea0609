//! How many recorded events a second `callbus rebuild views` takes into the tables.
//! `cargo bench -p tests --bench views`.
//!
//! Wanted: 20,000 a second into PostgreSQL, all on one machine.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has failed; it prints"
)]

use std::process::Command;

use bus::Bus;
use tests::history;
use tests::postgres::Postgres;
use tests::role::binary;

const CALLS: usize = 30_000;
const AT_ONCE: usize = 500;
const CONFIG: &str = "data_dir = \"data\"\n";

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    std::fs::create_dir_all(&data).expect("directory");
    let log = Bus::embedded(&data).expect("log");
    for calls in (0..CALLS).collect::<Vec<_>>().chunks(AT_ONCE) {
        let events = calls.iter().flat_map(|number| history::call(*number)).collect();
        log.record(events).await.expect("recorded");
    }
    drop(log);
    let postgres = Postgres::start().expect("PostgreSQL");
    for (engine, url) in [("SQLite", String::new()), ("PostgreSQL", postgres.url())] {
        let config = if url.is_empty() { CONFIG.to_owned() } else { format!("{CONFIG}[views]\nurl = \"{url}\"\n") };
        std::fs::write(directory.path().join("callbus.toml"), config).expect("configuration");
        // The first time the tables are empty, the second time they are emptied.
        for _ in 0..2 {
            let mut rebuild = Command::new(binary().expect("callbus"));
            rebuild.current_dir(directory.path()).args(["--json", "rebuild", "views"]);
            let output = rebuild.output().expect("callbus: build it with --release");
            let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let (events, millis) =
                (told["events"].as_u64().unwrap_or_default(), told["millis"].as_u64().unwrap_or(1).max(1));
            println!("{engine}: {events} events in {millis} ms: {} a second", events * 1_000 / millis);
        }
    }
}
