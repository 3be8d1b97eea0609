//! An installation of callbus with its servers, and a platform that calls it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bus::{Bus, Clock};
use futures::TryStreamExt;
use jiff::Timestamp;
use money::Wallet;
use proto::signature::AppSecret;
use proto::{CallId, Decided, Event, Filter, Kind, Partition, Settled, Stream, Subject, WalletId};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use simulator::{Platform, PlatformConfig};
use tempfile::TempDir;

use crate::nats::Nats;
use crate::openapi::OpenApi;
use crate::ports;
use crate::program::Program;
use crate::redis::Redis;
use crate::role::{self, binary};

pub const APP_KEY: &str = "669e367e-6bba-48ab-af15-266871c28135";
pub const APP_SECRET: &str = "BeIukql3pTKJ8RGL5zo0DA==";
pub const WALLET: &str = "acme";

/// The one number that may be called.
pub const ALLOWED: &str = "+46701234567";

/// Two hundredths a second, by the second: 1.90 pays for 95 seconds.
const DECK: &str = "prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency\n\
                    46,Sweden,0,1.2,60,1/1,up4,EUR\n\
                    1555,Acme,0,1.2,60,1/1,up4,EUR\n";

/// The policy of most stories: only one number may be called, for ten minutes at most.
pub const POLICY: &str = r#"
version: 1
lists: { allowed: ["+46701234567"] }
ice:
  - { name: only, when: call.to.endpoint in lists.allowed, reserve: true,
      reply: { connect_pstn: "${call.to.endpoint}", max_duration: 600 } }
  - { name: others, deny: NOT_ALLOWLISTED }
ace:
  - { name: default, reply: { continue: true } }
"#;

const EVENTUALLY: Duration = Duration::from_secs(30);

/// What runs where.
#[derive(Debug)]
enum Place {
    /// One process, no server.
    Embedded,
    /// Each role a process, on NATS and Redis.
    Nats { nats: Nats, redis: Redis },
}

/// One installation, alone on its ports and in its directory.
#[derive(Debug)]
pub struct World {
    place: Place,
    directory: TempDir,
    ports: BTreeMap<String, u16>,
    roles: BTreeMap<String, Program>,
    http: reqwest::Client,
    openapi: OpenApi,
    starts: usize,
    /// What roles are started from.
    program: PathBuf,
    /// Settings of single roles, by environment.
    set: BTreeMap<String, Vec<(String, String)>>,
    /// What single roles are started under: a program with its arguments, which in the end becomes the role.
    under: BTreeMap<String, Vec<String>>,
}

/// What runs unless a story says otherwise. Billing first: it has posted what a worker may load.
pub const STAFF: [&str; 5] = ["billing", "worker-1", "worker-2", "ingress-1", "api"];

impl World {
    /// Everything in one process on embedded parts.
    pub async fn embedded(policy: &str) -> Result<Self> {
        Self::embedded_with(policy, "").await
    }

    /// The same, with more settings in `callbus.toml`.
    pub async fn embedded_with(policy: &str, settings: &str) -> Result<Self> {
        let mut world = Self::new(Place::Embedded, policy, settings)?;
        world.start("all")?;
        world.stock().await
    }

    /// Ingress, two workers, billing and api, each a process, on NATS and Redis.
    pub async fn nats(policy: &str) -> Result<Self> {
        Self::nats_with(policy, "").await
    }

    /// The same, with more settings in `callbus.toml`. Each role comes to the broker with its own key and rights.
    pub async fn nats_with(policy: &str, settings: &str) -> Result<Self> {
        let world = Self::on_servers(Nats::with_keys()?, policy, settings)?;
        let made = world.provision(&["--json"])?;
        ensure!(!made.contains("\"there\"") && made.contains("\"made\""), "a new broker has nothing: {made}");
        world.staffed(&STAFF).await
    }

    /// On a broker that lets everybody in, programs without a key too.
    pub async fn nats_without_keys(policy: &str) -> Result<Self> {
        Self::on_servers(Nats::start()?, policy, "")?.staffed(&STAFF).await
    }

