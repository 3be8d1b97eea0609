//! A callout: what the application asks the platform to call, read as strictly as the documents have it.

use serde::Deserialize;
use serde_json::Value;

use crate::script::{CallScript, Caller, Endpoint};

/// Free text given at call start.
const CUSTOM_MAX_BYTES: usize = 1_024;
/// The default limit of a text.
const TEXT_MAX_CHARS: usize = 600;
const CONFERENCE_ID_MAX_CHARS: usize = 64;

/// A callout that can be placed. Those that ask for what they are to do with an ICE (`customCallout`) are not played.
#[derive(Debug, Clone)]
pub(crate) struct Callout {
    /// Empty: none was given.
    pub(crate) cli: String,
    pub(crate) to: String,
    pub(crate) custom: Option<String>,
    pub(crate) max_secs: Option<u32>,
    pub(crate) enable_ace: bool,
    pub(crate) enable_dice: bool,
    pub(crate) joins: Joined,
}

/// What whoever answers gets.
#[derive(Debug, Clone)]
pub(crate) enum Joined {
    Text(String),
    Conference(String),
}

/// Why a callout is not taken: the platform's code and words.
pub(crate) type Refusal = (u32, String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    method: String,
    #[serde(rename = "ttsCallout")]
    tts: Option<Body>,
    #[serde(rename = "conferenceCallout")]
    conference: Option<Body>,
}

/// The fields of both kinds; which belong to which is looked at below.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    cli: String,
    destination: Option<Destination>,
    #[serde(rename = "dtmf")]
    _dtmf: Option<String>,
    custom: Option<String>,
    max_duration: Option<u32>,
    #[serde(default)]
    enable_ace: bool,
    #[serde(default)]
    enable_dice: bool,
    #[serde(default, rename = "enablePie")]
    _enable_pie: bool,
    #[serde(rename = "locale")]
    _locale: Option<String>,
    domain: Option<String>,
    text: Option<String>,
    conference_id: Option<String>,
    #[serde(rename = "mohClass")]
    _moh_class: Option<String>,
    #[serde(rename = "greeting")]
    _greeting: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    #[serde(rename = "type")]
    kind: String,
    endpoint: String,
}

impl Callout {
    pub(crate) fn read(asked: &Value) -> Result<Self, Refusal> {
        let wire = Wire::deserialize(asked).map_err(|error| (40_001, error.to_string()))?;
        let missing = |name: &str| (40_002, format!("{name} is missing"));
        let (body, joins) = match (wire.method.as_str(), wire.tts, wire.conference) {
            ("ttsCallout", Some(body), None) => {
                let text = body.text.clone().ok_or_else(|| missing("text"))?;
                if body.conference_id.is_some() || body.max_duration.is_some() {
                    return Err((40_001, "conferenceId and maxDuration are those of a conferenceCallout".to_owned()));
                }
                (body, Joined::Text(text))
            }
            ("conferenceCallout", None, Some(body)) => {
                let id = body.conference_id.clone().ok_or_else(|| missing("conferenceId"))?;
                if body.text.is_some() {
                    return Err((40_001, "text is that of a ttsCallout".to_owned()));
                }
                (body, Joined::Conference(id))
            }
            (method, _, _) => return Err((40_001, format!("{method:?} is no method with its own body"))),
        };
        let too_long = match &joins {
            Joined::Text(text) => text.chars().count() > TEXT_MAX_CHARS,
            Joined::Conference(id) => id.is_empty() || id.chars().count() > CONFERENCE_ID_MAX_CHARS,
        };
        let custom_bytes = body.custom.as_ref().map_or(0, String::len);
        if too_long || custom_bytes > CUSTOM_MAX_BYTES {
            return Err((40_001, "text, conferenceId or custom is too long".to_owned()));
        }
        let Destination { kind, endpoint } = body.destination.ok_or_else(|| missing("destination"))?;
        let digits = endpoint.strip_prefix('+').unwrap_or_default();
        if !kind.eq_ignore_ascii_case("number")
            || !(7..=15).contains(&digits.len())
            || !digits.bytes().all(|digit| digit.is_ascii_digit())
        {
            return Err((40_001, "destination is no number in E.164".to_owned()));
        }
        if body.domain.as_deref().is_some_and(|domain| !domain.eq_ignore_ascii_case("pstn")) {
            return Err((40_001, "domain: a number is called in pstn".to_owned()));
        }
        Ok(Self {
            cli: body.cli,
            to: endpoint,
            custom: body.custom,
            max_secs: body.max_duration,
            enable_ace: body.enable_ace,
            enable_dice: body.enable_dice,
            joins,
        })
    }

    pub(crate) fn conference(&self) -> Option<&str> {
        match &self.joins {
            Joined::Text(_) => None,
            Joined::Conference(id) => Some(id),
        }
    }

    /// The call's own facts: who calls whom.
    pub(crate) fn script(&self) -> CallScript {
        let from = Caller::Number(self.cli.clone());
        CallScript { custom: self.custom.clone(), ..CallScript::new(from, Endpoint::Number(self.to.clone())) }
    }
}
