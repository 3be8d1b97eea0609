//! `callbus backup` and `callbus restore`: a copy of the log, an empty installation that goes on from it, and the drill
//! that tries a copy before it is needed.

use std::collections::BTreeSet;
use std::path::Path;

use bus::{Backup, BackupError, Bus, Clock, Compared, ConsumerSpec, Manifest};
use money::Wallet;
use proto::{Filter, Stream, Subject, WalletId};
use serde::Serialize;
use tempfile::TempDir;
use views::Store;

use super::lost_secrets::{self, Lost};
use super::{rebuild, verify};
use crate::broker;
use crate::config::{self, Config};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::roles;

/// Copies what is new.
///
/// # Errors
/// With the exit code of what went wrong; the backup that was there is as it was.
pub(crate) async fn take(
    config: &Config,
    environment: &Environment,
    output: Output,
    directory: &Path,
) -> Result<(), Failure> {
    let bus = open_to_copy(config, environment).await?;
    let (before, mut new) = (Backup::open(directory).ok(), 0);
    for stream in Stream::ALL {
        let there = before.as_ref().map_or(0, |before| before.manifest.extent(stream).last_seq);
        new += bus.last_seq(&Filter::All(stream)).await?.saturating_sub(there);
    }
    drop(before);
    let bar = output.bar(new, "events copied");
    let manifest = Backup::take(&bus, directory, Clock::System.now(), billing::made_from_log, |events| bar.inc(events))
        .await
        .map_err(failure)?;
    bar.finish_and_clear();
    if output.json {
        output.json(&manifest);
    } else {
        let extents = Stream::ALL.map(|stream| {
            let extent = manifest.extent(stream);
            [stream.name().to_owned(), extent.events.to_string(), extent.last_seq.to_string()]
        });
        output.table(["STREAM", "EVENTS", "LAST SEQUENCE"], extents.into());
        output.line(format!(
            "{} documents; {} is a backup as of {}",
            manifest.documents.len(),
            directory.display(),
            manifest.taken_at
        ));
    }
    Ok(())
}

/// Puts a backup into an empty installation.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn restore(
    config: &Config,
    environment: &Environment,
    output: Output,
    directory: &Path,
) -> Result<(), Failure> {
    let backup = Backup::open(directory).map_err(failure)?;
    if !roles::admission_is_empty(config).await.map_err(|error| Failure::new(Exit::Unreachable, error))? {
        return Err(Failure::say(
            Exit::Failed,
            "restore: Redis knows wallets of the log that was; stop all roles and empty it (FLUSHDB)",
        ));
    }
    let to = match &config.bus {
        config::Bus::Embedded => Bus::embedded(&config.data_dir)?,
        config::Bus::Nats(nats) => {
            let connected = broker::connect_to_restore(nats, environment).await;
            connected.map_err(|error| Failure::new(Exit::Unreachable, error))?
        }
    };
    put_back(&backup, &to, &all_consumers(), output).await?;
    to.drain().await;
    let lost = lost_secrets::of_backup(directory).await?;
    if output.json {
        output.json(&Restored { manifest: &backup.manifest, secrets_missing: lost });
        return Ok(());
    }
    output.line(format!("{} events restored, as of {}", backup.manifest.events(), backup.manifest.taken_at));
    output.line("when all runs again: callbus rebuild views, callbus log verify, callbus wallet verify --all");
    lost_secrets::print(output, lost);
    Ok(())
}

/// What was restored, and what could not be.
#[derive(Debug, Serialize)]
struct Restored<'a> {
    manifest: &'a Manifest,
    secrets_missing: Vec<Lost>,
}

async fn put_back(backup: &Backup, to: &Bus, consumers: &[ConsumerSpec], output: Output) -> Result<(), Failure> {
    let bar = output.bar(backup.manifest.events(), "events restored");
    let restored = backup.restore(to, consumers, workers::document_of, |events| bar.inc(events)).await;
    bar.finish_and_clear();
    restored.map_err(failure)
}

/// What a drill has found.
#[derive(Debug, Serialize)]
struct Drilled {
    /// What came later is not in the backup.
    taken_at: jiff::Timestamp,
    /// Event by event, as far as the backup goes.
    streams: Vec<Compared>,
    /// Of all callbacks in the backup.
    signatures: verify::Tally,
    /// Wallets that have a history in the backup.
    wallets: usize,
    /// Of these, the ones whose history and balance are what they are now.
    wallets_same: usize,
    /// Of these, the ones that have had postings since.
    wallets_moved_on: usize,
    /// Events the tables were made from.
    tables: u64,
    /// Sentences; none when the backup is what runs.
    differences: Vec<String>,
}

