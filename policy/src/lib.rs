//! Call control as data: what to do with a call is a YAML file of ordered rules, conditions in CEL, replies as SVAML.
//!
//! [`Policy::load`] reads a file (a [`Bundle`] carries one with its lists) and says everything that is wrong with it,
//! each fault with its line and what was probably meant. [`Policy::decide`] is a function of [`Facts`]: it tries the
//! rules in order and gives a [`Decision`] with an [`Explanation`] that is complete enough to decide again. Effects
//! (fetching the wallet, holding credit, remembering) are the worker's; nothing here does I/O or reads a clock.

mod reason;
mod facts;
mod variables;
mod decision;
mod explanation;
mod policy;
mod scene;
mod elsewhere;
mod handled;
mod outline;
mod shadow;
mod replay;
mod load;
mod bundle;
mod test_case;
mod given;
mod rule;
mod ask;
mod emit;
mod reply;
mod short_form;
mod menu;
mod menu_template;
mod cli;
mod list;
mod live_list;
mod hours;
mod template;
mod expression;
mod direct;
mod condition;
mod names;
mod functions;
mod country;
mod reader;
mod yaml;
mod errors;
mod hash;
mod schema;

pub use ask::{Ask, AskTo, OnAskError};
pub use bundle::Bundle;
pub use condition::Condition;
pub use country::{country, is_country};
pub use decision::{Decision, Verdict};
pub use emit::{Emit, EmitFailed};
pub use errors::{PolicyError, PolicyErrors, nearest, suggestion};
pub use explanation::{AskedElsewhere, Explanation, Membership, Tried, TriedResult};
pub use facts::{AppFacts, Facts, PriceFacts, WalletFacts};
pub use given::decide_given;
pub use handled::Handled;
pub use live_list::{LIST_ENTRIES_MAX, LIST_ENTRY_MAX_BYTES, LiveList, LiveLists, check_entry};
pub use outline::{Course, Outline};
pub use policy::{Needs, Policy, WalletError};
pub use reason::{BadReason, Reason};
pub use replay::{Recorded, Replayed};
pub use schema::schema;
pub use shadow::ShadowDecision;
