//! SVAML, the answer to a callback: any number of instructions, then exactly one action.
//!
//! Reading is tolerant of the spellings in use ([`Action`], [`Instruction`]); writing is the camelCase of the current
//! documents; [`Svaml::check`] says whether this answer may answer that callback.

mod action;
mod check;
mod instruction;

use serde::{Deserialize, Serialize};

pub use action::{
    Action, AmdOptions, ConferenceDtmf, ConnectConf, ConnectMxp, ConnectPstn, ConnectSip, ConnectStream, Destination,
    Menu, MenuOption, MenuTarget, Park, RunMenu, StreamingOptions,
};
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