    /// Servers on which nothing runs and nothing is provisioned yet.
    pub fn on_servers(nats: Nats, policy: &str, settings: &str) -> Result<Self> {
        Self::new(Place::Nats { nats, redis: Redis::start()? }, policy, settings)
    }

    /// With these roles running, in this order, and a price list.
    pub async fn staffed(mut self, roles: &[&str]) -> Result<Self> {
        for role in roles {
            self.start(role)?;
        }
        self.stock().await
    }

    /// A setting or another variable that one role has from its next start on.
    pub fn set(&mut self, name: &str, variable: &str, value: impl Into<String>) {
        self.set.entry(name.to_owned()).or_default().push((variable.to_owned(), value.into()));
    }

    /// The role is started under a program with these arguments, before its own.
    pub fn start_under(&mut self, name: &str, words: &[&str]) {
        self.under.insert(name.to_owned(), words.iter().map(|&word| word.to_owned()).collect());
    }

    /// Makes at the broker what the roles need.
    pub fn provision(&self, arguments: &[&str]) -> Result<String> {
        self.provisioner("provision", arguments)
    }

    /// `callbus consumer …`, as the one user who may make consumers.
    pub fn consumer(&self, arguments: &[&str]) -> Result<String> {
        self.provisioner("consumer", arguments)
    }

    fn provisioner(&self, noun: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.arg("--config").arg(self.config()).arg(noun).args(arguments).envs(self.key_of("provision"));
        command.envs(self.set.get("provision").into_iter().flatten().cloned());
        let done = command.output().context("run callbus")?;
        ensure!(done.status.success(), "callbus {noun} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// The setting that names a user's key.
    fn key_of(&self, user: &str) -> Option<(String, String)> {
        let Place::Nats { nats, .. } = &self.place else { return None };
        Some(("CALLBUS__BUS__NKEY_FILE".to_owned(), nats.key_of(user)?.display().to_string()))
    }

    fn new(place: Place, policy: &str, settings: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("policy.yaml"), policy)?;
        let world = Self {
            place,
            directory,
            ports: BTreeMap::new(),
            roles: BTreeMap::new(),
            http: client(),
            openapi: OpenApi::read()?,
            starts: 0,
            program: binary()?,
            set: BTreeMap::new(),
            under: BTreeMap::new(),
        };
        fs::write(world.config(), world.settings() + settings)?;
        Ok(world)
    }

    fn settings(&self) -> String {
        let apps = format!(
            "[api]\ntoken = \"token-of-the-stories\"\n\
             [[apps]]\nname = \"acme\"\nkey = \"{APP_KEY}\"\nsecret = \"{APP_SECRET}\"\npolicy = \"policy.yaml\"\n"
        );
        match &self.place {
            Place::Embedded => apps,
            Place::Nats { nats, redis } => format!(
                "{apps}[bus]\nkind = \"nats\"\nurl = \"{}\"\n[admission]\nkind = \"redis\"\nurl = \"{}\"\n",
                nats.url(),
                redis.url()
            ),
        }
    }

    /// A price list, and what a story needs to begin.
    async fn stock(self) -> Result<Self> {
        let put =
            self.http.put(self.api("/v1/decks/standard")).bearer_auth("token-of-the-stories").body(DECK).send().await?;
        if !put.status().is_success() {
            bail!("import the deck: {}", put.text().await?);
        }
        for (name, role) in &self.roles {
            if name == "all" || name.starts_with("worker") {
                eventually("the worker uses the price list", async || {
                    Ok(role.said()?.contains("price list loaded").then_some(()))
                })
                .await?;
            }
        }
        Ok(self)
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("callbus.toml")
    }

    /// Starts a role by name: `ingress-2` is another ingress with a directory and ports of its own.
    pub fn start(&mut self, name: &str) -> Result<()> {
        let role = name.split('-').next().unwrap_or(name);
        let mut settings = vec![("CALLBUS__DATA_DIR".to_owned(), self.data(name).display().to_string())];
        for (listener, variable) in [("ingress", "CALLBUS__INGRESS__LISTEN"), ("api", "CALLBUS__API__LISTEN")] {
            if role == listener || role == "all" {
                let port = self.port(if role == "all" { listener } else { name })?;
                settings.push((variable.to_owned(), format!("127.0.0.1:{port}")));
            }
        }
        let port = self.port(&metrics_of(name))?;
        settings.push(("CALLBUS__TELEMETRY__METRICS".to_owned(), format!("127.0.0.1:{port}")));
        settings.extend(self.key_of(role));
        settings.extend(self.set.get(name).into_iter().flatten().cloned());
        let arguments: &[&str] = if role == "all" { &[] } else { &[role] };
        self.starts += 1;
        let log = self.directory.path().join(format!("{name}.{}.log", self.starts));
        let command = match self.under.get(name).map(Vec::as_slice) {
            Some([under, words @ ..]) => {
                let mut command = Command::new(under);
                command.args(words).arg(&self.program);
                command
            }
            Some([]) | None => Command::new(&self.program),
        };
        let started = role::start(command, &self.config(), arguments, &settings, log)?;
        self.roles.insert(name.to_owned(), started);
        Ok(())
    }

    /// Starts all that decides anew, from an example that is callbus with handlers of its own.
    pub fn decide_by(&mut self, example: &str) -> Result<()> {
        self.program = binary()?.with_file_name("examples").join(example);
        for name in self.deciding() {
            self.terminate(&name)?;
            self.start(&name)?;
        }
        self.program = binary()?;
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.roles.remove(name).with_context(|| format!("{name} is not running"))?.kill();
        Ok(())
    }

    /// `STOP` freezes it, `CONT` has it go on.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        self.roles.get(name).with_context(|| format!("{name} is not running"))?.signal(signal)
    }

