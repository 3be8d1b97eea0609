//! What an action takes, in one chain: `ConnectPstn::to("+46701234567").cli("private")`.
//!
//! What has no method here is a public field: `ConnectPstn { indications: Some("se".into()), ..ConnectPstn::to(number) }`.

use super::{
    AmdOptions, ConnectConf, ConnectMxp, ConnectPstn, ConnectSip, ConnectStream, Destination, Header, Park,
    RecordingOptions, StreamingOptions, TranscriptionOptions,
};
use crate::phone::PhoneNumber;

impl ConnectPstn {
    /// To this number, in E.164: `+46701234567`.
    pub fn to(number: impl Into<String>) -> Self {
        Self { number: Some(number.into()), ..Self::default() }
    }

    /// To the number that the caller dialled.
    pub fn dialled() -> Self {
        Self::default()
    }

    /// The number shown: one you rent or have verified; `private` hides it.
    #[must_use]
    pub fn cli(self, cli: impl Into<String>) -> Self {
        Self { cli: Some(cli.into()), ..self }
    }

    /// How long the call may last; at most 14,400.
    #[must_use]
    pub fn max_duration_secs(self, secs: u32) -> Self {
        Self { max_duration: Some(secs), ..self }
    }

    /// How long it may ring.
    #[must_use]
    pub fn dial_timeout_secs(self, secs: u32) -> Self {
        Self { dial_timeout: Some(secs), ..self }
    }

    /// Tones sent when the call is picked up.
    #[must_use]
    pub fn dtmf(self, tones: impl Into<String>) -> Self {
        Self { dtmf: Some(tones.into()), ..self }
    }

    /// Detects answering machines; the ACE comes with the verdict.
    #[must_use]
    pub fn amd(self) -> Self {
        Self { amd: Some(AmdOptions { enabled: true, asynchronous: None }), ..self }
    }

    /// Detects answering machines; the ACE comes at once, the verdict as a notify.
    #[must_use]
    pub fn amd_async(self) -> Self {
        Self { amd: Some(AmdOptions { enabled: true, asynchronous: Some(true) }), ..self }
    }

    /// No ACE and no DICE: such a call cannot be billed.
    #[must_use]
    pub fn suppress_callbacks(self) -> Self {
        Self { suppress_callbacks: Some(true), ..self }
    }
}

impl ConnectMxp {
    /// To this in-app user.
    pub fn to(user: impl Into<String>) -> Self {
        Self { destination: Some(Destination::of("username", user)), ..Self::default() }
    }

    /// To the user that the caller dialled.
    pub fn dialled() -> Self {
        Self::default()
    }

    /// Adds a header, which the app reads.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.call_headers.push(Header::of(key, value));
        self
    }
}

impl ConnectSip {
    /// To this address: `user@host`, and if need be `:port`.
    pub fn to(address: impl Into<String>) -> Self {
        Self { destination: Destination::of("sip", address), ..Self::default() }
    }

    /// The number shown; `private` hides it.
    #[must_use]
    pub fn cli(self, cli: impl Into<String>) -> Self {
        Self { cli: Some(cli.into()), ..self }
    }

    /// How long the call may last; at most 14,400.
    #[must_use]
    pub fn max_duration_secs(self, secs: u32) -> Self {
        Self { max_duration: Some(secs), ..self }
    }

    /// Adds a SIP header.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.call_headers.push(Header::of(key, value));
        self
    }

    /// Played while the SIP side holds: `ring`, `music1`, `music2` or `music3`.
    #[must_use]
    pub fn moh(self, music: impl Into<String>) -> Self {
        Self { moh: Some(music.into()), ..self }
    }

    /// `UDP` (Sinch's default), `TCP` or `TLS`.
    #[must_use]
    pub fn transport(self, transport: impl Into<String>) -> Self {
        Self { transport: Some(transport.into()), ..self }
    }
}

impl ConnectConf {
    /// Into this conference; it begins with its first participant.
    pub fn to(conference_id: impl Into<String>) -> Self {
        Self { conference_id: conference_id.into(), ..Self::default() }
    }

