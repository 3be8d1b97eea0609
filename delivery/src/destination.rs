//! A destination: what an operator asks for, and the fold of its events that is in force.

use std::collections::BTreeMap;

use jiff::Timestamp;
use outbound::{BadUrl, check_header};
use policy::Condition;
use proto::{AppName, Connector, DeliveryMethod, DestinationChanged, DestinationName, DestinationPut, Kind, RetryPlan};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::crm::{Credentials, Crm, usual_url};
use crate::plan::{PAUSE_SECS_MAX, PAUSES_MAX};
use crate::signing::{BadSecret, SigningSecret};

const TIMEOUT_SECS: u16 = 30;
const TIMEOUT_SECS_MAX: u16 = 60;
const CONCURRENCY: u16 = 8;
const CONCURRENCY_MAX: u16 = 256;
const RATE_PER_SEC_MAX: u32 = 10_000;
pub(crate) const HEADERS_MAX: usize = 16;
pub(crate) const HEADER_BYTES_MAX: usize = 4096;
const CREDENTIALS_MAX: usize = 16;
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;
/// What we say ourselves, beside what belongs to the connection.
const OUR_HEADERS: [&str; 2] = ["content-type", "user-agent"];

/// What an operator asks for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationSpec {
    /// Of HubSpot it may be left out.
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub to: Connector,
    #[serde(default = "post")]
    pub method: DeliveryMethod,
    /// A CRM has a call's end alone, and need not name it.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    #[serde(default)]
    pub apps: Vec<AppName>,
    #[serde(default)]
    pub when: String,
    #[serde(default = "lasting")]
    pub retry: RetryPlan,
    #[serde(default = "timeout_secs")]
    pub timeout_secs: u16,
    #[serde(default = "concurrency")]
    pub concurrency_max: u16,
    #[serde(default)]
    pub rate_per_sec: Option<u32>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What a CRM wants to know; without it what is in force stays, as long as they go to the same address.
    #[serde(default)]
    pub credentials: Option<BTreeMap<String, String>>,
    /// `whsec_…`; without it the one in force stays, and a new destination gets one made for it.
    #[serde(default)]
    pub secret: Option<String>,
}

/// It cannot be a destination.
#[derive(Debug, thiserror::Error)]
pub enum BadDestination {
    #[error("url: {0}; networks that are not public are allowed with [outbound] allow")]
    Url(#[from] BadUrl),
    #[error(
        "its name begins as those of callback profiles and plain addresses do; take another than profile-…, url-… and urls"
    )]
    Reserved,
    #[error("kinds: name at least one of {}", kinds())]
    NoKind,
    #[error("when: {0}")]
    When(String),
    #[error("retry: a table has 1 to {PAUSES_MAX} pauses of 1 to {PAUSE_SECS_MAX} seconds")]
    Retry,
    #[error("{what} is 1 to {max}")]
    Range { what: &'static str, max: u32 },
    #[error(
        "headers: {0:?} cannot be set; at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes are, and none of ours"
    )]
    Header(String),
    #[error("secret: {0}")]
    Secret(#[from] BadSecret),
    #[error("{0:?}: there is a … in it, as in an example; write what it stands for")]
    Elided(String),
    #[error("{what}: a CRM is written to by its own rules; leave it out")]
    OfWebhooks { what: &'static str },
    #[error("a CRM is not signed for; put it with new credentials instead")]
    NotSigned,
    #[error("{0}")]
    Crm(String),
}

impl DestinationSpec {
    /// With what need not be said.
    pub(crate) fn whole(mut self) -> Self {
        if self.url.is_empty() {
            usual_url(&self.to).clone_into(&mut self.url);
        }
        if !self.to.is_webhook() && self.kinds.is_empty() {
            self.kinds.push(Kind::Settled);
        }
        self
    }

    /// All that can be told without looking its name up.
    pub(crate) fn check(&self) -> Result<Option<SigningSecret>, BadDestination> {
        if !self.to.is_webhook() {
            for (what, is_given) in [
                ("kinds", self.kinds != [Kind::Settled]),
                ("method", self.method != DeliveryMethod::Post),
                ("headers", !self.headers.is_empty()),
                ("secret", self.secret.is_some()),
            ] {
                if is_given {
                    return Err(BadDestination::OfWebhooks { what });
                }
            }
        }
        if self.kinds.is_empty() {
            return Err(BadDestination::NoKind);
        }
        if !self.when.is_empty() {
            Condition::parse(&self.when).map_err(BadDestination::When)?;
        }
        if let RetryPlan::Table(table) = &self.retry
            && (!(1..=PAUSES_MAX).contains(&table.len())
                || table.iter().any(|secs| !(1..=PAUSE_SECS_MAX).contains(secs)))
        {
            return Err(BadDestination::Retry);
        }
        for (what, value, max) in [
            ("timeout_secs", self.timeout_secs.into(), TIMEOUT_SECS_MAX.into()),
            ("concurrency_max", self.concurrency_max.into(), CONCURRENCY_MAX.into()),
            ("rate_per_sec", self.rate_per_sec.unwrap_or(1), RATE_PER_SEC_MAX),
        ] {
            if !(1..=max).contains(&value) {
                return Err(BadDestination::Range { what, max });
            }
        }
        if let Some(name) = bad_header(&self.headers) {
            return Err(BadDestination::Header(name.chars().take(80).collect()));
        }
        let mut secrets = self.headers.iter().chain(self.credentials.iter().flatten());
        if let Some((name, _)) = secrets.find(|(_, value)| is_elided(value)) {
            return Err(BadDestination::Elided(name.chars().take(80).collect()));
        }
        Ok(self.secret.as_deref().map(SigningSecret::parse).transpose()?)
    }

    /// Whether the credentials, and what is to be done with them, are such that a CRM can be written to. `before`: the
    /// destination of its name, whose credentials stay where none are given; elsewhere they are not sent.
    pub(crate) fn check_crm(&self, before: Option<&DestinationPut>) -> Result<(), BadDestination> {
        let kept = || {
            let before = before.filter(|before| self.keeps_credentials_of(before))?;
            Some(before.credentials.iter().map(|name| (name.clone(), "…".to_owned())).collect())
        };
        let credentials: Credentials = self.credentials.clone().or_else(kept).unwrap_or_default();
        let bytes: usize = credentials.iter().map(|(name, value)| name.len() + value.len()).sum();
        if credentials.len() > CREDENTIALS_MAX || bytes > CREDENTIAL_BYTES_MAX {
            let most =
                format!("credentials: at most {CREDENTIALS_MAX} of {CREDENTIAL_BYTES_MAX} bytes in all are kept");
            return Err(BadDestination::Crm(most));
        }
        Crm::parse(&self.to, &self.url, credentials).map(drop).map_err(BadDestination::Crm)
    }

    pub(crate) fn keeps_credentials_of(&self, before: &DestinationPut) -> bool {
        self.credentials.is_none() && self.url == before.url && self.to.as_str() == before.to.as_str()
    }
}

/// A destination as its events make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub name: DestinationName,
    pub put: DestinationPut,
    pub paused: bool,
    /// When it was first put.
    pub since: Timestamp,
    /// Its deliveries are in `DELIVERIES` after this sequence; what is before was about another of its name, removed.
    pub deliveries_seq: u64,
    /// Events of the calls up to this sequence are not for it.
    pub from_seq: u64,
    /// Place of its newest event in the stream `CONFIG`.
    pub seq: u64,
    /// From here on it is tried again, whatever happened before.
    pub tried_anew_at: Timestamp,
}

