//! The policy files that the configuration names, and how they come into force.
//!
//! Embedded, this process owns them: a file that is new or was changed is put in force as if it had been pushed, so
//! that the history is whole. On NATS a file is only the beginning of an app that has no policy yet; from then on
//! `callbus policy push` decides, since no worker could know whose file is the right one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use anyhow::Context;
use bus::{Bus, Clock};
use policy::{Bundle, Policy};
use proto::{AppName, PolicyOrigin, PolicyPutInForce};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use workers::policies::{Policies, newest, newest_file};

use crate::config::fault::Fault;
use crate::config::{self, Config};

/// A change is noticed after this long, and taken once it has held still as long again: editors write in steps.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LIST_FILE_BYTES_MAX: u64 = 64 << 20;

/// A policy that loads, with what it is pushed as.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    pub bundle: Bundle,
    pub policy: Policy,
}

impl PolicyFile {
    /// Reads a policy with its list files, and checks them.
    ///
    /// # Errors
    /// When it cannot be read, or with everything that is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(|cause| {
            let todo = "write the file, or name another: [[apps]] policy";
            Fault::setting(format!("the policy {}", path.display()), cause.to_string(), todo)
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let read_file = |name: &str| read_list(&directory.join(name)).map_err(|error| error.to_string());
        let (bundle, policy) = Bundle::read(&text, &path.display().to_string(), &read_file).map_err(Fault::Policy)?;
        Ok(Self { bundle, policy })
    }

    /// The event that puts it in force.
    pub(crate) fn put(&self, origin: PolicyOrigin) -> PolicyPutInForce {
        PolicyPutInForce {
            revision: self.policy.revision().to_owned(),
            file: self.bundle.file_name.clone(),
            shadow: self.policy.is_shadow(),
            origin,
            note: String::new(),
        }
    }
}

/// Brings the files of all apps into force, as far as that is theirs to decide.
///
/// # Errors
/// When an app has no policy that could decide: its file is bad and nothing else was ever in force.
pub(crate) async fn begin(config: &Config, bus: &Bus, clock: &Clock) -> anyhow::Result<()> {
    let policies = Policies::new(bus.clone(), clock.clone());
    for app in &config.apps {
        let history = policies.history(&app.name).await?;
        let in_force = newest(&history, false);
        let Some(path) = &app.policy else {
            if in_force.is_none() {
                tracing::warn!(app = %app.name, "no policy: all calls are refused until one is pushed");
            }
            continue;
        };
        let file = match read_deciding(path) {
            Ok(file) => file,
            Err(fault) => match in_force {
                Some(put) => {
                    let revision = put.what.revision.get(..12);
                    tracing::error!(app = %app.name, revision, %fault, "policy file refused, the one in force stays");
                    continue;
                }
                None => return Err(fault.into()),
            },
        };
        let put = file.put(PolicyOrigin::File);
        match &config.bus {
            config::Bus::Embedded => {
                if newest_file(&history).is_none_or(|last| last.what.revision != put.revision) {
                    policies.put_in_force(&app.name, &file.bundle, put).await.context("put the policy in force")?;
                }
            }
            config::Bus::Nats(_) => {
                let differs = in_force.is_some_and(|now| now.what.revision != put.revision);
                if differs {
                    tracing::info!(app = %app.name, "the policy in force is another than the file; push it to use it");
                }
                policies.begin_with(&app.name, &file.bundle, put).await.context("put the policy in force")?;
            }
        }
    }
    Ok(())
}

/// Puts files in force as they change, until asked to stop. A bad one is said, and changes nothing.
pub(crate) async fn watch(config: Config, bus: Bus, clock: Clock, stop: CancellationToken) {
    let policies = Policies::new(bus, clock);
    let files = config.apps.iter().filter_map(|app| Some((app.name.clone(), app.policy.clone()?)));
    let mut watched: Vec<Watched> = files.map(|(app, path)| Watched::new(app, path)).collect();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        for file in &mut watched {
            // What a refused one lacks may lie in a list file, which is not known before it loads.
            if file.has_settled_anew() || file.refused.is_some() {
                file.take(&policies).await;
            }
        }
    }
}

/// When a file was written, and how long it is.
type Stamp = Option<(SystemTime, u64)>;

/// A policy file with its list files, as they were last seen.
#[derive(Debug)]
struct Watched {
    app: AppName,
    path: PathBuf,
    /// The policy file and its list files.
    files: Vec<PathBuf>,
    taken: Vec<Stamp>,
    seen: Vec<Stamp>,
    /// What was wrong with it when it was last read.
    refused: Option<String>,
}

impl Watched {
    fn new(app: AppName, path: PathBuf) -> Self {
        let (files, refused) = match PolicyFile::read(&path) {
            Ok(file) => (with_lists(&path, &file.bundle), None),
            Err(fault) => (vec![path.clone()], Some(fault.to_string())),
        };
        let stamps: Vec<Stamp> = files.iter().map(stamp).collect();
        Self { app, path, files, taken: stamps.clone(), seen: stamps, refused }
    }

    /// Something was changed, and has not been since the last look.
    fn has_settled_anew(&mut self) -> bool {
        let now: Vec<Stamp> = self.files.iter().map(stamp).collect();
        let settled = now == self.seen;
        self.seen = now;
        settled && self.seen != self.taken
    }

    async fn take(&mut self, policies: &Policies) {
        self.taken.clone_from(&self.seen);
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read_deciding(&path)).await;
        let file = match read {
            Ok(Ok(file)) => file,
            Ok(Err(fault)) => {
                let fault = fault.to_string();
                if self.refused.as_ref() != Some(&fault) {
                    tracing::error!(app = %self.app, fault, "policy file refused, the one in force stays");
                }
                self.refused = Some(fault);
                return;
            }
            Err(error) => {
                tracing::error!(app = %self.app, %error, "policy file not read, the one in force stays");
                return;
            }
        };
        match policies.put_in_force(&self.app, &file.bundle, file.put(PolicyOrigin::File)).await {
            Ok(_) => {
                self.refused = None;
                self.files = with_lists(&self.path, &file.bundle);
                self.seen = self.files.iter().map(stamp).collect();
                self.taken.clone_from(&self.seen);
            }
            Err(error) => {
                tracing::error!(app = %self.app, %error, "policy file not put in force, trying again");
                self.taken.clear();
            }
        }
    }
}

/// The policy file of an app has to decide.
fn read_deciding(path: &Path) -> Result<PolicyFile, Fault> {
    let file = PolicyFile::read(path)?;
    if file.policy.is_shadow() {
        let todo = "name the policy that decides, and push this one: callbus policy push";
        return Err(Fault::setting(path.display().to_string(), "it says mode: shadow, so it decides nothing", todo));
    }
    Ok(file)
}

/// A list file is a file, and no longer than a list may be: a pipe or a device would be read without end.
fn read_list(path: &Path) -> io::Result<String> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() > LIST_FILE_BYTES_MAX {
        return Err(io::Error::other("it is not a file of at most 64 MiB"));
    }
    fs::read_to_string(path)
}

fn with_lists(path: &Path, bundle: &Bundle) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let lists = bundle.files.keys().map(|name| directory.join(name));
    std::iter::once(path.to_owned()).chain(lists).collect()
}

fn stamp(path: &PathBuf) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}
