//! The shape of `callbus.toml`. Everything may be left out; what must not be is asked for when names are resolved, so
//! that the environment can give it.

use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use outbound::IpNet;
use proto::{AppKey, AppName, WalletId};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub data_dir: PathBuf,
    pub ingress: Ingress,
    pub api: Api,
    pub apps: Vec<App>,
    pub bus: Bus,
    pub admission: Admission,
    pub worker: Worker,
    pub billing: Billing,
    pub delivery: Delivery,
    pub outbound: Outbound,
    pub platform: Platform,
    pub views: Views,
    pub telemetry: Telemetry,
}

impl Default for File {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("callbus-data"),
            ingress: Ingress::default(),
            api: Api::default(),
            apps: Vec::new(),
            bus: Bus::default(),
            admission: Admission::default(),
            worker: Worker::default(),
            billing: Billing::default(),
            delivery: Delivery::default(),
            outbound: Outbound::default(),
            platform: Platform::default(),
            views: Views::default(),
            telemetry: Telemetry::default(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ingress {
    pub listen: Listen,
    pub path: CallbackPath,
    pub max_age: MaxAge,
    pub public_prefix: String,
    pub body_bytes_max: usize,
}

impl Default for Ingress {
    fn default() -> Self {
        let defaults = ingress::Settings::new(([127, 0, 0, 1], 8080).into());
        Self {
            listen: Listen(defaults.listen),
            path: CallbackPath(defaults.path),
            max_age: MaxAge(defaults.max_age),
            public_prefix: defaults.public_prefix,
            body_bytes_max: defaults.body_bytes_max,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Api {
    pub listen: Listen,
    pub url: Option<HttpBase>,
    pub token: Option<String>,
    pub token_file: Option<PathBuf>,
    pub region: Region,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: Listen(([127, 0, 0, 1], 8081).into()),
            url: None,
            token: None,
            token_file: None,
            region: Region("EU".to_owned()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct App {
    pub name: Option<AppName>,
    pub key: Option<AppKey>,
    pub secret: Option<String>,
    pub secret_file: Option<PathBuf>,
    pub old_secrets: Vec<String>,
    pub policy: Option<PathBuf>,
    pub wallet: Option<WalletId>,
    /// Named as apps are.
    pub deck: Option<AppName>,
    pub fallback_say: Option<String>,
    pub on_failure: OnFailure,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnFailure {
    #[default]
    Say,
    Error,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bus {
    pub kind: BusKind,
    pub url: Option<String>,
    pub replicas: NonZeroU8,
    pub durability: Durability,
    pub sync_interval: SyncInterval,
    pub nkey_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            kind: BusKind::Embedded,
            url: None,
            replicas: NonZeroU8::MIN,
            durability: Durability::Local,
            sync_interval: SyncInterval::default(),
            nkey_file: None,
            ca_file: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Durability {
    Local,
    Replicated,
}

/// As in the broker's own configuration: a time such as `250ms`, or `always`, which is none.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SyncInterval(pub Duration);

impl Default for SyncInterval {
    /// The broker's own.
    fn default() -> Self {
        Self(Duration::from_secs(120))
    }
}

impl TryFrom<String> for SyncInterval {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self(Duration::ZERO));
        }
        let interval = text.parse::<SignedDuration>().ok().and_then(|interval| interval.try_into().ok());
        interval.map(Self).ok_or_else(|| format!("{text:?} is not a time: write \"250ms\", \"2m\" or \"always\""))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BusKind {
    Embedded,
    Nats,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admission {
    pub kind: AdmissionKind,
    pub url: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AdmissionKind {
    #[default]
    Memory,
    Redis,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Worker {
    pub concurrency_max: Option<NonZeroUsize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Billing {
    pub groups: Groups,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Delivery {
    pub groups: Groups,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Outbound {
    pub allow: Vec<Network>,
    pub plain_http: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Platform {
    pub url: Option<HttpBase>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Views {
    pub url: Option<String>,
    pub url_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    pub otlp: Option<HttpBase>,
    pub metrics: Option<Listen>,
}

/// `host:port`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Listen(pub SocketAddr);

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse();
        address.map(Self).map_err(|_| format!("{text:?} is not an address: write ip:port, such as \"127.0.0.1:8080\""))
    }
}

/// Among how many groups the calls are shared out.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u8")]
pub(super) struct Groups(pub u8);

impl Default for Groups {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for Groups {
    type Error = String;
    fn try_from(groups: u8) -> Result<Self, String> {
        let can = bus::Groups::COUNTS.contains(&groups);
        can.then_some(Self(groups)).ok_or_else(|| format!("{groups} groups cannot be: write 1, 2, 4, 8 or 16"))
    }
}

/// A path that begins with `/`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct CallbackPath(pub String);

impl TryFrom<String> for CallbackPath {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['?', '#']) {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not a path: begin it with '/', such as \"/callbacks\""))
        }
    }
}

/// `address/bits`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is not a network: write \"10.0.0.0/8\""))
    }
}

/// Where a server is, without the paths under it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HttpBase(pub String);

impl TryFrom<String> for HttpBase {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match reqwest::Url::parse(&text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(Self(text.trim_end_matches('/').to_owned())),
            Ok(_) | Err(_) => Err(format!("{text:?} is not the address of a server: write \"http://host:port\"")),
        }
    }
}

/// What ids of callback profiles begin with.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Region(pub String);

impl TryFrom<String> for Region {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if delivery::is_region(&text) {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is not a region: write 2 to 8 capital letters, such as \"EU\""))
    }
}

/// A time such as `5m`, or `off`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct MaxAge(pub Option<SignedDuration>);

impl TryFrom<String> for MaxAge {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        match text.parse::<SignedDuration>() {
            Ok(age) if age.is_positive() => Ok(Self(Some(age))),
            Ok(_) | Err(_) => Err(format!("{text:?} is not a time: write \"5m\", \"90s\" or \"off\"")),
        }
    }
}
