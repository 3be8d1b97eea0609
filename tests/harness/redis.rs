//! A Redis or Valkey server that keeps nothing on disk.

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::ports;
use crate::server::Server;

#[derive(Debug)]
pub struct Redis {
    port: u16,
    directory: TempDir,
    server: Option<Server>,
}

impl Redis {
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir().context("make a directory for the cache")?;
        let mut redis = Self { port: ports::free()?, directory, server: None };
        redis.restart()?;
        Ok(redis)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the process; all it remembered is gone.
    pub fn kill(&mut self) {
        self.server = None;
    }

    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let (port, directory) = (self.port.to_string(), self.directory.path().display().to_string());
        let arguments =
            ["--bind", "127.0.0.1", "--port", &port, "--dir", &directory, "--save", "", "--appendonly", "no"];
        self.server = Some(Server::start(&["redis-server", "valkey-server"], &arguments, self.port)?);
        Ok(())
    }
}
