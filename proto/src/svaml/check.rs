//! Whether this answer may answer that callback: who may say what, and the limits.

use std::collections::HashSet;
use std::fmt;

use super::limits::{
    CALL_MAX_SECS, CONFERENCE_ID_MAX_CHARS, COOKIE_KEY_MAX_CHARS, COOKIES_MAX_BYTES, HEADER_MAX_BYTES,
    MENU_ID_MAX_CHARS, MXP_ENDPOINT_MAX_CHARS, PARK_MAX_SECS, PROMPTS_MAX, SAY_MAX_CHARS,
};
use super::{Action, Instruction, Menu, MenuTarget, RunMenu, Svaml};
use crate::kind::Kind;
use crate::phone::PhoneNumber;

const INDICATIONS: &str = "at au bg br be ch cl cn cz de dk ee es fi fr gr hu il in it lt jp mx my nl no nz ph pl pt ru se sg th uk us tw ve za";

/// One thing that is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a path: `action.number`, `instructions[2].text`.
    pub at: String,
    /// What, and what would be right.
    pub what: String,
}

/// All that is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.at, problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Svaml {
    /// Checks this answer against the callback it answers.
    ///
    /// # Errors
    /// Everything that is wrong, not just the first.
    pub fn check(&self, kind: Kind) -> Result<(), Problems> {
        let mut check = Check(Vec::new());
        check.legal(self, kind);
        check.instructions(&self.instructions);
        check.action(&self.action);
        if check.0.is_empty() { Ok(()) } else { Err(Problems(check.0)) }
    }
}

struct Check(Vec<Problem>);

