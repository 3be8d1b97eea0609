//! `callbus policy`: policy files, and which of them decides.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use workers::status::{AppStatus, WorkerStatus};

use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::policy_files::PolicyFile;

/// Workers look for changes several times a second; a large policy takes a moment to load.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const REVISION_DIGITS: usize = 12;

/// Checks files, or those of the configuration.
///
/// # Errors
/// Exit 3 with everything that is wrong.
pub(crate) fn check(
    files: Vec<PathBuf>,
    config: &Path,
    environment: &Environment,
    output: Output,
) -> Result<(), Failure> {
    let files = if files.is_empty() { configured(config, environment)? } else { files };
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match PolicyFile::read(&file) {
            Ok(read) => good.push((file, read)),
            Err(fault) => wrong.push(fault.to_string()),
        }
    }
    if output.json {
        let page = |(file, read): &(PathBuf, PolicyFile)| json!({ "file": file, "revision": read.policy.revision(), "rules": read.policy.rule_count(), "tests": read.policy.test_count() });
        output.json(&json!({ "good": good.iter().map(page).collect::<Vec<_>>(), "wrong": wrong }));
    } else {
        for (file, read) in &good {
            let (rules, tests) = (read.policy.rule_count(), read.policy.test_count());
            let revision = short(read.policy.revision());
            output.line(format!("{}: good: {rules} rules, {tests} tests pass, revision {revision}", file.display()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::say(Exit::CheckFailed, wrong.join("\n"))) }
}

fn configured(config: &Path, environment: &Environment) -> Result<Vec<PathBuf>, Failure> {
    let mut files: Vec<PathBuf> =
        Config::load(config, environment)?.apps.into_iter().filter_map(|app| app.policy).collect();
    files.dedup();
    Ok(files)
}

/// # Errors
/// Never; it only prints.
pub(crate) fn schema(output: Output) {
    output.json(&policy::schema());
}

/// Checks a file and makes it decide, on every worker there is.
///
/// # Errors
/// Exit 3 when it is bad, exit 6 when not all workers took it in time.
pub(crate) async fn push(
    config: &Config,
    output: Output,
    file: &Path,
    app: Option<&str>,
    note: &str,
) -> Result<(), Failure> {
    let app = the_app(config, app)?;
    let read = PolicyFile::read(file).map_err(|fault| Failure::new(Exit::CheckFailed, anyhow::Error::new(fault)))?;
    let api = ApiClient::new(config)?;
    let body = json!({ "policy": read.bundle, "note": note });
    let put: Value = api.post(&format!("/v1/policies/{}", segment(app)), &body).await?;
    taken(&api, output, app, put).await
}

/// Makes an earlier revision decide again: the one before, or the one named.
///
/// # Errors
/// As [`push`].
pub(crate) async fn rollback(
    config: &Config,
    output: Output,
    app: Option<&str>,
    to: Option<&str>,
    note: &str,
) -> Result<(), Failure> {
    let app = the_app(config, app)?;
    let api = ApiClient::new(config)?;
    let body = json!({ "to": to, "note": note });
    let put: Value = api.post(&format!("/v1/policies/{}/rollback", segment(app)), &body).await?;
    taken(&api, output, app, put).await
}

/// Ends the shadow of an app.
///
/// # Errors
/// As [`push`].
pub(crate) async fn unshadow(config: &Config, output: Output, app: Option<&str>) -> Result<(), Failure> {
    let app = the_app(config, app)?;
    let api = ApiClient::new(config)?;
    let put: Value = api.delete(&format!("/v1/policies/{}/shadow", segment(app))).await?;
    taken(&api, output, app, put).await
}

/// Waits until every worker has seen the change, and says what each made of it.
async fn taken(api: &ApiClient, output: Output, app: &str, put: Value) -> Result<(), Failure> {
    let seq = put["seq"].as_u64().context("the API's answer has no seq")?;
    let started = Instant::now();
    let workers = loop {
        let page: Value = api.get(&format!("/v1/policies/{}", segment(app))).await?;
        let workers = workers(&page, app)?;
        let seen = workers.iter().all(|worker| worker.status.seq >= seq);
        if (seen && !workers.is_empty()) || started.elapsed() > TAKEN_WITHIN {
            break workers;
        }
        sleep(LOOK_EVERY).await;
    };
    if output.json {
        output.json(&json!({ "put": put, "workers": workers.iter().map(Worker::to_json).collect::<Vec<_>>() }));
    } else {
        let revision = short(put["revision"].as_str().unwrap_or_default());
        let what = match (put["shadow"] == true, revision.is_empty()) {
            (true, true) => "its shadow has ended".to_owned(),
            (true, false) => format!("{revision} decides in the shadow"),
            (false, _) => format!("{revision} is in force"),
        };
        output.line(output.toned(Tone::Strong, format!("{app}: {what}")));
        output.table(["WORKER", "REVISION", "SHADOW", "STATE"], workers.iter().map(|worker| worker.row(seq)).collect());
    }
    if workers.is_empty() {
        return Err(Failure::say(Exit::Unreachable, "no worker answers; it is in force for those that will start"));
    }
    if workers.iter().any(|worker| worker.status.seq < seq) {
        let sentence = format!("not every worker has seen it within {} s", TAKEN_WITHIN.as_secs());
        return Err(Failure::say(Exit::Unreachable, sentence));
    }
    match workers.iter().find_map(|worker| worker.status.refused.as_deref()) {
        Some(why) => Err(Failure::say(Exit::CheckFailed, format!("a worker refused it, and decides as before: {why}"))),
        None => Ok(()),
    }
}

/// What one worker decides an app by.
struct Worker {
    name: String,
    status: AppStatus,
}

impl Worker {
    fn row(&self, seq: u64) -> [String; 4] {
        let AppStatus { seq: seen, revision, shadow, refused, .. } = &self.status;
        let state = match refused {
            Some(why) => format!("refused: {}", why.lines().next().unwrap_or_default()),
            None if *seen >= seq => "taken".to_owned(),
            None => "not seen yet".to_owned(),
        };
        [self.name.clone(), short(revision), short(shadow.as_deref().unwrap_or_default()), state]
    }

    fn to_json(&self) -> Value {
        let AppStatus { seq, revision, refused, .. } = &self.status;
        json!({ "worker": self.name, "seq": seq, "revision": revision, "refused": refused })
    }
}

/// Those that decide for the app.
fn workers(page: &Value, app: &str) -> anyhow::Result<Vec<Worker>> {
    let all =
        Vec::<WorkerStatus>::deserialize(&page["workers"]).context("the API's answer does not name the workers")?;
    let of_app = |WorkerStatus { worker, apps }: WorkerStatus| {
        let status = apps.into_iter().find(|status| status.app.as_str() == app)?;
        Some(Worker { name: worker, status })
    };
    Ok(all.into_iter().filter_map(of_app).collect())
}

/// The revisions of an app, newest first, and who decides by which.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn ls(config: &Config, output: Output, app: Option<&str>) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let apps: Vec<&str> = match app {
        Some(app) => vec![app],
        None => config.apps.iter().map(|app| app.name.as_str()).collect(),
    };
    let mut pages = Vec::new();
    for app in apps {
        let page: Value = api.get(&format!("/v1/policies/{}", segment(app))).await?;
        pages.push(page);
    }
    if output.json {
        output.json(&pages);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    for page in &pages {
        let app = text(&page["app"]);
        let workers = workers(page, &app)?;
        for put in page["revisions"].as_array().into_iter().flatten() {
            let revision = text(&put["revision"]);
            let state = match (put["in_force"] == true, put["shadow"] == true) {
                (true, false) => {
                    format!(
                        "in force on {}",
                        workers.iter().filter(|worker| worker.status.revision == revision).count()
                    )
                }
                (true, true) => {
                    format!(
                        "shadow on {}",
                        workers.iter().filter(|worker| worker.status.shadow.as_ref() == Some(&revision)).count()
                    )
                }
                (false, true) if revision.is_empty() => "shadow ended".to_owned(),
                (false, true) => "was shadow".to_owned(),
                (false, false) => String::new(),
            };
            let at: String = text(&put["at"]).chars().take(19).collect();
            rows.push([
                app.clone(),
                short(&revision),
                at,
                text(&put["origin"]),
                state,
                text(&put["file"]),
                text(&put["note"]),
            ]);
        }
    }
    output.table(["APP", "REVISION", "SINCE (UTC)", "BY", "STATE", "FILE", "NOTE"], rows);
    Ok(())
}

