//! The Sinch platform in small: it plays a call against any callback URL, over real HTTP and really signed, and obeys
//! the SVAML it is given, strictly.
//!
//! A [`script`] says who calls whom, which keys are pressed and how the callee behaves. The [`platform`] plays it:
//! `call` is the call's life, `ask` how it puts a question, `rules` what it takes for an answer, `instructions` what is
//! done first. Then it goes where the action says: `dial` is its outbound legs, `conference`, `stream` and `park` where
//! it may stay, `menu` what a caller does in a menu. `recording` and `later` are what is told besides, `timeline` the
//! call's own time, [`bodies`] the JSON of the callbacks, [`http`] the signed delivery,
//! and the `register` says how a call stands. What happened comes back as a [`report`], step by step.
//!
//! Over `rest` the application places calls (`callout`), which live in real time: `lines` knows them all, a `line` is
//! one, and `orders` what it may be told to do while it goes on. `problem` is what is refused.
//!
//! Call time is virtual: a call of an hour takes as long as its callbacks are answered. Callback bodies bear the
//! virtual time, `x-timestamp` the real one. Which public facts this rests on, and where it had to choose because
//! nothing public settles it, stands beside each rule.
//!
//! ```no_run
//! use proto::{AppKey, signature::AppSecret};
//! use simulator::{CallScript, Caller, DEFAULT_AGE_MAX, DEFAULT_TIMEOUT, Endpoint, Input, Platform, PlatformConfig};
//!
//! # async fn example(now: fn() -> jiff::Timestamp) -> Result<(), Box<dyn std::error::Error>> {
//! let platform = Platform::new(PlatformConfig {
//!     callback_url: "http://127.0.0.1:8080/sinch/callback".into(),
//!     fallback_url: None,
//!     app_key: AppKey::new("669E367E-6BBA-48AB-AF15-266871C28135")?,
//!     secret: AppSecret::from_base64("BeIukql3pTKJ8RGL5zo0DA==")?,
//!     seed: 1,
//!     timeout: DEFAULT_TIMEOUT,
//!     age_max: DEFAULT_AGE_MAX,
//!     now,
//! })?;
//! let script = CallScript {
//!     inputs: vec![Input::Digits("1".into())],
//!     ..CallScript::new(Caller::Number("+46701234567".into()), Endpoint::Did("+12017777777".into()))
//! };
//! let report = platform.call_with(script, |step| eprintln!("{step}")).await;
//! assert_eq!(report.ending.result.as_str(), "ANSWERED");
//! # Ok(())
//! # }
//! ```

pub mod bodies;
mod call;
mod ask;
mod rules;
mod instructions;
mod dial;
mod conference;
mod stream;
mod park;
mod menu;
mod recording;
mod later;
mod register;
mod callout;
mod lines;
mod line;
mod orders;
pub mod http;
mod load;
pub mod platform;
mod problem;
mod prompt;
pub mod report;
mod rest;
pub mod script;
mod seed;
#[cfg(test)]
mod tests;
mod timeline;

pub use bodies::{Amd, AmdStatus, CallFacts, InputMethod, MenuResult, MenuResultKind, Money, Notice};
pub use http::{NoReply, Reply, SignWith, Tamper};
pub use lines::{CalleeScript, CalloutReply, PlacedCall};
pub use load::{Pace, Played};
pub use platform::{BadPlatform, DEFAULT_AGE_MAX, DEFAULT_TIMEOUT, Platform, PlatformConfig};
pub use report::{CallReport, CallResult, Ending, Leg, Outcome, Reason, Step, What};
pub use script::{BadInput, CallScript, Callee, Caller, Endpoint, Hangup, Input, Party};
