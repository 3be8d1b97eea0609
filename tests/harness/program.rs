//! A program as a child process that says when it is ready: a role of callbus, or an example in another language.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ports;
use crate::role::binary;
use crate::server::signal;

/// What every program prints last before it works.
const READY: &str = "ready";

const START_WITHIN: Duration = Duration::from_secs(30);

/// Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Program {
    /// Starts it, with all it prints in the file `log`, and waits until it is ready.
    pub(crate) fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let mut program = Self { child, name: name.to_owned(), log };
        let started = Instant::now();
        while !program.said()?.lines().any(|line| line.trim_end().ends_with(READY)) {
            if let Some(status) = program.child.try_wait()? {
                bail!("{name} ended at its start with {status}:\n{}", program.said()?);
            }
            if started.elapsed() > START_WITHIN {
                bail!("{name} is not ready:\n{}", program.said()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(program)
    }

    /// All it has printed.
    pub fn said(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("read the log of {}", self.name))
    }

    /// As a crash: SIGKILL, no drain.
    pub fn kill(mut self) {
        self.end();
    }

    /// `STOP` freezes it, `CONT` has it go on.
    pub fn signal(&self, name: &str) -> Result<()> {
        signal(&self.child, name)
    }

    /// As an orderly stop: SIGTERM, then wait for it to drain.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if asked.elapsed() > START_WITHIN {
                bail!("{} does not end after SIGTERM:\n{}", self.name, self.said()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// `examples/express` on a port of its own; gives the address where it takes callbacks.
pub fn express(key: &str, secret: &str, logs: &Path) -> Result<(Program, String)> {
    let port = ports::free()?;
    let mut command = Command::new("node");
    command.arg(installed("examples/express/node_modules")?.with_file_name("server.js"));
    command.env("PORT", port.to_string()).env("APP_KEY", key).env("APP_SECRET", secret);
    let program = Program::start("the Express example", command, logs.join(format!("express.{port}.log")))?;
    Ok((program, format!("http://127.0.0.1:{port}")))
}

/// `examples/decide-python`, deciding for a broker.
pub fn decide_python(nats: &str, logs: &Path) -> Result<Program> {
    let mut command = Command::new("python3");
    command.arg(repository().join("examples/decide-python/decide.py"));
    command.env("PYTHONPATH", installed("target/tools/python")?).env("NATS_URL", nats);
    Program::start("the Python example", command, logs.join("decide-python.log"))
}

/// `examples/decide-javascript`, deciding for a broker.
pub fn decide_javascript(nats: &str, logs: &Path) -> Result<Program> {
    let mut command = Command::new("node");
    command.arg(installed("examples/decide-javascript/node_modules")?.with_file_name("decide.js"));
    command.env("NATS_URL", nats);
    Program::start("the JavaScript example", command, logs.join("decide-javascript.log"))
}

/// The languages there is a subscriber in.
#[derive(Debug, Clone, Copy)]
pub enum Subscriber {
    Rust,
    Python,
    JavaScript,
}

impl Subscriber {
    pub const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::JavaScript];

    /// Also the name of its consumer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "crm-rust",
            Self::Python => "crm-python",
            Self::JavaScript => "crm-javascript",
        }
    }

    /// Starts it with a key of its own; `nth` time.
    pub fn start(self, nats: &str, key: &Path, logs: &Path, nth: usize) -> Result<Program> {
        let mut command = match self {
            Self::Rust => Command::new(binary()?.with_file_name("examples").join("subscribe")),
            Self::Python => {
                let mut python = Command::new("python3");
                python.arg(repository().join("examples/subscribe-python/subscribe.py"));
                python.env("PYTHONPATH", installed("target/tools/python")?);
                python
            }
            Self::JavaScript => {
                let mut node = Command::new("node");
                node.arg(installed("examples/subscribe-javascript/node_modules")?.with_file_name("subscribe.js"));
                node
            }
        };
        command.env("NATS_URL", nats).env("NKEY_FILE", key).env("CONSUMER", self.name());
        Program::start(self.name(), command, logs.join(format!("{}.{nth}.log", self.name())))
    }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A path in the repository that `tests/run` makes.
pub fn installed(path: &str) -> Result<PathBuf> {
    let path = repository().join(path);
    if !path.exists() {
        bail!("{} is not there: tests/run installs it", path.display());
    }
    Ok(path)
}