/// Restores a backup beside everything, and compares it with what runs.
///
/// # Errors
/// Exit 3 when they differ, or the backup cannot be restored.
pub(crate) async fn drill(
    config: &Config,
    environment: &Environment,
    output: Output,
    directory: &Path,
) -> Result<(), Failure> {
    let backup = Backup::open(directory).map_err(failure)?;
    let live = open_to_copy(config, environment).await?;
    let scratch = TempDir::new()?;
    let restored = Bus::embedded(scratch.path())?;
    put_back(&backup, &restored, &[], output).await?;

    let streams = backup.compare(&live).await.map_err(failure)?;
    let signatures = verify::tally(config, &restored).await?;
    let mut differences: Vec<String> = streams
        .iter()
        .filter_map(|compared| Some(format!("{}: {}", compared.stream, compared.difference.as_ref()?)))
        .collect();
    if signatures.failed > 0 {
        differences.push(format!("{} signatures do not hold", signatures.failed));
    }
    let (mut wallets_same, mut wallets_moved_on) = (0, 0);
    let wallets = wallets(&restored, u64::MAX).await?;
    let end = backup.manifest.extent(Stream::Wallets).last_seq;
    for id in self::wallets(&live, end).await?.difference(&wallets) {
        differences.push(format!("wallet {id}: it has postings before sequence {end}, and none in the backup"));
    }
    for id in &wallets {
        let (then, now) = (billing::fold(&restored, id).await?, billing::fold(&live, id).await?);
        if then.last_seq() < now.last_seq() {
            wallets_moved_on += 1;
        } else if then == now {
            wallets_same += 1;
        } else {
            differences.push(format!("wallet {id}: {} in the backup, {} now", balance(&then), balance(&now)));
        }
    }
    let store = Store::sqlite(scratch.path());
    let tables = rebuild::fill(&restored, &store, output).await?;

    let drilled = Drilled {
        taken_at: backup.manifest.taken_at,
        streams,
        signatures,
        wallets: wallets.len(),
        wallets_same,
        wallets_moved_on,
        tables,
        differences,
    };
    drilled.print(output);
    if drilled.differences.is_empty() {
        Ok(())
    } else {
        Err(Failure::say(Exit::CheckFailed, "the backup is not what runs"))
    }
}

impl Drilled {
    fn print(&self, output: Output) {
        if output.json {
            output.json(self);
            return;
        }
        let mut rows: Vec<[String; 4]> = Vec::new();
        let mut row = |what: &str, backup: String, runs: String, good: bool| {
            let result = if good { output.toned(Tone::Good, "ok") } else { output.toned(Tone::Bad, "DIFFERS") };
            rows.push([what.to_owned(), backup, runs, result]);
        };
        for Compared { stream, backup, same, last_seq, difference } in &self.streams {
            row(&format!("{stream} events"), backup.events.to_string(), same.to_string(), difference.is_none());
            row(
                &format!("{stream} ends at"),
                backup.last_seq.to_string(),
                last_seq.to_string(),
                backup.last_seq <= *last_seq,
            );
        }
        let compared = self.wallets_same + self.wallets_moved_on;
        let moved_on = format!("{} ({} moved on since)", compared, self.wallets_moved_on);
        row("wallets", self.wallets.to_string(), moved_on, compared == self.wallets);
        output.table(["WHAT", "BACKUP", "RUNS", ""], rows);
        let verify::Tally { verified, unverified, failed, .. } = &self.signatures;
        output.line(format!("signatures: {verified} verified, {unverified} taken without one, {failed} failed"));
        output.line(format!("tables: made from {} events", self.tables));
        for difference in &self.differences {
            output.line(output.toned(Tone::Bad, difference));
        }
        output.line(format!("the backup is as of {}; what came later is not in it", self.taken_at));
    }
}

fn balance(wallet: &Wallet) -> String {
    let facts = wallet.facts();
    format!("posted {}, held {} at sequence {}", facts.posted, facts.held, wallet.last_seq())
}

/// Who has a history, up to a sequence of the wallets.
async fn wallets(bus: &Bus, up_to: u64) -> Result<BTreeSet<WalletId>, Failure> {
    let (mut wallets, mut events) = (BTreeSet::new(), bus.events(&Filter::All(Stream::Wallets), 0));
    while let Some(recorded) = events.next().await?.filter(|recorded| recorded.seq <= up_to) {
        match recorded.event.subject {
            Subject::Wallet(wallet) => drop(wallets.insert(wallet)),
            Subject::Call { .. }
            | Subject::List(_)
            | Subject::Policy(_)
            | Subject::Deck(_)
            | Subject::Destination(_)
            | Subject::Profile(_)
            | Subject::Delivery { .. } => {}
        }
    }
    Ok(wallets)
}

/// The log for whoever copies it: the file itself, or the broker as the user that may read all and write nothing.
async fn open_to_copy(config: &Config, environment: &Environment) -> Result<Bus, Failure> {
    match &config.bus {
        config::Bus::Embedded => Ok(Bus::embedded_read_only(&config.data_dir)?),
        config::Bus::Nats(nats) => {
            let connected = broker::connect(nats, broker::BACKUP, environment, None).await;
            connected.map_err(|error| Failure::new(Exit::Unreachable, error))
        }
    }
}

/// Every durable consumer callbus may have, whatever number of groups was in force.
fn all_consumers() -> Vec<ConsumerSpec> {
    let billing = billing::GROUPS.into_iter().flat_map(billing::consumers);
    let delivery = delivery::GROUPS.into_iter().flat_map(delivery::consumers);
    workers::consumers().into_iter().chain(billing).chain(delivery).collect()
}

fn failure(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::None(_) => Exit::NotFound,
        BackupError::Damaged(_) | BackupError::AnotherLog { .. } => Exit::CheckFailed,
        BackupError::Unavailable(_) => Exit::Unreachable,
        BackupError::NotABackup { .. }
        | BackupError::Busy(_)
        | BackupError::File { .. }
        | BackupError::NotEmpty(_)
        | BackupError::NotAlone(_)
        | BackupError::Open(_)
        | BackupError::Read(_)
        | BackupError::Append(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}
