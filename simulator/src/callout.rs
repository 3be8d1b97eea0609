//! A callout: what the application asks the platform to call, read as strictly as the documents have it.

use proto::svaml::limits::{CALL_MAX_SECS, CONFERENCE_ID_MAX_CHARS, SAY_MAX_CHARS};
use proto::{Kind, Svaml};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::platform::http_url;
use crate::problem::Problem;
use crate::prompt::{self, Heard};
use crate::rest::read;
use crate::script::{CallScript, Caller, Endpoint};

/// Free text given at call start.
const CUSTOM_MAX_BYTES: usize = 1_024;

/// A callout that can be placed.
#[derive(Debug, Clone)]
pub(crate) struct Callout {
    /// Empty: none was given.
    pub(crate) cli: String,
    /// Absent where the answer to the ICE is to say it.
    pub(crate) to: Option<Endpoint>,
    /// Tones for whoever answers.
    pub(crate) dtmf: Option<String>,
    pub(crate) custom: Option<String>,
    pub(crate) max_secs: Option<u32>,
    pub(crate) joins: Joined,
    pub(crate) ice: Asked,
    pub(crate) ace: Asked,
    pub(crate) pie: Asked,
    pub(crate) dice: Asked,
}

/// What whoever answers gets, where no answer says otherwise.
#[derive(Debug, Clone)]
pub(crate) enum Joined {
    Prompts(Vec<Heard>),
    Conference(Room),
    /// Whatever SVAML says.
    Nothing,
}

/// A conference, as it is joined.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) id: String,
    pub(crate) greeting: Option<String>,
    /// What is heard while nobody else is there.
    pub(crate) moh: Option<String>,
}

/// Who is asked what to do, or told what happened.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Nobody,
    /// At the application's callback URLs.
    Application,
    At(Url),
    /// Nobody, for the answer came with the callout.
    Inline(Box<Svaml>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    method: Method,
    tts_callout: Option<Value>,
    conference_callout: Option<Value>,
    custom_callout: Option<Value>,
}

