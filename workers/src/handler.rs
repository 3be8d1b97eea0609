//! Call control in Rust: a [`CallHandler`] decides in the place of a policy.
//!
//! What it answers is checked, rated and held as a policy's answer is, and recorded with the same explanation. A handler
//! that fails, panics or takes too long refuses a call that comes in, and lets one that is up go on.

use std::any::type_name;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use billing::Credit;
use bus::Cache;
use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;
use money::WalletFacts;
use policy::Handled;
use proto::callback::{self, Details};
use proto::svaml::{Ace, Answer, Ice, Pie, Said};
use proto::{AppName, CallId, Callback, Svaml, WalletId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::decide::{Desk, Matter};
use crate::worker::App;

/// Lines of [`Context::log`] that are kept with a decision, and how long each may be.
const LOG_LINES_MAX: usize = 50;
const LOG_CHARS_MAX: usize = 500;
/// Nobody waits for what a handler does about a DICE or a notify, but the next of the call.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// Why a handler could not decide: any error. Write `?`.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// The logic of an app. Every method may be left out: a call that comes in is refused then, one that was answered goes on,
/// a menu's caller is hung up on.
///
/// ```
/// use workers::{CallHandler, Context, HandlerError};
/// use proto::{Svaml, callback, svaml::{Answer, Ice, Menu, Pie}};
///
/// struct Ivr;
///
/// impl CallHandler for Ivr {
///     async fn ice(&self, _: &callback::Ice, _: &Context<'_>) -> Result<Answer<Ice>, HandlerError> {
///         Ok(Svaml::ice().say("Welcome to Acme.").run_menu(Menu::business("Acme")))
///     }
///
///     async fn pie(&self, input: &callback::Pie, _: &Context<'_>) -> Result<Answer<Pie>, HandlerError> {
///         Ok(match input.value() {
///             Some("sales") => Svaml::pie().reserve().connect_pstn("+15551111111"),
///             _ => Svaml::pie().say("Goodbye!").hangup(),
///         })
///     }
/// }
/// ```
pub trait CallHandler: Send + Sync + 'static {
    /// A call comes in: what to do with it?
    fn ice(
        &self,
        _call: &callback::Ice,
        _context: &Context<'_>,
    ) -> impl Future<Output = Result<Answer<Ice>, HandlerError>> + Send {
        async { Ok(Svaml::ice().deny("NO_RULE")) }
    }

    /// The called side picked up: go on?
    fn ace(
        &self,
        _call: &callback::Ace,
        _context: &Context<'_>,
    ) -> impl Future<Output = Result<Answer<Ace>, HandlerError>> + Send {
        async { Ok(Svaml::ace().go_on()) }
    }

    /// The caller used a menu.
    fn pie(
        &self,
        _input: &callback::Pie,
        _context: &Context<'_>,
    ) -> impl Future<Output = Result<Answer<Pie>, HandlerError>> + Send {
        async { Ok(Svaml::pie().hangup()) }
    }

    /// The call has ended. At least once, from behind the log: after a crash it may come again.
    fn dice(
        &self,
        _call: &callback::Dice,
        _context: &Context<'_>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        async { Ok(()) }
    }

    /// Something worth knowing. At least once, as [`CallHandler::dice`].
    fn notify(
        &self,
        _about: &callback::Notify,
        _context: &Context<'_>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        async { Ok(()) }
    }

    /// Who pays for what [`reserve`](proto::svaml::Builder::reserve) holds; the app's own wallet unless this says.
    fn wallet(&self, _callback: &Callback) -> Option<WalletId> {
        None
    }
}

/// What a handler may look at, and where it may keep things.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) app: &'a AppName,
    pub(crate) callback: &'a Callback,
    pub(crate) wallet: WalletId,
    pub(crate) now: Timestamp,
    pub(crate) cache: &'a Cache,
    pub(crate) credit: &'a Credit,
    pub(crate) log: Mutex<Vec<String>>,
}

