//! What the processes of an installation cost on this machine, as the system counts it. Empty where it does not say.

#![expect(clippy::disallowed_types, clippy::float_arithmetic, reason = "processor times, and no amount")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The programs that make up an installation.
const PROGRAMS: [&str; 5] = ["callbus", "nats-server", "redis-server", "valkey-server", "postgres"];
/// Linux tells CPU times in hundredths of a second, whatever its own clock ticks in.
const TICKS_PER_SEC: f64 = 100.0;

/// One process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cost {
    /// The program, with its role or its process id.
    pub name: String,
    pub cpu_secs: f64,
    /// The most memory it ever had.
    pub peak_bytes: u64,
}

/// All that run now, but for this one, by process id.
pub(crate) fn costs() -> BTreeMap<u32, Cost> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| *id != std::process::id()).filter_map(|id| Some((id, cost(id)?))).collect()
}

fn cost(id: u32) -> Option<Cost> {
    let folder = Path::new("/proc").join(id.to_string());
    let command = fs::read_to_string(folder.join("cmdline")).ok()?;
    let mut words = command.split('\0').filter(|word| !word.is_empty());
    let program = Path::new(words.next()?).file_name()?.to_str()?.to_owned();
    if !PROGRAMS.contains(&program.as_str()) {
        return None;
    }
    let role = words.next_back().filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    // Without a role there may be several that look alike.
    let name = role.map_or_else(|| format!("{program} (process {id})"), |role| format!("{program} {role}"));
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name before this bracket may hold blanks; user and system time are the 12th and 13th words after it.
    let times = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    let ticks = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak_kib: u64 = peak.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Cost { name, cpu_secs: ticks / TICKS_PER_SEC, peak_bytes: peak_kib * 1024 })
}
