//! A real Tryton server with parties, on SQLite: the CRM that recipes are tried against.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ports;
use crate::program::installed;
use crate::server::Server;
use crate::world::{client, eventually};

const DATABASE: &str = "callbus";
pub const USER: &str = "admin";
/// What tests/run sets when it makes the database.
pub const PASSWORD: &str = "tryton of the stories";
/// Imports all of its modules first.
const START_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Tryton {
    port: u16,
    http: reqwest::Client,
    _server: Server,
    _directory: TempDir,
}

impl Tryton {
    /// A server of its own, on a copy of the database that tests/run made.
    pub async fn start() -> Result<Self> {
        let (python, made) =
            (installed("target/tools/tryton/python")?, installed("target/tools/tryton/callbus.sqlite")?);
        let directory = tempfile::tempdir()?;
        fs::copy(made, directory.path().join("callbus.sqlite")).context("copy the database")?;
        let (port, path) = (ports::free()?, directory.path().display().to_string());
        let config = directory.path().join("trytond.conf");
        let settings = format!("[database]\nuri = sqlite://\npath = {path}\n[web]\nlisten = 127.0.0.1:{port}\n");
        fs::write(&config, settings)?;
        let (python, config) = (format!("PYTHONPATH={}", python.display()), config.display().to_string());
        let arguments = [&python, "python3", "-m", "trytond.cli", "-c", &config, "-d", DATABASE];
        let server = Server::start_within(&["env"], &arguments, port, START_WITHIN)?;
        let tryton = Self { port, http: client(), _server: server, _directory: directory };
        let answers = async || Ok(tryton.call("model.res.user.search", json!([[], 0, 1, null, {}])).await.ok());
        eventually("Tryton answers", answers).await?;
        Ok(tryton)
    }

    /// Where recipes find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Calls a method, as the administrator.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let body = json!({ "id": 1, "method": method, "params": params });
        let url = format!("{}/rpc/", self.url());
        let said: Value = self
            .http
            .post(url)
            .basic_auth(USER, Some(PASSWORD))
            .json(&body)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        ensure!(said.get("error").is_none(), "{method}: {said}");
        Ok(said["result"].clone())
    }
}
