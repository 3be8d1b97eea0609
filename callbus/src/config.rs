//! The configuration: one TOML file, the environment over it, secrets in files of their own.
//!
//! [`file`](mod@file) is the file's shape, [`overlay`] puts the environment over it, and [`Config`] is what is left
//! when all names are resolved. Unknown keys and unsafe combinations are refused ([`fault`],
//! [`Config::refuse_unsafe`]). Secrets and policies are read by the roles that need them, so that no other process must
//! be able to.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::Durability;
use ingress::Fallback;
use jiff::SignedDuration;
use outbound::IpNet;
use proto::signature::AppSecret;
use proto::{AppKey, AppName, WalletId};

use crate::cli::Role;
use crate::environment::Environment;
use fault::Fault;

pub(crate) mod fault;
mod file;
mod overlay;
pub(crate) mod protection;
pub(crate) mod secret;

use secret::Secret;

/// Asks one worker works on at the same time.
const CONCURRENCY_MAX: usize = 256;
/// The least of which a majority outlives one.
const REPLICAS_MIN: usize = 3;
/// The price list of an app that names none.
const DECK: &str = "standard";

/// What this process is told to be.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The file all of this came from.
    pub file: PathBuf,
    pub data_dir: PathBuf,
    pub ingress: Ingress,
    pub api: Api,
    pub bus: Bus,
    pub admission: Admission,
    pub concurrency_max: usize,
    /// Among how many groups the calls are shared out to billing processes.
    pub billing_groups: u8,
    /// The same for delivery processes.
    pub delivery_groups: u8,
    /// Networks within which rules may ask elsewhere, though they are not public.
    pub outbound_allow: Vec<IpNet>,
    /// Whether `http` will do there and anywhere.
    pub outbound_plain_http: bool,
    /// Base address of the platform's REST API; none: it is never asked how a call ended.
    pub platform: Option<String>,
    /// PostgreSQL, where the tables are; none: a file in the data directory of the process that serves the API.
    pub views: Option<Secret>,
    /// Base address of the collector traces go to; none: nothing is traced.
    pub otlp: Option<String>,
    /// Where `/metrics` is served; none: nothing is counted.
    pub metrics: Option<SocketAddr>,
    pub apps: Vec<App>,
}

#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    pub listen: SocketAddr,
    pub path: String,
    /// None: of any age.
    pub max_age: Option<SignedDuration>,
    pub public_prefix: String,
    pub body_bytes_max: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub listen: SocketAddr,
    /// Where commands find it; none: where it listens.
    pub url: Option<String>,
    /// None: made at the first start, in the data directory.
    pub token: Option<Secret>,
    /// What ids of callback profiles begin with.
    pub region: String,
}