    /// SIGTERM, and wait for the drain.
    pub fn terminate(&mut self, name: &str) -> Result<()> {
        let status = self.roles.remove(name).with_context(|| format!("{name} is not running"))?.terminate()?;
        if status.success() { Ok(()) } else { bail!("{name} ended with {status}") }
    }

    /// What a command needs to know of this installation, beside its configuration file.
    fn command_settings(&self) -> Result<Vec<(String, String)>> {
        let (data, ingress) = if self.is_embedded() { ("all", "ingress") } else { ("api", "ingress-1") };
        let port = |name: &str| self.ports.get(name).with_context(|| format!("{name} was never started"));
        let settings = [
            ("CALLBUS__DATA_DIR".to_owned(), self.data(data).display().to_string()),
            ("CALLBUS__INGRESS__LISTEN".to_owned(), format!("127.0.0.1:{}", port(ingress)?)),
            ("CALLBUS__API__LISTEN".to_owned(), format!("127.0.0.1:{}", port("api")?)),
        ];
        Ok(settings.into_iter().chain(self.key_of("api")).collect())
    }

    /// Types a command, beside the configuration file.
    pub fn callbus(&self, arguments: &[&str]) -> Result<Output> {
        let settings = self.command_settings()?;
        let mut command = Command::new(binary()?);
        command.current_dir(self.directory.path()).envs(settings).args(arguments);
        command.output().context("run callbus")
    }

    /// Types a command as another user of the broker.
    pub fn callbus_as(&self, user: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.current_dir(self.directory.path()).envs(self.command_settings()?).envs(self.key_of(user));
        command.args(arguments).output().context("run callbus")
    }

    /// Kills everything, and takes every disk it had. The servers run again, and are empty.
    pub fn lose_everything(&mut self) -> Result<()> {
        self.roles.clear();
        fs::remove_dir_all(self.directory.path().join("data"))?;
        if let Place::Nats { nats, redis } = &mut self.place {
            nats.lose_everything()?;
            nats.restart()?;
            redis.restart()?;
        }
        Ok(())
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.file(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self.place, Place::Embedded)
    }

