//! A NATS server with JetStream, or a cluster of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bus::NatsConfig;
use tempfile::TempDir;

use crate::ports;
use crate::role::binary;
use crate::server::Server;

/// What deploy/compose/nats.conf says too.
const SETTINGS: &str = "ping_interval: \"10s\"\nping_max: 2\nwrite_deadline: \"5s\"\n";

/// Servers whose stores outlive a kill, and whose ports stay the same.
#[derive(Debug)]
pub struct Nats {
    directory: TempDir,
    nodes: Vec<Node>,
    has_keys: bool,
}

#[derive(Debug)]
struct Node {
    port: u16,
    /// For the other nodes.
    route: u16,
    server: Option<Server>,
}

impl Nats {
    /// One that lets everybody in.
    pub fn start() -> Result<Self> {
        let mut nats = Self::of_nodes(1)?;
        nats.restart()?;
        Ok(nats)
    }

    /// One that knows its users by key, each with the rights of its role.
    pub fn with_keys() -> Result<Self> {
        Self::of_nodes(1)?.keyed()
    }

    /// Three that know their users by key.
    pub fn cluster() -> Result<Self> {
        Self::of_nodes(3)?.keyed()
    }

    fn of_nodes(count: usize) -> Result<Self> {
        let directory = tempfile::tempdir().context("make a directory for the broker")?;
        let node = |_| Ok(Node { port: ports::free()?, route: ports::free()?, server: None });
        let nodes = (0..count).map(node).collect::<Result<_>>()?;
        Ok(Self { directory, nodes, has_keys: false })
    }

    fn keyed(mut self) -> Result<Self> {
        self.has_keys = true;
        let made = Command::new(binary()?).args(["keys", "--dir"]).arg(self.keys()).output()?;
        ensure!(made.status.success(), "make keys: {}", String::from_utf8_lossy(&made.stderr));
        self.restart()?;
        Ok(self)
    }

    /// Where `callbus keys` keeps them.
    pub fn keys(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    /// Where a node keeps its streams.
    pub fn store(&self, node: usize) -> PathBuf {
        self.directory.path().join(name_of(node))
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
            replicas: self.nodes.len(),
            spool: None,
        })
    }

    /// All nodes, with commas between.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// Where the first node listens.
    pub fn port(&self) -> u16 {
        self.nodes.first().map_or(0, |node| node.port)
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Kills all as a crash would; what they had handed to the system stays.
    pub fn kill(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.kill_node(node));
    }

    /// Kills one.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].server = None;
    }

    /// Starts all again over the same stores.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        (0..self.nodes.len()).try_for_each(|node| self.start_node(node))
    }

    /// Starts one over its store.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        let port = self.nodes[node].port;
        self.nodes[node].server = Some(self.serve(node, port, &self.store(node))?);
        Ok(())
    }

    /// A look into a copy of the first node's store, on a port nobody else knows: what `look` makes of it.
    pub async fn beside<T>(&self, store: &Path, look: impl AsyncFnOnce(NatsConfig) -> Result<T>) -> Result<T> {
        let port = ports::free()?;
        let _server = self.serve(0, port, store)?;
        let config = self.config("beside")?;
        look(NatsConfig { url: format!("nats://127.0.0.1:{port}"), ..config }).await
    }

    fn serve(&self, node: usize, port: u16, store: &Path) -> Result<Server> {
        let mut settings = format!("server_name: {}\n{SETTINGS}", name_of(node));
        if self.has_keys {
            settings += "include 'keys/broker/accounts.conf'\n";
        }
        if self.nodes.len() > 1 {
            let routes: Vec<String> =
                self.nodes.iter().map(|node| format!("\"nats://127.0.0.1:{}\"", node.route)).collect();
            let listen = self.nodes[node].route;
            settings +=
                &format!("cluster {{ name: test, listen: \"127.0.0.1:{listen}\", routes: [{}] }}\n", routes.join(", "));
        }
        let file = self.directory.path().join(format!("{}.conf", name_of(node)));
        fs::write(&file, settings)?;
        let (file, port_text, store) = (file.display().to_string(), port.to_string(), store.display().to_string());
        let arguments =
            ["--config", &file, "--addr", "127.0.0.1", "--port", &port_text, "--jetstream", "--store_dir", &store];
        Server::start(&["nats-server"], &arguments, port)
    }

    /// Has the first node read its settings again.
    pub fn reload(&self) -> Result<()> {
        self.signal("HUP")
    }

    /// Sends the first node a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let first = self.nodes.first().and_then(|node| node.server.as_ref());
        first.context("the broker is not running")?.signal(name)
    }

    /// Kills it and takes all it had, as the worst power cut would.
    pub fn lose_everything(&mut self) -> Result<()> {
        self.kill();
        (0..self.nodes.len()).try_for_each(|node| {
            fs::remove_dir_all(self.store(node).join("jetstream")).context("empty the broker's store")
        })
    }
}

/// A node's name, and that of its directory.
pub fn name_of(node: usize) -> String {
    format!("nats-{}", node + 1)
}