impl Context<'_> {
    pub fn app(&self) -> &AppName {
        self.app
    }

    /// The whole callback: call id, user, custom text, cookies.
    pub fn callback(&self) -> &Callback {
        self.callback
    }

    /// `None` for the few callbacks without one.
    pub fn call(&self) -> Option<&CallId> {
        self.callback.common.call.as_ref()
    }

    /// A cookie that an earlier answer of this call set.
    pub fn cookie(&self, key: &str) -> Option<&str> {
        let cookie = self.callback.common.cookies.iter().find(|cookie| cookie.key == key)?;
        cookie.value.as_deref()
    }

    /// When the callback came: use this and no clock, so that a decision can be told again.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Says something about this call: in the log of the worker, and, for ICE, ACE and PIE, in the decision, where
    /// `callbus call why` shows it.
    pub fn log(&self, line: impl AsRef<str>) {
        let line: String = line.as_ref().chars().take(LOG_CHARS_MAX).collect();
        tracing::info!(app = %self.app, call = self.call().map(tracing::field::display), "{line}");
        let mut lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LOG_LINES_MAX {
            lines.push(line);
        }
    }

    /// What the paying wallet holds and can spend now.
    ///
    /// # Errors
    /// When credit cannot be asked.
    pub async fn wallet(&self) -> Result<WalletFacts, HandlerError> {
        Ok(self.credit.facts(&self.wallet).await?)
    }

    /// Values that outlive the call, shared by all workers of the app. Best effort: they are lost with Redis.
    pub fn cache(&self) -> AppCache<'_> {
        AppCache { app: self.app, cache: self.cache }
    }

    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What handlers of one app keep. Values are JSON.
#[derive(Debug, Clone, Copy)]
pub struct AppCache<'a> {
    app: &'a AppName,
    cache: &'a Cache,
}

impl AppCache<'_> {
    /// # Errors
    /// When the cache does not answer, or the value is no JSON; so with all that follow.
    pub async fn set(&self, key: &str, value: &impl Serialize, ttl: Duration) -> Result<(), HandlerError> {
        Ok(self.cache.set(&self.key(key), Bytes::from(serde_json::to_vec(value)?), ttl).await?)
    }

    /// # Errors
    /// As [`AppCache::set`], and when the value is of another type.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HandlerError> {
        let found = self.cache.get(&self.key(key)).await?;
        Ok(found.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// # Errors
    /// As [`AppCache::set`].
    pub async fn has(&self, key: &str) -> Result<bool, HandlerError> {
        Ok(self.cache.get(&self.key(key)).await?.is_some())
    }

    /// # Errors
    /// As [`AppCache::set`].
    pub async fn delete(&self, key: &str) -> Result<(), HandlerError> {
        Ok(self.cache.delete(&self.key(key)).await?)
    }

    /// Gives a value a new time to live; says whether there was one.
    ///
    /// # Errors
    /// As [`AppCache::set`].
    pub async fn extend(&self, key: &str, ttl: Duration) -> Result<bool, HandlerError> {
        Ok(self.cache.extend(&self.key(key), ttl).await?)
    }

    fn key(&self, key: &str) -> String {
        format!("handler:{}:{key}", self.app)
    }
}

/// The handlers of a program, by app.
#[derive(Debug, Default)]
pub struct Handlers(BTreeMap<AppName, Handler>);

impl Handlers {
    pub fn insert(&mut self, app: AppName, handler: impl CallHandler) {
        self.0.insert(app, Handler(Arc::new(handler)));
    }

    pub fn take(&mut self, app: &AppName) -> Option<Handler> {
        self.0.remove(app)
    }

    /// The apps whose handler was not taken.
    pub fn apps(&self) -> impl Iterator<Item = &AppName> {
        self.0.keys()
    }
}

/// One handler whose type is forgotten, so that apps of different handlers stand in one map.
#[derive(Clone)]
pub struct Handler(pub(crate) Arc<dyn Handles>);

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name())
    }
}

