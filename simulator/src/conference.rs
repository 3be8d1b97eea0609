//! In a conference: the caller presses and says things, and the platform ignores, forwards or collects the keys.

use proto::svaml::ConnectConf;
use proto::{Kind, Svaml};

use crate::ask::Unanswered;
use crate::bodies::{InputMethod, MenuResult, MenuResultKind};
use crate::call::{CALL_MAX_SECS, Call};
use crate::menu::{self, KEY_MS};
use crate::prompt::Heard;
use crate::report::{Ending, Reason, What};
use crate::script::Input;

/// How long a caller is silent who is told to be.
const SILENCE_MS: u64 = 10_000;
const TIMEOUT_DEFAULT_MS: u32 = 3_000;

/// The conference a caller is in.
#[derive(Debug, Clone)]
pub(crate) struct Conference {
    id: String,
    keys: Keys,
}

/// What becomes of keys that are pressed.
#[derive(Debug, Clone, Copy)]
enum Keys {
    Ignored,
    Forwarded,
    Collected { max_digits: usize, timeout_ms: u64 },
}

impl Conference {
    fn of(connect: ConnectConf) -> Self {
        let options = connect.conference_dtmf_options.unwrap_or_default();
        let keys = match options.mode.as_deref() {
            Some("detect") => Keys::Collected {
                max_digits: options.max_digits.unwrap_or(1).max(1) as usize,
                timeout_ms: options.timeout_mills.unwrap_or(TIMEOUT_DEFAULT_MS).into(),
            },
            Some("forward") => Keys::Forwarded,
            _ => Keys::Ignored,
        };
        Self { id: connect.conference_id, keys }
    }
}

impl Call<'_> {
    /// A conference answers at once and sends no ACE.
    pub(crate) async fn join(&mut self, connect: ConnectConf) -> Result<Svaml, Ending> {
        self.pick_up();
        self.connect(&connect.conference_id, self.line.at_ms(), CALL_MAX_SECS);
        // Nobody else is there, so the music is heard.
        if let Some(music) = &connect.moh {
            self.line.note(What::Heard { text: music.clone() });
        }
        self.conference = Some(Conference::of(connect));
        self.talk().await
    }

    /// The caller does what the script has for a conference; there is an answer when a PIE got one.
    pub(crate) async fn confer(&mut self, conference: &Conference) -> Result<Option<Svaml>, Ending> {
        while let Some(input) = self.in_conference.pop_front() {
            match input {
                Input::Silence => self.wait(SILENCE_MS).await?,
                Input::HangUp => {
                    self.wait(KEY_MS).await?;
                    return Err(self.ending(Reason::CallerHangup));
                }
                Input::Words(words) => {
                    let length_ms = Heard::speech(&words).length_ms;
                    self.line.note(What::Said { words });
                    self.wait(length_ms).await?;
                }
                Input::Digits(keys) => {
                    if let Some(answer) = self.press(conference, &keys).await? {
                        return Ok(Some(answer));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn press(&mut self, conference: &Conference, keys: &str) -> Result<Option<Svaml>, Ending> {
        let pressed = match conference.keys {
            Keys::Ignored | Keys::Forwarded => keys,
            Keys::Collected { max_digits, .. } => menu::collected(keys, max_digits),
        };
        if let Some(rest) = keys.strip_prefix(pressed).filter(|rest| !rest.is_empty()) {
            self.in_conference.push_front(Input::Digits(rest.to_owned()));
        }
        self.wait(KEY_MS * pressed.len() as u64).await?;
        self.line.note(What::Pressed { digits: pressed.to_owned() });
        match conference.keys {
            Keys::Ignored => Ok(None),
            Keys::Forwarded => {
                self.line.note(What::Forwarded { digits: pressed.to_owned() });
                Ok(None)
            }
            Keys::Collected { max_digits, timeout_ms } => {
                let digits = pressed.trim_end_matches('#');
                let complete = digits.len() < pressed.len() || digits.len() >= max_digits;
                if !complete {
                    self.wait(timeout_ms).await?;
                }
                // A lone # collects nothing.
                if digits.is_empty() { Ok(None) } else { self.detected(&conference.id, digits).await }
            }
        }
    }

    /// Wants a plain 200, and nothing depends on it; SVAML is obeyed as that of any PIE.
    async fn detected(&mut self, conference: &str, digits: &str) -> Result<Option<Svaml>, Ending> {
        let result = MenuResult {
            kind: MenuResultKind::Sequence,
            value: digits.to_owned(),
            menu_id: conference.to_owned(),
            input_method: InputMethod::Dtmf,
        };
        match self.ask_or_tell(Kind::Pie, self.facts.pie(self.now(), &result)).await {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Silence) => Ok(None),
            Err(Unanswered::Illegal) => Err(self.ending(Reason::CallbackError)),
        }
    }
}