#[derive(Debug, Deserialize)]
enum Method {
    #[serde(rename = "ttsCallout")]
    Tts,
    #[serde(rename = "conferenceCallout")]
    Conference,
    #[serde(rename = "customCallout")]
    Custom,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Tts {
    #[serde(default)]
    cli: String,
    destination: Option<Destination>,
    domain: Option<Domain>,
    dtmf: Option<String>,
    custom: Option<String>,
    /// Any voice will do, for nobody hears it.
    #[serde(rename = "locale")]
    _locale: Option<String>,
    text: Option<String>,
    /// Several, joined by `;`, in place of the text.
    prompts: Option<String>,
    #[serde(default)]
    enable_ace: bool,
    #[serde(default)]
    enable_dice: bool,
    #[serde(default)]
    enable_pie: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Conference {
    #[serde(default)]
    cli: String,
    destination: Option<Destination>,
    domain: Option<Domain>,
    dtmf: Option<String>,
    custom: Option<String>,
    max_duration: Option<u32>,
    #[serde(rename = "locale")]
    _locale: Option<String>,
    greeting: Option<String>,
    conference_id: Option<String>,
    /// Those who are called press no keys in a conference.
    #[serde(rename = "conferenceDtmfOptions")]
    _conference_dtmf_options: Option<Keys>,
    moh_class: Option<String>,
    #[serde(default)]
    enable_ace: bool,
    #[serde(default)]
    enable_dice: bool,
    #[serde(default)]
    enable_pie: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Keys {
    #[serde(rename = "mode")]
    _mode: Option<KeysMode>,
    #[serde(rename = "maxDigits")]
    _max_digits: Option<u32>,
    #[serde(rename = "timeoutMills")]
    _timeout_mills: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeysMode {
    Ignore,
    Forward,
    Detect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Custom {
    #[serde(default)]
    cli: String,
    destination: Option<Destination>,
    dtmf: Option<String>,
    custom: Option<String>,
    max_duration: Option<u32>,
    ice: Option<String>,
    ace: Option<String>,
    pie: Option<String>,
    dice: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    #[serde(rename = "type")]
    kind: String,
    endpoint: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Domain {
    Pstn,
    Mxp,
}

impl Callout {
    pub(crate) fn read(asked: Value) -> Result<Self, Problem> {
        let wire: Wire = read::fields(asked)?;
        let callout = match (wire.method, wire.tts_callout, wire.conference_callout, wire.custom_callout) {
            (Method::Tts, Some(body), None, None) => Self::tts(read::fields(body)?)?,
            (Method::Conference, None, Some(body), None) => Self::conference(read::fields(body)?)?,
            (Method::Custom, None, None, Some(body)) => Self::custom(read::fields(body)?)?,
            (Method::Tts, None, None, None) => return Err(missing("ttsCallout")),
            (Method::Conference, None, None, None) => return Err(missing("conferenceCallout")),
            (Method::Custom, None, None, None) => return Err(missing("customCallout")),
            (Method::Tts | Method::Conference | Method::Custom, _, _, _) => {
                return Err(Problem::parameter("the body is not the method's own"));
            }
        };
        callout.fits()
    }

    fn tts(body: Tts) -> Result<Self, Problem> {
        let heard = match (body.text, body.prompts) {
            (Some(text), None) => vec![Heard::speech(&text)],
            (None, Some(prompts)) => prompt::parts(&prompts),
            (None, None) => return Err(missing("text")),
            (Some(_), Some(_)) => return Err(Problem::parameter("prompts stands in the place of text")),
        };
        if heard.is_empty() || heard.iter().any(|heard| heard.text.is_empty()) {
            return Err(Problem::parameter("there is nothing to say"));
        }
        if heard.iter().map(|heard| heard.text.chars().count()).sum::<usize>() > SAY_MAX_CHARS {
            return Err(Problem::parameter("at most 600 characters are spoken"));
        }
        Ok(Self {
            to: Some(endpoint(body.destination.ok_or_else(|| missing("destination"))?, body.domain)?),
            cli: body.cli,
            dtmf: body.dtmf,
            custom: body.custom,
            max_secs: None,
            joins: Joined::Prompts(heard),
            ice: Asked::Nobody,
            ace: Asked::if_wanted(body.enable_ace),
            pie: Asked::if_wanted(body.enable_pie),
            dice: Asked::if_wanted(body.enable_dice),
        })
    }

    fn conference(body: Conference) -> Result<Self, Problem> {
        let id = body.conference_id.ok_or_else(|| missing("conferenceId"))?;
        if !(1..=CONFERENCE_ID_MAX_CHARS).contains(&id.chars().count()) {
            return Err(Problem::parameter("conferenceId has 1 to 64 characters"));
        }
        if !matches!(body.moh_class.as_deref(), None | Some("ring" | "music1" | "music2" | "music3")) {
            return Err(Problem::parameter("mohClass is one of ring, music1, music2, music3"));
        }
        Ok(Self {
            to: Some(endpoint(body.destination.ok_or_else(|| missing("destination"))?, body.domain)?),
            cli: body.cli,
            dtmf: body.dtmf,
            custom: body.custom,
            max_secs: body.max_duration,
            joins: Joined::Conference(Room { id, greeting: body.greeting, moh: body.moh_class }),
            ice: Asked::Nobody,
            ace: Asked::if_wanted(body.enable_ace),
            pie: Asked::if_wanted(body.enable_pie),
            dice: Asked::if_wanted(body.enable_dice),
        })
    }

    /// With a destination and no `ice`, it is called as in the other callouts. With neither, the application says in
    /// its answer whom to call. An inline `ice` says it itself, so the documents have cli and destination left out.
    fn custom(body: Custom) -> Result<Self, Problem> {
        let ice = match (Asked::read("ice", body.ice, Kind::Ice)?, &body.destination) {
            (Asked::Application, Some(_)) => Asked::Nobody,
            (Asked::Inline(_), destination) if destination.is_some() || !body.cli.is_empty() => {
                return Err(Problem::parameter("cli and destination are left out with an inline ice"));
            }
            (ice, _) => ice,
        };
        let dice = Asked::read("dice", body.dice, Kind::Dice)?;
        Ok(Self {
            to: body.destination.map(|destination| endpoint(destination, None)).transpose()?,
            cli: body.cli,
            dtmf: body.dtmf,
            custom: body.custom,
            max_secs: body.max_duration,
            joins: Joined::Nothing,
            ice,
            ace: Asked::read("ace", body.ace, Kind::Ace)?,
            pie: Asked::read("pie", body.pie, Kind::Pie)?,
            dice,
        })
    }

    /// What holds for callouts of every kind.
    fn fits(self) -> Result<Self, Problem> {
        if self.custom.as_ref().is_some_and(|custom| custom.len() > CUSTOM_MAX_BYTES) {
            return Err(Problem::parameter("custom holds at most 1,024 bytes"));
        }
        if self.max_secs.is_some_and(|secs| !(1..=CALL_MAX_SECS).contains(&secs)) {
            return Err(Problem::parameter("maxDuration is 1 to 14,400 seconds"));
        }
        let tones = self.dtmf.as_deref().unwrap_or_default();
        if !tones.bytes().all(|tone| matches!(tone, b'0'..=b'9' | b'#' | b'w')) {
            return Err(Problem::parameter("dtmf is of 0-9, # and w"));
        }
        let in_app = matches!(self.to, Some(Endpoint::Username(_)));
        if !(in_app || self.cli.is_empty() || self.cli == "private" || is_number(&self.cli)) {
            return Err(Problem::parameter("cli is no number in E.164"));
        }
        Ok(self)
    }

    /// The call's own facts: who calls whom.
    pub(crate) fn script(&self) -> CallScript {
        let to = self.to.clone().unwrap_or(Endpoint::Number(String::new()));
        CallScript { custom: self.custom.clone(), ..CallScript::new(Caller::Server(self.cli.clone()), to) }
    }
}

impl Asked {
    fn if_wanted(enabled: bool) -> Self {
        if enabled { Self::Application } else { Self::Nobody }
    }

    /// A URL, or an answer as JSON text. To a DICE there is no answer.
    fn read(name: &str, text: Option<String>, kind: Kind) -> Result<Self, Problem> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(Self::Application) };
        let wrong = |why: String| Problem::Parameter(format!("{name}: {why}"));
        if !text.trim_start().starts_with('{') || kind == Kind::Dice {
            return http_url(&text).map(Self::At).map_err(|error| wrong(error.to_string()));
        }
        let svaml = read::svaml(text.as_bytes()).map_err(wrong)?;
        svaml.check(kind).map_err(|problems| wrong(problems.to_string()))?;
        Ok(Self::Inline(Box::new(svaml)))
    }
}

fn missing(name: &str) -> Problem {
    Problem::Missing(name.to_owned())
}

fn endpoint(destination: Destination, domain: Option<Domain>) -> Result<Endpoint, Problem> {
    let Destination { kind, endpoint } = destination;
    let (to, own) = match kind.to_ascii_lowercase().as_str() {
        "number" if is_number(&endpoint) => (Endpoint::Number(endpoint), Domain::Pstn),
        "number" => return Err(Problem::parameter("destination is no number in E.164")),
        "username" if !endpoint.is_empty() => (Endpoint::Username(endpoint), Domain::Mxp),
        "sip" if endpoint.contains('@') => (Endpoint::Sip(endpoint), Domain::Pstn),
        _ => return Err(Problem::parameter("destination is none of number, username and sip")),
    };
    match (own, domain) {
        (_, None) | (Domain::Pstn, Some(Domain::Pstn)) | (Domain::Mxp, Some(Domain::Mxp)) => Ok(to),
        (Domain::Pstn, Some(Domain::Mxp)) | (Domain::Mxp, Some(Domain::Pstn)) => {
            Err(Problem::parameter("domain is not that of the destination"))
        }
    }
}

/// The documents' own samples leave the plus out.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit())
}