    /// The processes that decide.
    pub fn deciding(&self) -> Vec<String> {
        self.roles.keys().filter(|name| *name == "all" || name.starts_with("worker")).cloned().collect()
    }

    /// How many workers run.
    pub fn workers(&self) -> usize {
        self.deciding().len()
    }

    /// What a role counts, or says of its health, at a path of its own listener.
    pub async fn scrape(&self, name: &str, path: &str) -> Result<String> {
        let port = self.ports.get(&metrics_of(name)).with_context(|| format!("{name} was never started"))?;
        Ok(self.http.get(format!("http://127.0.0.1:{port}{path}")).send().await?.text().await?)
    }

    /// The processes that run.
    pub fn running(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// All a role has printed since it started.
    pub fn said(&self, name: &str) -> Result<String> {
        self.roles.get(name).with_context(|| format!("{name} is not running"))?.said()
    }

    /// Everything drains, the doors first.
    pub fn stop(&mut self) -> Result<()> {
        let mut names: Vec<String> = self.roles.keys().cloned().collect();
        names.sort_by_key(|name| !(name.starts_with("ingress") || name.starts_with("api")));
        names.iter().try_for_each(|name| self.terminate(name))
    }

    pub fn servers(&mut self) -> Result<(&mut Nats, &mut Redis)> {
        match &mut self.place {
            Place::Nats { nats, redis } => Ok((nats, redis)),
            Place::Embedded => bail!("the embedded installation has no servers"),
        }
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.path().join("data").join(name)
    }

    fn port(&mut self, name: &str) -> Result<u16> {
        if let Some(port) = self.ports.get(name) {
            return Ok(*port);
        }
        let port = ports::free()?;
        self.ports.insert(name.to_owned(), port);
        Ok(port)
    }

    /// Where an ingress takes callbacks.
    pub fn callbacks(&self, ingress: &str) -> String {
        let port = self.ports.get(ingress).or_else(|| self.ports.get("ingress")).copied().unwrap_or_default();
        format!("http://127.0.0.1:{port}/callbacks")
    }

    /// Where an address of the API is.
    pub fn api(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.get("api").copied().unwrap_or_default())
    }

    /// A platform that calls the first ingress.
    pub fn platform(&self, seed: u64) -> Result<Platform> {
        self.platform_at("ingress-1", seed)
    }

    pub fn platform_at(&self, ingress: &str, seed: u64) -> Result<Platform> {
        Ok(Platform::new(PlatformConfig {
            callback_url: self.callbacks(ingress),
            fallback_url: None,
            app_key: APP_KEY.parse()?,
            secret: AppSecret::from_base64(APP_SECRET)?,
            seed,
            timeout: simulator::DEFAULT_TIMEOUT,
            age_max: simulator::DEFAULT_AGE_MAX,
            now,
        })?)
    }