/// One Sinch application.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub name: AppName,
    pub key: AppKey,
    pub secret: Secret,
    pub old_secrets: Vec<Secret>,
    /// None: what is pushed decides.
    pub policy: Option<PathBuf>,
    pub wallet: WalletId,
    pub deck: String,
    pub fallback: Fallback,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bus {
    Embedded,
    Nats(Nats),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nats {
    pub url: String,
    pub replicas: usize,
    pub durability: Durability,
    /// The broker's.
    pub sync_interval: Duration,
    /// The seed of this process's own key; none where the broker lets everybody in.
    pub nkey_file: Option<PathBuf>,
    /// With it the connection must be TLS.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    Memory,
    Redis { url: String },
}

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// When there is no file, or anything in it is not understood, with the place.
    pub(crate) fn load(path: &Path, environment: &Environment) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(path).map_err(|cause| Fault::unreadable(path, &cause))?;
        let file = overlay::read(path, &text, environment)?;
        Self::resolve(path, file)
    }

    /// A role without anything to do, or whose settings would lose money or calls, does not start.
    ///
    /// # Errors
    /// With the reason.
    pub(crate) fn refuse_unsafe(&self, role: Role) -> Result<(), Fault> {
        if self.apps.is_empty() && (role.does(Role::Ingress) || role.does(Role::Worker)) {
            let todo = "add a block with name, key, secret and policy";
            return Err(Fault::setting("[[apps]]", "there is no app to take callbacks for", todo));
        }
        if role == Role::Views && self.views.is_none() && matches!(self.bus, Bus::Nats(_)) {
            return Err(Fault::setting(
                "[views] url",
                "it is missing, so views would write a file that nobody else reads",
                "write url = \"postgres://user:password@host/database\"; without it the api keeps tables of its own",
            ));
        }
        if let Bus::Nats(nats) = &self.bus
            && nats.durability == Durability::Replicated
            && nats.replicas < REPLICAS_MIN
        {
            return Err(Fault::setting(
                "[bus] durability = \"replicated\"",
                format!("with replicas = {} the log cannot lose one and go on", nats.replicas),
                "set replicas = 3, for a cluster of three; or leave durability out",
            ));
        }
        match (&self.bus, &self.admission, role) {
            (
                Bus::Embedded,
                _,
                Role::Ingress | Role::Worker | Role::Billing | Role::Delivery | Role::Views | Role::Api,
            ) => Err(Fault::setting(
                "[bus] kind = \"embedded\"",
                format!("the embedded bus lives in one process, so a {role} of its own would reach nobody"),
                "run `callbus` without a role, or set [bus] kind = \"nats\"",
            )),
            (Bus::Nats(_), Admission::Memory, Role::Ingress | Role::Worker | Role::Billing | Role::Api) => {
                Err(Fault::setting(
                    "[admission] kind = \"memory\"",
                    "each process would hold credit by itself, and a wallet could be spent twice",
                    "set [admission] kind = \"redis\" with its url, or run all roles in one process (`callbus`)",
                ))
            }
            (Bus::Embedded, _, Role::All) if self.billing_groups.max(self.delivery_groups) > 1 => Err(Fault::setting(
                if self.billing_groups > 1 { "[billing] groups" } else { "[delivery] groups" },
                "the embedded bus lives in one process, so there is nobody to share the calls with",
                "leave it out, or set [bus] kind = \"nats\"",
            )),
            (Bus::Embedded, Admission::Memory | Admission::Redis { .. }, Role::All)
            | (Bus::Nats(_), Admission::Memory, Role::All | Role::Delivery | Role::Views)
            | (Bus::Nats(_), Admission::Redis { .. }, _) => Ok(()),
        }
    }

    /// Where callbacks are taken, as somebody on this machine reaches it.
    pub(crate) fn callback_url(&self) -> String {
        format!("http://{}{}", reachable(self.ingress.listen), self.ingress.path)
    }

    /// Where the process of this configuration itself serves the API.
    pub(crate) fn api_listener(&self) -> String {
        format!("http://{}", reachable(self.api.listen))
    }

    /// Where commands find the API.
    pub(crate) fn api_url(&self) -> String {
        self.api.url.clone().unwrap_or_else(|| self.api_listener())
    }

    fn resolve(path: &Path, file: file::File) -> Result<Self, Fault> {
        let base = path.parent().unwrap_or(Path::new(""));
        let mut apps = Vec::new();
        for (index, app) in file.apps.into_iter().enumerate() {
            apps.push(App::resolve(base, index, app)?);
        }
        refuse_twins(&apps)?;
        let bus = match (file.bus.kind, file.bus.url) {
            (file::BusKind::Embedded, _) => Bus::Embedded,
            (file::BusKind::Nats, Some(url)) => Bus::Nats(Nats {
                url,
                replicas: file.bus.replicas.get().into(),
                durability: match file.bus.durability {
                    file::Durability::Local => Durability::Local,
                    file::Durability::Replicated => Durability::Replicated,
                },
                sync_interval: file.bus.sync_interval.0,
                nkey_file: file.bus.nkey_file.map(|file| base.join(file)),
                ca_file: file.bus.ca_file.map(|file| base.join(file)),
            }),
            (file::BusKind::Nats, None) => {
                return Err(Fault::setting("[bus] url", "it is missing", "write url = \"nats://host:4222\""));
            }
        };
        let admission = match (file.admission.kind, file.admission.url) {
            (file::AdmissionKind::Memory, _) => Admission::Memory,
            (file::AdmissionKind::Redis, Some(url)) => Admission::Redis { url },
            (file::AdmissionKind::Redis, None) => {
                return Err(Fault::setting("[admission] url", "it is missing", "write url = \"redis://host:6379\""));
            }
        };
        let views = Secret::either(base, "[views] url", file.views.url, file.views.url_file)?;
        let token = Secret::either(base, "[api] token", file.api.token, file.api.token_file)?;
        Ok(Self {
            file: path.to_owned(),
            data_dir: base.join(file.data_dir),
            ingress: Ingress {
                listen: file.ingress.listen.0,
                path: file.ingress.path.0,
                max_age: file.ingress.max_age.0,
                public_prefix: file.ingress.public_prefix.trim_end_matches('/').to_owned(),
                body_bytes_max: file.ingress.body_bytes_max,
            },
            api: Api {
                listen: file.api.listen.0,
                url: file.api.url.map(|base| base.0),
                token,
                region: file.api.region.0,
            },
            bus,
            admission,
            concurrency_max: file.worker.concurrency_max.map_or(CONCURRENCY_MAX, Into::into),
            billing_groups: file.billing.groups.0,
            delivery_groups: file.delivery.groups.0,
            outbound_plain_http: file.outbound.plain_http,
            outbound_allow: file.outbound.allow.into_iter().map(|network| network.0).collect(),
            platform: file.platform.url.map(|base| base.0),
            views,
            otlp: file.telemetry.otlp.map(|collector| collector.0),
            metrics: file.telemetry.metrics.map(|listen| listen.0),
            apps,
        })
    }
}

