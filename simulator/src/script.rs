//! What is to happen in a call: who calls whom, what is pressed and said, how the callee behaves.

use std::str::FromStr;

use proto::svaml::Header;
use proto::{CallId, Kind};
use serde::Serialize;

/// One call to play.
#[derive(Debug, Clone)]
pub struct CallScript {
    pub from: Caller,
    /// What was dialled.
    pub to: Endpoint,
    /// Free text given at call start, in every callback of the call.
    pub custom: Option<String>,
    /// The redirected number; empty as a rule.
    pub rdnis: String,
    pub call_headers: Vec<Header>,
    /// What the caller does at each menu prompt, in turn; after the last the caller is silent.
    pub inputs: Vec<Input>,
    /// What the caller does in a conference, one after the other; after the last the caller listens.
    pub in_conference: Vec<Input>,
    pub callee: Callee,
    /// An answering machine beeps this long after it picked up.
    pub beep_after_secs: Option<u32>,
    pub hangup: Hangup,
    /// The caller gives up after it has rung this long.
    pub patience_secs: Option<u32>,
    /// Callbacks of these kinds are lost on their way.
    pub lost: Vec<Kind>,
    /// How many times more than once each callback is sent.
    pub duplicate: u32,
    /// The next id of the seed when absent.
    pub call_id: Option<CallId>,
}

impl CallScript {
    /// A call that is answered after 5 s and lasts 30 s.
    pub fn new(from: Caller, to: Endpoint) -> Self {
        Self {
            from,
            to,
            custom: None,
            rdnis: String::new(),
            call_headers: Vec::new(),
            inputs: Vec::new(),
            in_conference: Vec::new(),
            callee: Callee::default(),
            beep_after_secs: None,
            hangup: Hangup::default(),
            patience_secs: None,
            lost: Vec::new(),
            duplicate: 0,
            call_id: None,
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// From the phone network, as its `cli` reads: with or without `+`.
    Number(String),
    /// From the phone network, hiding the number.
    Private,
    /// An in-app user.
    User(String),
    /// From a SIP trunk: `user@host`.
    Sip(String),
    /// The platform itself, that was asked to call; showing this number, or none where it is empty.
    Server(String),
}

impl Caller {
    /// As the REST API names who calls.
    pub(crate) fn endpoint(&self) -> (&'static str, &str) {
        match self {
            Self::Number(number) | Self::Server(number) => ("Number", number),
            Self::Private => ("Number", "private"),
            Self::User(user) => ("Username", user),
            Self::Sip(address) => ("Sip", address),
        }
    }
}

/// What was dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "endpoint", rename_all = "lowercase")]
pub enum Endpoint {
    /// A number rented from Sinch: the usual inbound call.
    Did(String),
    /// Any phone number, dialled from an app.
    Number(String),
    /// An in-app user.
    Username(String),
    Sip(String),
}

impl Endpoint {
    /// As the REST API names what was dialled.
    pub(crate) fn endpoint(&self) -> (&'static str, &str) {
        match self {
            Self::Did(number) | Self::Number(number) => ("Number", number),
            Self::Username(user) => ("Username", user),
            Self::Sip(address) => ("Sip", address),
        }
    }
}

/// What the caller does at one menu prompt, or next in a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Presses keys. Those beyond what a menu takes are lost.
    Digits(String),
    /// Says something.
    Words(String),
    /// Lets the prompt time out.
    Silence,
    HangUp,
}

/// Text that is no input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input {0:?} is not valid: write the keys (0-9, # and *), say:words, silence or hangup")]
pub struct BadInput(String);

impl FromStr for Input {
    type Err = BadInput;
    fn from_str(text: &str) -> Result<Self, BadInput> {
        let keys = !text.is_empty() && text.bytes().all(|key| matches!(key, b'0'..=b'9' | b'#' | b'*'));
        let words = text.strip_prefix("say:").map(str::trim).filter(|words| !words.is_empty());
        match (text, words) {
            ("silence", _) => Ok(Self::Silence),
            ("hangup", _) => Ok(Self::HangUp),
            (_, Some(words)) => Ok(Self::Words(words.to_owned())),
            _ if keys => Ok(Self::Digits(text.to_owned())),
            _ => Err(BadInput(text.to_owned())),
        }
    }
}

/// What the called side does when it rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// A person picks up.
    Answers {
        after_secs: u32,
    },
    /// An answering machine picks up.
    Machine {
        after_secs: u32,
    },
    Busy,
    /// It rings until somebody gives up.
    NoAnswer,
    /// It cannot be reached.
    Fails,
}

impl Default for Callee {
    fn default() -> Self {
        Self::Answers { after_secs: 5 }
    }
}

/// Who ends the conversation, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangup {
    /// From the connection: the callee's answer, joining a conference, being parked.
    pub after_secs: u32,
    pub by: Party,
}

impl Default for Hangup {
    fn default() -> Self {
        Self { after_secs: 30, by: Party::Caller }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Caller,
    Callee,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_as_a_command_line_writes_them() {
        assert_eq!("12#".parse(), Ok(Input::Digits("12#".into())));
        assert_eq!("say: my order".parse(), Ok(Input::Words("my order".into())));
        assert_eq!("silence".parse(), Ok(Input::Silence));
        assert_eq!("hangup".parse(), Ok(Input::HangUp));
        for text in ["", "1a", "hang up", "say: "] {
            assert_eq!(text.parse::<Input>(), Err(BadInput(text.into())));
        }
    }
}
