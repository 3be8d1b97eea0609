//! The seven instructions. `ReportCallStatus` answers only DICE, which callbus answers with `{}`.

use serde::{Deserialize, Serialize};

/// Something done before the action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum Instruction {
    /// URLs, `#href[url]`, `#tts[text]`, `#ssml[…]` or names of uploaded files.
    #[serde(alias = "PlayFiles", alias = "playfiles")]
    PlayFiles {
        ids: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        locale: Option<String>,
    },
    /// Speak text.
    #[serde(alias = "Say")]
    Say {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        locale: Option<String>,
    },
    #[serde(alias = "SendDtmf", alias = "senddtmf", alias = "sendDTMF", alias = "SendDTMF")]
    SendDtmf { value: String },
    #[serde(alias = "SetCookie", alias = "setcookie")]
    SetCookie { key: String, value: String },
    /// Pick up the inbound leg: billing starts.
    #[serde(alias = "Answer")]
    Answer,
    #[serde(alias = "StartRecording", alias = "startrecording")]
    StartRecording {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        options: Option<RecordingOptions>,
    },
    #[serde(alias = "StopRecording", alias = "stoprecording")]
    StopRecording,
}

impl Instruction {
    /// Speak text in the call's default language.
    pub fn say(text: impl Into<String>) -> Self {
        Self::Say { text: text.into(), locale: None }
    }

    /// The name as it goes over the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PlayFiles { .. } => "playFiles",
            Self::Say { .. } => "say",
            Self::SendDtmf { .. } => "sendDtmf",
            Self::SetCookie { .. } => "setCookie",
            Self::Answer => "answer",
            Self::StartRecording { .. } => "startRecording",
            Self::StopRecording => "stopRecording",
        }
    }
}

/// Where a recording goes; by default all is left to Sinch.
///
/// ```
/// use proto::{Svaml, svaml::RecordingOptions};
/// let to = RecordingOptions::to("s3://calls").credentials("key:secret:eu-north-1").transcribe("sv-SE");
/// assert!(Svaml::ace().start_recording(to).go_on().check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecordingOptions {
    /// `s3://bucket/[path]`, `azure://account/container[/file]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Default `mp3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_events: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcription_options: Option<TranscriptionOptions>,
}

/// Whether what is said is written down, and in which language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TranscriptionOptions {
    #[serde(default)]
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

/// A call header; each pair holds at most 1,024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub key: String,
    pub value: String,
}
