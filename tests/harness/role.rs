//! A callbus process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a role prints last before it works.
const READY: &str = "ready";

const START_WITHIN: Duration = Duration::from_secs(30);

/// One running role. Killed when dropped.
#[derive(Debug)]
pub struct Role {
    child: Child,
    log: PathBuf,
}

impl Role {
    /// Starts `callbus --config <config> <arguments>` with settings by environment, and waits until it is ready.
    pub(crate) fn start(
        config: &Path,
        arguments: &[&str],
        settings: &[(String, String)],
        log: PathBuf,
    ) -> Result<Self> {
        let out = File::create(&log)?;
        let mut command = Command::new(binary()?);
        command.arg("--config").arg(config).args(arguments);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn().context("start callbus: is it built? cargo build -p callbus")?;
        let mut role = Self { child, log };
        let started = Instant::now();
        while !role.said()?.lines().any(|line| line.trim_end().ends_with(READY)) {
            if let Some(status) = role.child.try_wait()? {
                bail!("callbus {arguments:?} ended at its start with {status}:\n{}", role.said()?);
            }
            if started.elapsed() > START_WITHIN {
                bail!("callbus {arguments:?} is not ready:\n{}", role.said()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(role)
    }

    /// All it has printed.
    pub fn said(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("read the log of a role")
    }

    /// As a crash: SIGKILL, no drain.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// As an orderly stop: SIGTERM, then wait for it to drain.
    pub(crate) fn terminate(mut self) -> Result<std::process::ExitStatus> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("send SIGTERM")?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if asked.elapsed() > START_WITHIN {
                bail!("callbus does not end after SIGTERM:\n{}", self.said()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test lies beside the tests.
pub fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).context("find the target folder")?;
    Ok(target.join("callbus"))
}