impl Check {
    fn wrong(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem { at: at.into(), what: what.into() });
    }

    fn require(&mut self, right: bool, at: &str, what: &str) {
        if !right {
            self.wrong(at, what);
        }
    }

    fn legal(&mut self, answer: &Svaml, kind: Kind) {
        let (ice, ace, pie) = match &answer.action {
            Action::Hangup | Action::ConnectConf(_) | Action::RunMenu(_) => (true, true, true),
            Action::Continue => (false, true, true),
            Action::ConnectPstn(_) | Action::ConnectSip(_) => (true, false, true),
            Action::ConnectMxp(_) | Action::ConnectStream(_) | Action::Park(_) => (true, false, false),
        };
        if !allowed(kind, ice, ace, pie) {
            self.wrong("action", format!("{} may not answer {kind}", answer.action.name()));
        }
        for (index, instruction) in answer.instructions.iter().enumerate() {
            let (ice, ace, pie) = match instruction {
                Instruction::PlayFiles { .. }
                | Instruction::Say { .. }
                | Instruction::SetCookie { .. }
                | Instruction::StartRecording { .. }
                | Instruction::StopRecording => (true, true, true),
                Instruction::SendDtmf { .. } => (true, false, true),
                Instruction::Answer => (true, false, false),
            };
            if !allowed(kind, ice, ace, pie) {
                self.wrong(format!("instructions[{index}]"), format!("{} may not answer {kind}", instruction.name()));
            }
        }
        let records = answer.instructions.iter().any(|i| matches!(i, Instruction::StartRecording { .. }));
        if records && matches!(answer.action, Action::ConnectMxp(_)) {
            self.wrong("action", "startRecording does not work with connectMxp");
        }
    }

    fn instructions(&mut self, instructions: &[Instruction]) {
        let (mut prompts, mut cookie_bytes) = (0, 0);
        for (index, instruction) in instructions.iter().enumerate() {
            let at = |field: &str| format!("instructions[{index}].{field}");
            match instruction {
                Instruction::Say { text, .. } => {
                    prompts += 1;
                    self.require(!text.is_empty(), &at("text"), "there is nothing to say");
                    self.require(
                        text.chars().count() <= SAY_MAX_CHARS,
                        &at("text"),
                        "at most 600 characters are spoken",
                    );
                }
                Instruction::PlayFiles { ids, .. } => {
                    prompts += ids.len();
                    self.require(!ids.is_empty(), &at("ids"), "there is nothing to play");
                }
                Instruction::SendDtmf { value } => self.dtmf(&at("value"), value),
                Instruction::SetCookie { key, value } => {
                    cookie_bytes += key.len() + value.len();
                    let sized = (1..=COOKIE_KEY_MAX_CHARS).contains(&key.chars().count());
                    self.require(sized, &at("key"), "a cookie's key has 1 to 50 characters");
                }
                Instruction::StartRecording { .. } | Instruction::StopRecording | Instruction::Answer => {}
            }
        }
        self.require(prompts <= PROMPTS_MAX, "instructions", "at most 64 prompts are played");
        self.require(
            cookie_bytes <= COOKIES_MAX_BYTES,
            "instructions",
            "the cookies of a call hold at most 1,024 bytes",
        );
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Hangup | Action::Continue => {}
            Action::ConnectPstn(connect) => {
                if let Some(number) = &connect.number {
                    let e164 = PhoneNumber::parse(number).is_ok_and(|parsed| parsed.as_str() == number);
                    self.require(e164, "action.number", "not an E.164 number: '+' and 7 to 15 digits");
                }
                self.max_duration(connect.max_duration);
                self.require(connect.dial_timeout != Some(0), "action.dialTimeout", "must ring for at least a second");
                if let Some(dtmf) = &connect.dtmf {
                    self.dtmf("action.dtmf", dtmf);
                }
                if let Some(country) = &connect.indications {
                    let known = INDICATIONS.split(' ').any(|code| code == country);
                    self.require(
                        known,
                        "action.indications",
                        &format!("no ring tone of that country, only of: {INDICATIONS}"),
                    );
                }
            }
            Action::ConnectMxp(connect) => {
                if let Some(destination) = &connect.destination {
                    let sized = (1..=MXP_ENDPOINT_MAX_CHARS).contains(&destination.endpoint.chars().count());
                    self.require(sized, "action.destination.endpoint", "a user name has 1 to 128 characters");
                }
                self.headers(&connect.call_headers);
            }
            Action::ConnectConf(connect) => {
                let sized = (1..=CONFERENCE_ID_MAX_CHARS).contains(&connect.conference_id.chars().count());
                self.require(sized, "action.conferenceId", "a conference id has 1 to 64 characters");
                let mode = connect.conference_dtmf_options.as_ref().and_then(|options| options.mode.as_deref());
                let known = matches!(mode, None | Some("ignore" | "forward" | "detect"));
                self.require(known, "action.conferenceDtmfOptions.mode", "one of ignore, forward, detect");
                self.moh(connect.moh.as_deref());
            }
            Action::ConnectSip(connect) => {
                let address = connect.destination.endpoint.contains('@');
                self.require(address, "action.destination.endpoint", "a SIP address reads user@host");
                self.max_duration(connect.max_duration);
                let transport = connect.transport.as_deref().map(str::to_ascii_uppercase);
                let known = matches!(transport.as_deref(), None | Some("UDP" | "TCP" | "TLS"));
                self.require(known, "action.transport", "one of UDP, TCP, TLS");
                self.moh(connect.moh.as_deref());
                self.headers(&connect.call_headers);
            }
            Action::ConnectStream(connect) => {
                let socket = connect.destination.endpoint.starts_with("wss://");
                self.require(socket, "action.destination.endpoint", "a stream endpoint begins with wss://");
                self.max_duration(connect.max_duration);
                self.headers(&connect.call_headers);
            }
            Action::RunMenu(menu) => self.menus(menu),
            Action::Park(park) => {
                let short = park.max_duration.is_none_or(|secs| (1..=PARK_MAX_SECS).contains(&secs));
                self.require(short, "action.maxDuration", "a call is parked for 1 to 600 seconds");
            }
        }
    }

    fn menus(&mut self, run: &RunMenu) {
        let mut ids = HashSet::new();
        for (index, menu) in run.menus.iter().enumerate() {
            let at = format!("action.menus[{index}].id");
            self.require(ids.insert(menu.id.as_str()), &at, "two menus have this id");
            let sized = (1..=MENU_ID_MAX_CHARS).contains(&menu.id.chars().count());
            self.require(sized, &at, "a menu id has 1 to 64 characters");
        }
        self.require(ids.contains(RunMenu::MAIN), "action.menus", "one menu must have the id main");
        if let Some(first) = &run.main_menu {
            self.require(ids.contains(first.as_str()), "action.mainMenu", "there is no menu with this id");
        }
        let voice_without_locale = run.enable_voice == Some(true) && run.locale.is_none();
        self.require(!voice_without_locale, "action.locale", "voice input needs a locale");
        for (index, menu) in run.menus.iter().enumerate() {
            self.options(index, menu, &ids);
        }
    }

    fn options(&mut self, menu_index: usize, menu: &Menu, ids: &HashSet<&str>) {
        let mut keys = HashSet::new();
        for (index, option) in menu.options.iter().enumerate() {
            let at = |field: &str| format!("action.menus[{menu_index}].options[{index}].{field}");
            let key = option.dtmf.as_str();
            let pressable = !key.is_empty() && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'#' | b'*'));
            self.require(pressable, &at("dtmf"), "a key is of 0-9, # and *");
            self.require(keys.insert(key), &at("dtmf"), "this key is taken by an earlier option");
            match option.target() {
                Some(MenuTarget::Menu(id)) => {
                    self.require(ids.contains(id), &at("action"), "there is no menu with this id");
                }
                Some(MenuTarget::Return(_)) => {}
                None => self.wrong(at("action"), "reads menu(id) or return(value)"),
            }
        }
    }

    fn max_duration(&mut self, secs: Option<u32>) {
        let right = secs.is_none_or(|secs| (1..=CALL_MAX_SECS).contains(&secs));
        self.require(right, "action.maxDuration", "a call lasts 1 to 14,400 seconds");
    }

    fn dtmf(&mut self, at: &str, tones: &str) {
        let right = !tones.is_empty() && tones.bytes().all(|b| matches!(b, b'0'..=b'9' | b'#' | b'*' | b'w'));
        self.require(right, at, "tones are of 0-9, #, * and w (half a second)");
    }

    fn moh(&mut self, music: Option<&str>) {
        let known = matches!(music, None | Some("ring" | "music1" | "music2" | "music3"));
        self.require(known, "action.moh", "one of ring, music1, music2, music3");
    }

    fn headers(&mut self, headers: &[super::Header]) {
        for (index, header) in headers.iter().enumerate() {
            let small = header.key.len() + header.value.len() <= HEADER_MAX_BYTES;
            self.require(small, &format!("action.callHeaders[{index}]"), "key and value hold at most 1,024 bytes");
        }
    }
}

fn allowed(kind: Kind, ice: bool, ace: bool, pie: bool) -> bool {
    match kind {
        Kind::Ice => ice,
        Kind::Ace => ace,
        Kind::Pie => pie,
        Kind::Dice
        | Kind::Notify
        | Kind::Unknown
        | Kind::Decided
        | Kind::Emitted
        | Kind::Asked
        | Kind::Placed
        | Kind::Dialled
        | Kind::Progressed
        | Kind::Settled => false,
    }
}