impl App {
    fn resolve(base: &Path, index: usize, app: file::App) -> Result<Self, Fault> {
        let named = app.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let place = |key: &str| format!("[[apps]] number {}{named}, {key}", index + 1);
        let missing = |key: &str, todo: &str| Fault::setting(place(key), "it is missing", todo);
        let name = app.name.clone().ok_or_else(|| missing("name", "write a short name, such as \"acme\""))?;
        let key = app.key.ok_or_else(|| missing("key", "copy the application key from the Sinch dashboard"))?;
        let secret = Secret::either(base, &place("secret"), app.secret, app.secret_file)?
            .ok_or_else(|| missing("secret", "copy it from the Sinch dashboard, or name a file: secret_file"))?;
        let wallet = match app.wallet {
            Some(wallet) => wallet,
            None => WalletId::new(name.as_str())
                .map_err(|error| Fault::setting(place("wallet"), error.to_string(), "name the app's wallet"))?,
        };
        let fallback = match (app.on_failure, app.fallback_say) {
            (file::OnFailure::Error, _) => Fallback::Error,
            (file::OnFailure::Say, Some(text)) => Fallback::Say(text),
            (file::OnFailure::Say, None) => Fallback::default(),
        };
        Ok(Self {
            name,
            key,
            secret,
            old_secrets: app.old_secrets.into_iter().map(Secret::Text).collect(),
            policy: app.policy.map(|policy| base.join(policy)),
            wallet,
            deck: app.deck.map_or_else(|| DECK.to_owned(), Into::into),
            fallback,
        })
    }

    /// The current secret first, then former ones.
    ///
    /// # Errors
    /// When one cannot be read, or is not base64.
    pub(crate) fn secrets(&self) -> Result<Vec<AppSecret>, Fault> {
        let place = || format!("the secret of the app {}", self.name);
        let read = |secret: &Secret| {
            let text = secret.read().map_err(|(cause, todo)| Fault::setting(place(), cause, todo))?;
            AppSecret::from_base64(&text)
                .map_err(|error| Fault::setting(place(), "it is not base64", error.to_string()))
        };
        std::iter::once(&self.secret).chain(&self.old_secrets).map(read).collect()
    }
}

/// Two apps of one name or key could not be told apart.
fn refuse_twins(apps: &[App]) -> Result<(), Fault> {
    let (mut names, mut keys) = (HashSet::new(), HashSet::new());
    for app in apps {
        if !names.insert(app.name.as_str()) {
            let todo = "give each app a name of its own";
            return Err(Fault::setting("[[apps]] name", format!("{} stands twice", app.name), todo));
        }
        if !keys.insert(app.key.folded()) {
            let what = format!("the app {} has the key of another", app.name);
            return Err(Fault::setting("[[apps]] key", what, "give each app its own"));
        }
    }
    Ok(())
}

/// The address by which this machine reaches a listener.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests;