pub(crate) trait Handles: Send + Sync {
    /// What decisions name in the place of a policy's revision.
    fn name(&self) -> String;
    fn wallet(&self, callback: &Callback) -> Option<WalletId>;
    /// `None` for a callback that asks for no answer.
    fn decide<'a>(&'a self, context: &'a Context<'a>) -> Deciding<'a, Option<Said>>;
    fn hear<'a>(&'a self, context: &'a Context<'a>) -> Deciding<'a, ()>;
}

pub(crate) type Deciding<'a, T> = Pin<Box<dyn Future<Output = Result<T, HandlerError>> + Send + 'a>>;

impl<H: CallHandler> Handles for H {
    fn name(&self) -> String {
        format!("rust {}", type_name::<H>())
    }

    fn wallet(&self, callback: &Callback) -> Option<WalletId> {
        // A handler that panics has failed, and nothing else: then the app's own wallet pays.
        std::panic::catch_unwind(AssertUnwindSafe(|| CallHandler::wallet(self, callback))).unwrap_or_else(|_| {
            tracing::error!(handler = type_name::<H>(), "the handler panicked when asked who pays");
            None
        })
    }

    fn decide<'a>(&'a self, context: &'a Context<'a>) -> Deciding<'a, Option<Said>> {
        Box::pin(caught(async move {
            Ok(match &context.callback.details {
                Details::Ice(ice) => Some(checked(self.ice(ice, context).await?)?),
                Details::Ace(ace) => Some(checked(self.ace(ace, context).await?)?),
                Details::Pie(pie) => Some(checked(self.pie(pie, context).await?)?),
                Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => None,
            })
        }))
    }

    fn hear<'a>(&'a self, context: &'a Context<'a>) -> Deciding<'a, ()> {
        Box::pin(caught(async move {
            match &context.callback.details {
                Details::Dice(dice) => self.dice(dice, context).await,
                Details::Notify(notify) => self.notify(notify, context).await,
                Details::Ice(_) | Details::Ace(_) | Details::Pie(_) | Details::Unknown { .. } => Ok(()),
            }
        }))
    }
}

impl Desk {
    /// What the handler makes of the callback, in the time there is.
    pub(crate) async fn handle(&self, matter: &Matter<'_>, handler: &Handler) -> Handled {
        let wallet = handler.0.wallet(&matter.callback);
        let context = self.context(matter.app, &matter.callback, wallet.clone(), matter.asked_at);
        let said = match timeout(self.left(matter), handler.0.decide(&context)).await {
            Ok(Ok(Some(said))) => Ok(said),
            Ok(Ok(None)) => Err("this callback wants no answer".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the handler has not answered in time".to_owned()),
        };
        Handled { handler: handler.0.name(), said, wallet, log: context.take_log() }
    }

    /// Tells the handler of what has happened.
    pub(crate) async fn tell(&self, app: &App, handler: &Handler, callback: &Callback, at: Timestamp) {
        let context = self.context(app, callback, handler.0.wallet(callback), at);
        let heard = timeout(HEARD_WITHIN, handler.0.hear(&context)).await;
        let error = match heard {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {HEARD_WITHIN:?}"),
        };
        tracing::warn!(app = %app.name, kind = %callback.kind(), error, "the handler failed");
    }

    fn context<'a>(
        &'a self,
        app: &'a App,
        callback: &'a Callback,
        wallet: Option<WalletId>,
        now: Timestamp,
    ) -> Context<'a> {
        let wallet = wallet.unwrap_or_else(|| app.wallet.clone());
        let (cache, credit) = (&self.call_memory, &self.till.credit);
        Context { app: &app.name, callback, wallet, now, cache, credit, log: Mutex::default() }
    }
}

fn checked<E: proto::svaml::Asks>(answer: Answer<E>) -> Result<Said, HandlerError> {
    answer.check()?;
    Ok(answer.into_said())
}

/// A handler that panics has failed, and nothing else.
async fn caught<T>(deciding: impl Future<Output = Result<T, HandlerError>>) -> Result<T, HandlerError> {
    match AssertUnwindSafe(deciding).catch_unwind().await {
        Ok(decided) => decided,
        Err(_) => Err("the handler panicked".into()),
    }
}
