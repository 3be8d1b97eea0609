//! Answers in one chain: instructions in the order they are carried out, then the one action that ends the chain.
//!
//! A chain knows the event it answers, so what Sinch would refuse does not compile:
//!
//! | | ICE | ACE | PIE |
//! |---|---|---|---|
//! | `say` `play` `set_cookie` `start_recording` `stop_recording` | ✓ | ✓ | ✓ |
//! | `send_dtmf` | ✓ | | ✓ |
//! | `answer` | ✓ | | |
//! | `hangup` `connect_conf` `run_menu` `deny` | ✓ | ✓ | ✓ |
//! | `go_on` | | ✓ | ✓ |
//! | `connect_pstn` `connect_sip` `reserve` | ✓ | | ✓ |
//! | `connect_mxp` `connect_stream` `park` | ✓ | | |

use std::fmt::Debug;
use std::marker::PhantomData;

use super::{
    Action, Answer, ConnectConf, ConnectMxp, ConnectPstn, ConnectSip, ConnectStream, Instruction, Park,
    RecordingOptions, RunMenu, Said, Svaml,
};
use crate::kind::Kind;

/// An event that asks for an answer.
pub trait Asks: sealed::Sealed + Copy + Debug + Eq + Send + Sync + 'static {
    const KIND: Kind;
}

/// An event that may be answered by dialling: ICE and PIE.
pub trait Dials: Asks {}

/// An event after which the call can go on by itself: ACE and PIE.
pub trait GoesOn: Asks {}

/// Incoming call: what to do with it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ice {}
/// Answered call: go on?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ace {}
/// Prompt input: the caller used a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pie {}

impl Asks for Ice {
    const KIND: Kind = Kind::Ice;
}
impl Asks for Ace {
    const KIND: Kind = Kind::Ace;
}
impl Asks for Pie {
    const KIND: Kind = Kind::Pie;
}
impl Dials for Ice {}
impl Dials for Pie {}
impl GoesOn for Ace {}
impl GoesOn for Pie {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Ice {}
    impl Sealed for super::Ace {}
    impl Sealed for super::Pie {}
}

impl Svaml {
    /// Begins the answer to an incoming call.
    ///
    /// ```
    /// use proto::{Svaml, svaml::ConnectPstn};
    /// let answer = Svaml::ice()
    ///     .say("One moment, please.")
    ///     .connect_pstn(ConnectPstn::to("+46701234567").cli("+46850001111").max_duration_secs(600));
    /// assert!(answer.check().is_ok());
    /// ```
    /// What may not answer an ICE does not compile:
    /// ```compile_fail
    /// proto::Svaml::ice().go_on();
    /// ```
    pub fn ice() -> Builder<Ice> {
        Builder::new()
    }

    /// Begins the answer to a call that was picked up.
    ///
    /// ```
    /// let answer = proto::Svaml::ace().say("You are being connected.").go_on();
    /// assert!(answer.check().is_ok());
    /// ```
    /// What may not answer an ACE does not compile:
    /// ```compile_fail
    /// proto::Svaml::ace().connect_pstn("+46701234567");
    /// ```
    /// ```compile_fail
    /// proto::Svaml::ace().connect_sip("alice@example.com");
    /// ```
    /// ```compile_fail
    /// proto::Svaml::ace().reserve();
    /// ```
    /// ```compile_fail
    /// proto::Svaml::ace().send_dtmf("1w2#");
    /// ```
    /// ```compile_fail
    /// proto::Svaml::ace().answer();
    /// ```
    /// ```compile_fail
    /// proto::Svaml::ace().park("One moment, please.");
    /// ```
    pub fn ace() -> Builder<Ace> {
        Builder::new()
    }

    /// Begins the answer to what the caller chose in a menu.
    ///
    /// ```
    /// let answer = proto::Svaml::pie().say("Goodbye!").hangup();
    /// assert!(answer.check().is_ok());
    /// ```
    /// What may not answer a PIE does not compile:
    /// ```compile_fail
    /// proto::Svaml::pie().answer();
    /// ```
    /// ```compile_fail
    /// proto::Svaml::pie().connect_mxp("alice");
    /// ```
    /// ```compile_fail
    /// proto::Svaml::pie().connect_stream("wss://example.com/audio");
    /// ```
    /// ```compile_fail
    /// proto::Svaml::pie().park("One moment, please.");
    /// ```
    pub fn pie() -> Builder<Pie> {
        Builder::new()
    }
}

