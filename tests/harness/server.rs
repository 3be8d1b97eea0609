//! A server as a child process.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    /// Starts the first of `programs` that is on the path, and waits until it listens on `port`.
    pub(crate) fn start(programs: &[&str], arguments: &[&str], port: u16) -> Result<Self> {
        Self::start_within(programs, arguments, port, START_TIMEOUT)
    }

    /// The same for one that takes its time.
    pub(crate) fn start_within(programs: &[&str], arguments: &[&str], port: u16, within: Duration) -> Result<Self> {
        let mut server = Self(spawn(programs, arguments)?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err() {
            if let Some(status) = server.0.try_wait()? {
                bail!("{} ended at its start with {status}", programs.join(" or "));
            }
            if started.elapsed() > within {
                bail!("{} does not listen on port {port}", programs.join(" or "));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Server {
    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        signal(&self.0, name)
    }
}

/// Sends a child a signal.
pub(crate) fn signal(child: &Child, name: &str) -> Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status()?;
    ensure!(sent.success(), "send SIG{name}");
    Ok(())
}

fn spawn(programs: &[&str], arguments: &[&str]) -> Result<Child> {
    for program in programs {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("start {program}")),
        }
    }
    bail!("this story needs {} on the PATH; install it and run again", programs.join(" or "))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