    /// What the API says at a path.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.ask(self.http.get(self.api(path))).await?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(body)
    }

    /// What the API makes of a body: the status, and what it says.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.ask(self.http.post(self.api(path)).json(body)).await
    }

    /// The same, of a body that is put.
    pub async fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.ask(self.http.put(self.api(path)).json(body)).await
    }

    /// What the API says to a removal.
    pub async fn delete(&self, path: &str) -> Result<(u16, Value)> {
        self.ask(self.http.delete(self.api(path))).await
    }

    /// An order for a call: under a key, and as a form where it is not JSON.
    pub async fn order(&self, path: &str, key: Option<&str>, body: &Value) -> Result<(u16, Value)> {
        let request = self.http.post(self.api(path));
        let request = match body.as_str() {
            Some(form) => request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned()),
            None => request.json(body),
        };
        self.ask(key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))).await
    }

    /// Asks the API, whose replies are always as the OpenAPI document says.
    async fn ask(&self, request: RequestBuilder) -> Result<(u16, Value)> {
        let request = request.bearer_auth("token-of-the-stories").build()?;
        let (verb, path) = (request.method().as_str().to_lowercase(), request.url().path().to_owned());
        let reply = self.http.execute(request).await?;
        let status = reply.status().as_u16();
        let media_type = reply.headers()["content-type"].to_str()?.to_owned();
        let body = reply.json().await?;
        self.openapi.check(&verb, &path, status, &media_type, &body)?;
        Ok((status, body))
    }

    /// Money for a wallet, posted under an id of its own.
    pub async fn top_up(&self, wallet: &str, amount: &str) -> Result<()> {
        let order = json!({ "id": format!("top-up-{amount}"), "amount": amount, "currency": "EUR", "note": "story" });
        let (status, said) = self.post(&format!("/v1/wallets/{wallet}/topups"), &order).await?;
        ensure!([200, 201].contains(&status), "top up {wallet}: {status} {said}");
        Ok(())
    }

    /// The log itself, opened for reading.
    pub async fn log(&self) -> Result<Bus> {
        Ok(match &self.place {
            Place::Embedded => Bus::embedded_read_only(&self.data("all"))?,
            Place::Nats { nats, .. } => Bus::nats(nats.config("story")?).await?,
        })
    }

    /// The broker's log, with the rights of a role: to write what the role would.
    pub async fn log_as(&self, role: &str) -> Result<Bus> {
        let Place::Nats { nats, .. } = &self.place else { bail!("the embedded log is another process's") };
        Ok(Bus::nats(nats.config_as(role, "story")?).await?)
    }

    /// All events of a call, in order.
    pub async fn events(&self, call: &CallId) -> Result<Vec<Event>> {
        let log = self.log().await?;
        let partition = Filter::Partition(Partition::of(call));
        let all: Vec<_> = log.read(&partition, 0).try_collect().await?;
        Ok(all.into_iter().map(|recorded| recorded.event).filter(|event| event.about == call.as_str()).collect())
    }

    /// Where the log of the calls ends.
    pub async fn events_total(&self) -> Result<u64> {
        Ok(self.log().await?.last_seq(&Filter::All(Stream::Calls)).await?)
    }

    /// The bodies of a call's events of one kind.
    async fn bodies<T: serde::de::DeserializeOwned>(&self, call: &CallId, kind: Kind) -> Result<Vec<T>> {
        let events = self.events(call).await?.into_iter();
        let wanted = events.filter(|event| matches!(&event.subject, Subject::Call { kind: k, .. } if *k == kind));
        wanted.map(|event| Ok(serde_json::from_slice(&event.data)?)).collect()
    }

    pub async fn decisions(&self, call: &CallId) -> Result<Vec<Decided>> {
        self.bodies(call, Kind::Decided).await
    }

    /// The CDR, once billing has written it.
    pub async fn cdr(&self, call: &CallId) -> Result<Settled> {
        eventually("the call is settled", async || {
            let mut cdrs: Vec<Settled> = self.bodies(call, Kind::Settled).await?;
            Ok(cdrs.pop())
        })
        .await
    }

    /// Until billing has done all that is in the log now.
    pub async fn billing_caught_up(&self) -> Result<()> {
        let (log, calls) = (self.log().await?, Filter::All(Stream::Calls));
        let end = log.last_seq(&calls).await?;
        eventually("billing has caught up", async || Ok((billing::floor(&log).await? >= end).then_some(()))).await
    }

    /// The wallet as its events make it.
    pub async fn wallet(&self, id: &str) -> Result<Wallet> {
        Ok(billing::fold(&self.log().await?, &WalletId::new(id)?).await?)
    }
}

fn metrics_of(name: &str) -> String {
    format!("metrics of {name}")
}

/// The time of day, as the stories' platform reads it.
pub fn now() -> Timestamp {
    Clock::System.now()
}

/// An HTTP client; reqwest is built without a crypto library of its own.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Waits for something that must come true.
pub async fn eventually<T>(what: &str, check: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await? {
            return Ok(found);
        }
        if started.elapsed() > EVENTUALLY {
            bail!("it did not come true that {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
