//! A NATS server with JetStream.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bus::NatsConfig;
use tempfile::TempDir;

use crate::ports;
use crate::role::binary;
use crate::server::Server;

/// One server; its store outlives a kill, its port stays the same.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    store: TempDir,
    server: Option<Server>,
    has_keys: bool,
}

impl Nats {
    /// One that lets everybody in.
    pub fn start() -> Result<Self> {
        let mut nats = Self::new()?;
        nats.restart()?;
        Ok(nats)
    }

    /// One that knows its users by key, each with the rights of its role.
    pub fn with_keys() -> Result<Self> {
        let mut nats = Self::new()?;
        nats.has_keys = true;
        let made = Command::new(binary()?).args(["keys", "--dir"]).arg(nats.keys()).output()?;
        ensure!(made.status.success(), "make keys: {}", String::from_utf8_lossy(&made.stderr));
        nats.restart()?;
        Ok(nats)
    }

    fn new() -> Result<Self> {
        let store = tempfile::tempdir().context("make a directory for the broker")?;
        let nats = Self { port: ports::free()?, store, server: None, has_keys: false };
        fs::write(nats.config_file(), "")?;
        Ok(nats)
    }

    /// Where `callbus keys` keeps them.
    pub fn keys(&self) -> PathBuf {
        self.store.path().join("keys")
    }

    fn config_file(&self) -> PathBuf {
        self.store.path().join("nats.conf")
    }

    /// The key of a user, where it needs one.
    pub fn key_of(&self, user: &str) -> Option<PathBuf> {
        self.has_keys.then(|| self.keys().join(user).join("nkey"))
    }

    /// A connection of one's own, which may read.
    pub fn config(&self, client_name: &str) -> Result<NatsConfig> {
        self.config_as("api", client_name)
    }

    /// A connection with the rights of a role.
    pub fn config_as(&self, user: &str, client_name: &str) -> Result<NatsConfig> {
        let nkey_seed = self.key_of(user).map(fs::read_to_string).transpose()?;
        Ok(NatsConfig {
            url: self.url(),
            client_name: client_name.to_owned(),
            user: user.to_owned(),
            provisions: nkey_seed.is_none(),
            nkey_seed,
            ca_file: None,
            replicas: 1,
            spool: None,
        })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where its streams lie.
    pub fn streams(&self) -> PathBuf {
        self.store.path().join("jetstream")
    }

    /// Kills the process as a crash would; what it had handed to the system stays.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again over the same store.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let (port, store) = (self.port.to_string(), self.store.path().display().to_string());
        let config = self.config_file().display().to_string();
        if self.has_keys {
            fs::write(&config, "include 'keys/broker/accounts.conf'\n")?;
        }
        let arguments =
            ["--config", &config, "--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", &store];
        self.server = Some(Server::start(&["nats-server"], &arguments, self.port)?);
        Ok(())
    }

    /// Has it read its settings again.
    pub fn reload(&self) -> Result<()> {
        self.server.as_ref().context("the broker is not running")?.signal("HUP")
    }

    /// Kills it and takes all it had, as the worst power cut would.
    pub fn lose_everything(&mut self) -> Result<()> {
        self.kill();
        fs::remove_dir_all(self.streams()).context("empty the broker's store")
    }
}
