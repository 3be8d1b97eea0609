//! A PostgreSQL server with a cluster of its own.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::ports;
use crate::server::Server;

/// Where Debian puts programs that are not on the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The server refuses to run as root; then it runs as this user, `nobody` nearly everywhere.
const NOBODY: u32 = 65_534;
/// A killed server's children hold its memory for a moment, in which it does not start again.
const START_WITHIN: Duration = Duration::from_secs(20);

/// One server; its data outlives a kill, its port stays the same.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    directory: TempDir,
    server: Option<Server>,
}

impl Postgres {
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir().context("make a directory for PostgreSQL")?;
        if is_root()? {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).context("give the directory away")?;
        }
        let mut postgres = Self { port: ports::free()?, directory, server: None };
        let data = postgres.data();
        let arguments = ["-D", &data, "-U", "callbus", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"];
        let (program, arguments) = command("initdb", &arguments)?;
        let made = Command::new(program).args(arguments).stdout(Stdio::null()).status().context("run initdb")?;
        if !made.success() {
            bail!("initdb ended with {made}");
        }
        postgres.restart()?;
        Ok(postgres)
    }

    pub fn url(&self) -> String {
        format!("postgres://callbus@127.0.0.1:{}/postgres", self.port)
    }

    /// Kills the server as a crash would; what it had handed to the system stays.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again over the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let (port, data) = (self.port.to_string(), self.data());
        let sockets = format!("unix_socket_directories={}", self.directory.path().display());
        let settings = ["-c", "listen_addresses=127.0.0.1", "-c", &sockets, "-c", "fsync=off"];
        let (program, arguments) = command("postgres", &[&["-D", &data, "-p", &port][..], &settings].concat())?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let asked = Instant::now();
        loop {
            match Server::start(&[&program], &arguments, self.port) {
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) if asked.elapsed() > START_WITHIN => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }
}

/// The program with its arguments; as `nobody`, where we are root.
fn command(name: &str, arguments: &[&str]) -> Result<(String, Vec<String>)> {
    let program = installed(name)?.display().to_string();
    let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    if !is_root()? {
        return Ok((program, arguments));
    }
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned(), program];
    arguments.splice(0..0, user);
    Ok(("setpriv".to_owned(), arguments))
}

fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists()) {
        return Ok(found);
    }
    let versions = std::fs::read_dir(Path::new(DEBIAN)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|program| program.exists());
    found.sort();
    found.pop().with_context(|| format!("this story needs PostgreSQL ({name}): tests/run installs it"))
}

fn is_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output().context("ask who runs this")?;
    Ok(id.stdout.trim_ascii() == b"0")
}