impl Destination {
    /// The fold. `None`: there is none, or none any more.
    pub(crate) fn apply(
        before: Option<Self>,
        name: &DestinationName,
        seq: u64,
        at: Timestamp,
        changed: DestinationChanged,
    ) -> Option<Self> {
        match (changed, before) {
            (DestinationChanged::Put(put), before) => {
                let (since, deliveries_seq, from_seq, paused) = match before {
                    Some(before) => (before.since, before.deliveries_seq, before.from_seq, before.paused),
                    None => (at, put.deliveries_seq, put.from_seq, false),
                };
                let (name, put, tried_anew_at) = (name.clone(), *put, at);
                Some(Self { name, put, paused, since, deliveries_seq, from_seq, seq, tried_anew_at })
            }
            (DestinationChanged::Paused { .. }, Some(before)) => Some(Self { paused: true, seq, ..before }),
            (DestinationChanged::Resumed { .. }, Some(before)) => {
                Some(Self { paused: false, seq, tried_anew_at: at, ..before })
            }
            (DestinationChanged::Removed { .. }, _)
            | (DestinationChanged::Paused { .. } | DestinationChanged::Resumed { .. }, None) => None,
        }
    }
}

/// Whether a secret is one of an example, which the pages cut short.
pub(crate) fn is_elided(secret: &str) -> bool {
    secret.contains('…')
}

/// The first header that cannot be set.
pub(crate) fn bad_header(headers: &BTreeMap<String, String>) -> Option<&str> {
    let mut bytes = 0;
    let bad = |(index, (name, value)): &(usize, (&String, &String))| {
        bytes += name.len() + value.len();
        let folded = name.to_ascii_lowercase();
        let twice = headers.keys().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1;
        let ours = OUR_HEADERS.contains(&&*folded) || folded.starts_with("webhook-") || folded.starts_with("ce-");
        check_header(name).is_err()
            || twice
            || ours
            || *index >= HEADERS_MAX
            || bytes > HEADER_BYTES_MAX
            || value.chars().any(char::is_control)
    };
    headers.iter().enumerate().find(bad).map(|(_, (name, _))| name.as_str())
}

fn kinds() -> String {
    Kind::ALL.map(Kind::as_str).join(", ")
}

fn post() -> DeliveryMethod {
    DeliveryMethod::Post
}

fn lasting() -> RetryPlan {
    RetryPlan::Lasting
}

fn timeout_secs() -> u16 {
    TIMEOUT_SECS
}

fn concurrency() -> u16 {
    CONCURRENCY
}