/// The text of a revision, as it was pushed.
///
/// # Errors
/// Exit 5 when there is no such revision.
pub(crate) async fn show(config: &Config, output: Output, revision: &str, app: Option<&str>) -> Result<(), Failure> {
    let app = the_app(config, app)?;
    let bundle: Value =
        ApiClient::new(config)?.get(&format!("/v1/policies/{}/{}", segment(app), segment(revision))).await?;
    if output.json {
        output.json(&bundle);
    } else {
        output.line(bundle["text"].as_str().unwrap_or_default().trim_end());
    }
    Ok(())
}

/// The app that is meant: the one named, or the only one there is.
pub(crate) fn the_app<'c>(config: &'c Config, named: Option<&'c str>) -> Result<&'c str, Failure> {
    match (named, config.apps.as_slice()) {
        (Some(app), _) => Ok(app),
        (None, [only]) => Ok(only.name.as_str()),
        (None, apps) => {
            let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
            Err(Failure::say(Exit::Usage, format!("name an app with --app: {}", names.join(", "))))
        }
    }
}

/// The digits of a revision that people read. The name of a handler stays whole.
pub(crate) fn short(revision: &str) -> String {
    let digits = revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shown = if digits { REVISION_DIGITS } else { revision.len() };
    revision.chars().take(shown).collect()
}