    /// Played to who is alone: `ring`, `music1`, `music2` or `music3`; silence without.
    #[must_use]
    pub fn moh(self, music: impl Into<String>) -> Self {
        Self { moh: Some(music.into()), ..self }
    }
}

impl ConnectStream {
    /// To this WebSocket: `wss://…`.
    pub fn to(url: impl Into<String>) -> Self {
        Self { destination: Destination::of("Websocket", url), ..Self::default() }
    }

    /// Of the audio both ways.
    #[must_use]
    pub fn sample_rate_hertz(mut self, hertz: u32) -> Self {
        let version = self.streaming_options.take().and_then(|options| options.version);
        Self { streaming_options: Some(StreamingOptions { version, sample_rate: Some(hertz) }), ..self }
    }

    /// How long the call may last; at most 14,400.
    #[must_use]
    pub fn max_duration_secs(self, secs: u32) -> Self {
        Self { max_duration: Some(secs), ..self }
    }

    /// Adds a header, sent in the first message.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.call_headers.push(Header::of(key, value));
        self
    }
}

impl Park {
    /// Says this once, then waits. [`Park::default`] waits in silence.
    pub fn intro(prompt: impl Into<String>) -> Self {
        Self { intro_prompt: Some(self::prompt(prompt)), ..Self::default() }
    }

    /// Said or played over and over.
    #[must_use]
    pub fn hold(self, prompt: impl Into<String>) -> Self {
        Self { hold_prompt: Some(self::prompt(prompt)), ..self }
    }

    /// How long the caller may wait; at most 600.
    #[must_use]
    pub fn max_duration_secs(self, secs: u32) -> Self {
        Self { max_duration: Some(secs), ..self }
    }
}

impl RecordingOptions {
    /// Into this store: `s3://bucket/[path]` or `azure://account/container[/file]`.
    pub fn to(destination_url: impl Into<String>) -> Self {
        Self { destination_url: Some(destination_url.into()), ..Self::default() }
    }

    /// Of the store: `key:secret:region` for S3, the account's key for Azure.
    #[must_use]
    pub fn credentials(self, credentials: impl Into<String>) -> Self {
        Self { credentials: Some(credentials.into()), ..self }
    }

    /// Writes down what is said, in this language.
    #[must_use]
    pub fn transcribe(self, locale: impl Into<String>) -> Self {
        let transcription = TranscriptionOptions { enabled: true, locale: Some(locale.into()) };
        Self { transcription_options: Some(transcription), ..self }
    }
}

impl Destination {
    fn of(kind: &str, endpoint: impl Into<String>) -> Self {
        Self { kind: Some(kind.to_owned()), endpoint: endpoint.into() }
    }
}

impl Header {
    fn of(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// A prompt of a menu or of a parked call: text is spoken, unless it names a file or another kind of prompt by
/// beginning with `http://`, `https://` or `#`.
pub(super) fn prompt(text: impl Into<String>) -> String {
    let text = text.into();
    let named = ["#", "http://", "https://"].iter().any(|begin| text.starts_with(begin));
    if named { text } else { format!("#tts[{text}]") }
}

/// The text or number alone is an action without options.
macro_rules! from {
    ($($source:ty => $action:ident::$make:ident),* $(,)?) => {
        $(impl From<$source> for $action {
            fn from(source: $source) -> Self {
                $action::$make(source)
            }
        })*
    };
}

from! {
    &str => ConnectPstn::to, String => ConnectPstn::to, PhoneNumber => ConnectPstn::to,
    &str => ConnectMxp::to, String => ConnectMxp::to,
    &str => ConnectSip::to, String => ConnectSip::to,
    &str => ConnectConf::to, String => ConnectConf::to,
    &str => ConnectStream::to, String => ConnectStream::to,
    &str => Park::intro, String => Park::intro,
}

impl From<&PhoneNumber> for ConnectPstn {
    fn from(number: &PhoneNumber) -> Self {
        Self::to(number.as_str())
    }
}