/// An answer that still wants its action. Made by [`Svaml::ice`], [`Svaml::ace`] and [`Svaml::pie`].
#[must_use = "an answer ends with an action, such as hangup()"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder<E> {
    instructions: Vec<Instruction>,
    locale: Option<String>,
    event: PhantomData<E>,
}

/// Instructions and actions of every event.
impl<E: Asks> Builder<E> {
    fn new() -> Self {
        Self { instructions: Vec::new(), locale: None, event: PhantomData }
    }

    /// The language (`sv-SE`) or voice (`en-US/male`) of all that follows and names none itself; else Sinch's default.
    ///
    /// ```
    /// let answer = proto::Svaml::ice().locale("sv-SE").say("Hej!").say_in("en-GB", "Hello!").hangup();
    /// assert_eq!(
    ///     answer.svaml().map(proto::Svaml::to_json).as_deref(),
    ///     Some(concat!(
    ///         r#"{"instructions":[{"name":"say","text":"Hej!","locale":"sv-SE"},"#,
    ///         r#"{"name":"say","text":"Hello!","locale":"en-GB"}],"action":{"name":"hangup"}}"#
    ///     ))
    /// );
    /// ```
    pub fn locale(mut self, locale: impl Into<String>) -> Self {
        self.locale = Some(locale.into());
        self
    }

    /// Speaks text.
    pub fn say(self, text: impl Into<String>) -> Self {
        let locale = self.locale.clone();
        self.then(Instruction::Say { text: text.into(), locale })
    }

    /// Speaks text in a language of its own.
    pub fn say_in(self, locale: impl Into<String>, text: impl Into<String>) -> Self {
        self.then(Instruction::Say { text: text.into(), locale: Some(locale.into()) })
    }

    /// Plays one file; see [`play_files`](Self::play_files).
    pub fn play(self, file: impl Into<String>) -> Self {
        self.play_files([file])
    }

    /// Plays one after the other: a URL, `#href[url]`, `#tts[text]`, `#ssml[…]` or the name of an uploaded file.
    pub fn play_files(self, files: impl IntoIterator<Item: Into<String>>) -> Self {
        let (ids, locale) = (files.into_iter().map(Into::into).collect(), self.locale.clone());
        self.then(Instruction::PlayFiles { ids, locale })
    }

    /// Keeps a value that later callbacks of this call bring along. All of a call's hold at most 1,024 bytes.
    pub fn set_cookie(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.then(Instruction::SetCookie { key: key.into(), value: value.into() })
    }

    /// Records from here on. [`RecordingOptions::default`] leaves all to Sinch.
    pub fn start_recording(self, options: RecordingOptions) -> Self {
        let options = Some(options).filter(|options| *options != RecordingOptions::default());
        self.then(Instruction::StartRecording { options })
    }

    /// Ends a recording.
    pub fn stop_recording(self) -> Self {
        self.then(Instruction::StopRecording)
    }

    /// Ends the call.
    pub fn hangup(self) -> Answer<E> {
        self.action(Action::Hangup)
    }

    /// Into a conference, by its id.
    pub fn connect_conf(self, conference: impl Into<ConnectConf>) -> Answer<E> {
        self.action(Action::ConnectConf(conference.into()))
    }

    /// Asks the caller: one [`Menu`](super::Menu), or several that lead to each other.
    ///
    /// ```
    /// use proto::{Svaml, svaml::{Menu, RunMenu}};
    /// let one = Svaml::ice().run_menu(Menu::yes_no("Shall we call you back?"));
    /// let two = Svaml::ice().run_menu(
    ///     RunMenu::main(Menu::ask("Press 1 for sales, 2 for your account.").key('1', "sales").key_to('2', "account"))
    ///         .and("account", Menu::ask("Enter your account number.").digits(6)),
    /// );
    /// assert!(one.check().is_ok() && two.check().is_ok());
    /// ```
    pub fn run_menu(self, menus: impl Into<RunMenu>) -> Answer<E> {
        let mut menus = menus.into();
        menus.locale = menus.locale.or_else(|| self.locale.clone());
        self.action(Action::RunMenu(menus))
    }

    /// Refuses, with a code that is recorded and counted, such as `NOT_ALLOWLISTED`. What was said before it is what
    /// the caller hears; if that is nothing, the words of the policy for this code.
    ///
    /// ```
    /// use proto::Svaml;
    /// let answer = Svaml::ice().deny("NOT_ALLOWLISTED");
    /// assert_eq!((answer.reason(), answer.svaml()), (Some("NOT_ALLOWLISTED"), None));
    /// let answer = Svaml::ice().say("We are closed.").deny("CLOSED");
    /// assert!(answer.svaml().is_some());
    /// ```
    pub fn deny(self, reason: impl Into<String>) -> Answer<E> {
        let Self { instructions, .. } = self;
        let svaml = (!instructions.is_empty()).then_some(Svaml { instructions, action: Action::Hangup });
        Answer::new(Said::Deny { reason: reason.into(), svaml })
    }

