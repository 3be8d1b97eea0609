//! The words callbus speaks: what Sinch sends, what it is answered, and what is kept.
//!
//! A callback arrives as signed bytes ([`signature`]), is read leniently ([`callback`]), is answered with SVAML
//! ([`svaml`]) and is recorded as an [`event`] under a [`subject`], in a [`partition`] of its call's own, with a derived [`id`]. What the worker said and why
//! is [`decided`]; a named event a policy made of it is [`emitted`]; what the platform says of a call when it is asked
//! is [`asked`], and what the call came to is [`settled`]; calls that we place are [`placed`]. What operators change meanwhile is [`config`], and what became
//! of telling others is [`delivery`]. What the types say of themselves is made [`prose`].
//!
//! The rules of callbacks, SVAML and signatures are those of Sinch's Voice API, version 1 (developers.sinch.com,
//! *Voice*); where its older pages and SDKs differ, both are read and the current one is written.
//!
//! Nothing here does I/O or reads a clock.

pub mod kind;
pub mod id;
pub mod phone;
pub mod signature;
pub mod callback;
pub mod svaml;
pub mod subject;
pub mod partition;
pub mod event;
pub mod decided;
pub mod emitted;
pub mod asked;
pub mod placed;
pub mod settled;
pub mod config;
pub mod delivery;
pub mod prose;

mod lenient;

pub use asked::{Asked, CallInfo};
pub use callback::Callback;
pub use config::{
    Connector, DeckPutInForce, DeliveryMethod, DestinationChanged, DestinationPut, Direction, HubspotSettings,
    ListChanged, PolicyOrigin, PolicyPutInForce, ProfileAuth, ProfileChanged, ProfilePut, RecipeSettings, RetryPlan,
    SalesforceSettings, SigningKey,
};
pub use decided::{Decided, Outcome};
pub use delivery::{Delivery, DeliveryNoted, Told, Wrote};
pub use emitted::Emitted;
pub use event::Event;
pub use id::{
    AppKey, AppName, CallId, DecisionKey, DeckName, DestinationName, EventId, Leg, ListName, ProfileId, WalletId,
};
pub use kind::Kind;
pub use partition::{Partition, Share};
pub use phone::PhoneNumber;
pub use placed::{
    CallFacts, Dialled, LegBill, LegMark, LegOf, Listener, Moment, Order, Placed, Progressed, Redial, Side, Step,
    Target,
};
pub use settled::Settled;
pub use subject::{Filter, Stream, Subject};
pub use svaml::Svaml;
