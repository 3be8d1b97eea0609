//! SVAML, the answer to a callback: any number of instructions, then exactly one action.
//!
//! Reading is tolerant of the spellings in use ([`Action`], [`Instruction`]); writing is the camelCase of the current
//! documents; [`Svaml::check`] says whether this answer may answer that callback.
//!
//! Handlers write answers as a chain that begins with [`Svaml::ice`], [`Svaml::ace`] or [`Svaml::pie`]; an action that
//! the event does not take does not compile ([`Builder`]).

mod action;
mod instruction;
mod check;
mod builder;
mod answer;
mod options;
mod menu;
pub mod menu_template;
pub mod limits;

use serde::{Deserialize, Serialize};

pub use action::{
    Action, AmdOptions, ConferenceDtmf, ConnectConf, ConnectMxp, ConnectPstn, ConnectSip, ConnectStream, Destination,
    Menu, MenuOption, MenuTarget, Park, RunMenu, StreamingOptions,
};
pub use answer::{Answer, Said};
pub use builder::{Ace, Asks, Builder, Dials, GoesOn, Ice, Pie, Reserving};
pub use check::{Problem, Problems};
pub use instruction::{Header, Instruction, RecordingOptions, TranscriptionOptions};

/// An answer to ICE, ACE or PIE.
///
/// ```
/// use proto::{Kind, Svaml, svaml::{Action, Instruction}};
/// let answer = Svaml { instructions: vec![Instruction::say("Goodbye!")], action: Action::Hangup };
/// assert!(answer.check(Kind::Ice).is_ok());
/// assert_eq!(answer.to_json(), r#"{"instructions":[{"name":"say","text":"Goodbye!"}],"action":{"name":"hangup"}}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Svaml {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instructions: Vec<Instruction>,
    pub action: Action,
}

impl Svaml {
    /// An answer without instructions.
    pub fn only(action: Action) -> Self {
        Self { instructions: Vec::new(), action }
    }

    /// The bytes that go out.
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "plain structs with text keys always serialise")]
        serde_json::to_string(self).expect("SVAML is JSON")
    }
}