    fn then(mut self, instruction: Instruction) -> Self {
        self.instructions.push(instruction);
        self
    }

    fn action(self, action: Action) -> Answer<E> {
        Answer::new(Said::Answer(self.end(action)))
    }

    fn end(self, action: Action) -> Svaml {
        Svaml { instructions: self.instructions, action }
    }
}

/// For ICE and PIE.
impl<E: Dials> Builder<E> {
    /// Sends tones: `0-9`, `#`, `*`, and `w` for half a second.
    pub fn send_dtmf(self, tones: impl Into<String>) -> Self {
        self.then(Instruction::SendDtmf { value: tones.into() })
    }

    /// Holds credit for the call before it is dialled. Only a call to a phone number can be paid for, so only
    /// [`connect_pstn`](Reserving::connect_pstn) follows:
    ///
    /// ```
    /// let answer = proto::Svaml::ice().reserve().connect_pstn("+46701234567");
    /// assert!(answer.reserves());
    /// ```
    /// ```compile_fail
    /// proto::Svaml::ice().reserve().connect_sip("alice@example.com");
    /// ```
    pub fn reserve(self) -> Reserving<E> {
        Reserving(self)
    }

    /// To a phone number.
    pub fn connect_pstn(self, to: impl Into<ConnectPstn>) -> Answer<E> {
        Answer::new(Said::Answer(self.pstn(to.into())))
    }

    /// To a SIP address: `user@host`.
    pub fn connect_sip(self, to: impl Into<ConnectSip>) -> Answer<E> {
        self.action(Action::ConnectSip(to.into()))
    }

    fn pstn(self, mut to: ConnectPstn) -> Svaml {
        to.locale = to.locale.or_else(|| self.locale.clone());
        self.end(Action::ConnectPstn(to))
    }
}

/// For ACE and PIE.
impl<E: GoesOn> Builder<E> {
    /// Lets the call go on as it would have gone (the action `continue`).
    pub fn go_on(self) -> Answer<E> {
        self.action(Action::Continue)
    }
}

/// For ICE only.
impl Builder<Ice> {
    /// Picks up the caller's leg: Sinch bills it from here on.
    pub fn answer(self) -> Self {
        self.then(Instruction::Answer)
    }

    /// To an in-app user. Recording such a call is an option of the action, so a recording that was started moves there.
    ///
    /// ```
    /// use proto::{Svaml, svaml::RecordingOptions};
    /// let answer = Svaml::ice().start_recording(RecordingOptions::default()).connect_mxp("alice");
    /// assert_eq!(
    ///     answer.svaml().map(Svaml::to_json).as_deref(),
    ///     Some(r#"{"action":{"name":"connectMxp","destination":{"type":"username","endpoint":"alice"},"record":true}}"#)
    /// );
    /// ```
    pub fn connect_mxp(mut self, to: impl Into<ConnectMxp>) -> Answer<Ice> {
        let mut to = to.into();
        for instruction in self.instructions.extract_if(.., |instruction| records(instruction)) {
            if let Instruction::StartRecording { options } = instruction {
                (to.record, to.recording_options) = (Some(true), options);
            } else {
                (to.record, to.recording_options) = (None, None);
            }
        }
        self.action(Action::ConnectMxp(to))
    }

    /// To a WebSocket: `wss://…` (closed beta).
    pub fn connect_stream(self, to: impl Into<ConnectStream>) -> Answer<Ice> {
        self.action(Action::ConnectStream(to.into()))
    }

    /// Keeps the caller waiting, until the call is sent elsewhere over Sinch's REST API.
    pub fn park(self, park: impl Into<Park>) -> Answer<Ice> {
        let mut park = park.into();
        park.locale = park.locale.or_else(|| self.locale.clone());
        self.action(Action::Park(park))
    }
}

/// A chain that holds credit. Made by [`Builder::reserve`].
#[must_use = "credit is held for a call: end with connect_pstn()"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserving<E>(Builder<E>);

impl<E: Dials> Reserving<E> {
    /// To a phone number, for at most as long as the credit lasts.
    pub fn connect_pstn(self, to: impl Into<ConnectPstn>) -> Answer<E> {
        Answer::new(Said::Reserve(self.0.pstn(to.into())))
    }
}

fn records(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::StartRecording { .. } | Instruction::StopRecording)
}
