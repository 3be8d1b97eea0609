//! The platform: one application, its callback URLs, and the calls that come in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proto::signature::AppSecret;
use proto::{AppKey, CallId};
use reqwest::Url;

use crate::bodies::{CallFacts, Money};
use crate::call::Call;
use crate::http::{Http, NoReply, Reply, SignWith};
use crate::lines::Lines;
use crate::register::Register;
use crate::report::{CallReport, Step};
use crate::script::CallScript;
use crate::seed::Choices;

/// Sinch's patience with a callback: version 2 states it, version 1 states nothing.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// No document says how old a signed request may be, only that there is an age; this is the usual one.
pub const DEFAULT_AGE_MAX: SignedDuration = SignedDuration::from_mins(5);
/// What the simulated platform charges in.
const CURRENCY: &str = "EUR";

/// One application as the dashboard has it, and how the simulation runs.
#[derive(Debug, Clone)]
pub struct PlatformConfig {
    /// Where callbacks go: `http(s)://host[:port]/path`.
    pub callback_url: String,
    /// Tried when the first gives an error, nothing in time, or SVAML that cannot be obeyed.
    pub fallback_url: Option<String>,
    pub app_key: AppKey,
    pub secret: AppSecret,
    /// The same seed gives the same call ids and prices to the same sequence of calls.
    pub seed: u64,
    pub timeout: Duration,
    /// The REST API refuses a request signed longer ago, or that far ahead.
    pub age_max: SignedDuration,
    /// The real time: of `x-timestamp`, and of the moment a call comes in.
    pub now: fn() -> Timestamp,
}

/// Settings no platform can be made of.
#[derive(Debug, thiserror::Error)]
pub enum BadPlatform {
    #[error("the callback URL {text:?} is not valid: write http(s)://host[:port]/path ({why})")]
    Url { text: String, why: String },
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// Plays calls. Clones share one sequence of calls.
#[derive(Debug, Clone)]
pub struct Platform(Arc<Exchange>);

/// What all calls of a platform share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) http: Http,
    callback_urls: Mutex<CallbackUrls>,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) app_key: AppKey,
    pub(crate) secret: AppSecret,
    pub(crate) age_max: SignedDuration,
    pub(crate) register: Register,
    pub(crate) lines: Lines,
    seed: u64,
    calls: AtomicU64,
}

/// Where callbacks go, as the configuration has it now.
#[derive(Debug, Clone)]
pub(crate) struct CallbackUrls {
    pub(crate) primary: Url,
    pub(crate) fallback: Option<Url>,
}

impl CallbackUrls {
    /// The fallback after the primary, for callbacks that have two chances.
    pub(crate) fn in_turn(self, with_fallback: bool) -> Vec<Url> {
        [Some(self.primary), self.fallback.filter(|_| with_fallback)].into_iter().flatten().collect()
    }
}

impl Exchange {
    pub(crate) fn callback_urls(&self) -> CallbackUrls {
        self.callback_urls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_callback_urls(&self, urls: CallbackUrls) {
        *self.callback_urls.lock().unwrap_or_else(PoisonError::into_inner) = urls;
    }
}

impl Platform {
    /// # Errors
    /// When a URL is not one of HTTP, or the HTTP client cannot start.
    pub fn new(config: PlatformConfig) -> Result<Self, BadPlatform> {
        let http = Http::new(config.app_key.clone(), config.secret.clone(), config.timeout, config.now);
        Ok(Self(Arc::new(Exchange {
            http: http.map_err(BadPlatform::Client)?,
            callback_urls: Mutex::new(CallbackUrls {
                primary: http_url(&config.callback_url)?,
                fallback: config.fallback_url.as_deref().map(http_url).transpose()?,
            }),
            now: config.now,
            app_key: config.app_key,
            secret: config.secret,
            age_max: config.age_max,
            register: Register::default(),
            lines: Lines::default(),
            seed: config.seed,
            calls: AtomicU64::new(0),
        })))
    }

    /// Plays a call from its ICE to its end.
    pub async fn call(&self, script: CallScript) -> CallReport {
        self.call_with(script, |_| {}).await
    }

    /// Plays a call and shows every step as it happens.
    pub async fn call_with(&self, script: CallScript, mut on_step: impl FnMut(&Step) + Send) -> CallReport {
        let facts = self.facts(&script);
        Call::new(self, script, facts, &mut on_step).play().await
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.0
    }

    /// Sends one raw callback to the primary URL, signed as told.
    ///
    /// # Errors
    /// When nothing came back. An error status is a reply.
    pub async fn send(&self, body: impl Into<Bytes>, sign: SignWith) -> Result<Reply, NoReply> {
        self.0.http.post(&self.0.callback_urls().primary, body.into(), &sign).await
    }

    /// What the next call is known by; with this the bodies of its callbacks can be made one by one.
    pub fn facts(&self, script: &CallScript) -> CallFacts {
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let mut choices = Choices::of_call(self.0.seed, number);
        let chosen: CallId = choices.call_id();
        CallFacts {
            call: script.call_id.clone().unwrap_or(chosen),
            app_key: self.0.app_key.clone(),
            from: script.from.clone(),
            to: script.to.clone(),
            custom: script.custom.clone(),
            rdnis: script.rdnis.clone(),
            call_headers: script.call_headers.clone(),
            user_rate: Money { currency_id: CURRENCY.to_owned(), amount: choices.rate_per_minute() },
            cookies: Vec::new(),
        }
    }
}

pub(crate) fn http_url(text: &str) -> Result<Url, BadPlatform> {
    let bad = |why: String| BadPlatform::Url { text: text.to_owned(), why };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(bad(format!("{scheme} is not HTTP"))),
    }
}
