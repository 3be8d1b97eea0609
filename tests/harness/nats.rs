//! A NATS server with JetStream.

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::ports;
use crate::server::Server;

/// One server; its store outlives a kill, its port stays the same.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    store: TempDir,
    server: Option<Server>,
}

impl Nats {
    pub fn start() -> Result<Self> {
        let store = tempfile::tempdir().context("make a directory for the broker")?;
        let mut nats = Self { port: ports::free()?, store, server: None };
        nats.restart()?;
        Ok(nats)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the process as a crash would; what it had handed to the system stays.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again over the same store.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let (port, store) = (self.port.to_string(), self.store.path().display().to_string());
        let arguments = ["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", &store];
        self.server = Some(Server::start(&["nats-server"], &arguments, self.port)?);
        Ok(())
    }

    /// Kills it and takes all it had, as the worst power cut would.
    pub fn lose_everything(&mut self) -> Result<()> {
        self.kill();
        std::fs::remove_dir_all(self.store.path().join("jetstream")).context("empty the broker's store")
    }
}
