//! The nine actions.

use serde::{Deserialize, Serialize};

use super::instruction::{Header, RecordingOptions};

/// What happens to the call. Names are read in every casing Sinch's documents and customers use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum Action {
    /// End the call.
    #[serde(alias = "Hangup", alias = "hangUp", alias = "HangUp")]
    Hangup,
    /// Go on as the call would have gone.
    #[serde(alias = "Continue")]
    Continue,
    /// To a phone number.
    #[serde(alias = "ConnectPstn", alias = "connectpstn", alias = "connectPSTN", alias = "ConnectPSTN")]
    ConnectPstn(ConnectPstn),
    /// To an in-app user.
    #[serde(alias = "ConnectMxp", alias = "connectmxp", alias = "connectMXP", alias = "ConnectMXP")]
    ConnectMxp(ConnectMxp),
    /// Into a conference.
    #[serde(alias = "ConnectConf", alias = "connectconf", alias = "connectCONF")]
    ConnectConf(ConnectConf),
    /// To a SIP address.
    #[serde(alias = "ConnectSip", alias = "connectsip", alias = "connectSIP", alias = "ConnectSIP")]
    ConnectSip(ConnectSip),
    /// To a WebSocket (closed beta).
    #[serde(alias = "ConnectStream", alias = "connectstream")]
    ConnectStream(ConnectStream),
    /// Ask the caller.
    #[serde(alias = "RunMenu", alias = "runmenu")]
    RunMenu(RunMenu),
    /// Keep the caller waiting.
    #[serde(alias = "Park")]
    Park(Park),
}

impl Action {
    /// The one action that dials a number, and so can be rated and capped.
    pub fn connect_pstn(&self) -> Option<&ConnectPstn> {
        if let Self::ConnectPstn(connect) = self { Some(connect) } else { None }
    }

    /// The name as it goes over the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hangup => "hangup",
            Self::Continue => "continue",
            Self::ConnectPstn(_) => "connectPstn",
            Self::ConnectMxp(_) => "connectMxp",
            Self::ConnectConf(_) => "connectConf",
            Self::ConnectSip(_) => "connectSip",
            Self::ConnectStream(_) => "connectStream",
            Self::RunMenu(_) => "runMenu",
            Self::Park(_) => "park",
        }
    }
}

/// To a phone number. A number alone is one too.
///
/// ```
/// use proto::{Svaml, svaml::ConnectPstn};
/// let to = ConnectPstn::to("+46701234567").cli("+46850001111").max_duration_secs(600).amd();
/// assert!(Svaml::ice().connect_pstn(to).check().is_ok());
/// assert!(Svaml::pie().connect_pstn("+46701234567").check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectPstn {
    /// E.164; absent: the number that was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Seconds, at most [`CALL_MAX_SECS`](super::limits::CALL_MAX_SECS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
    /// Seconds it may ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial_timeout: Option<u32>,
    /// The number shown; `private` hides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli: Option<String>,
    /// No ACE and no DICE: nothing to bill by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_callbacks: Option<bool>,
    /// Played on answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtmf: Option<String>,
    /// Country of the ring tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indications: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amd: Option<AmdOptions>,
}

/// Answering machine detection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AmdOptions {
    #[serde(default)]
    pub enabled: bool,
    /// The verdict comes as a notify, the ACE at once.
    #[serde(default, rename = "async", skip_serializing_if = "Option::is_none")]
    pub asynchronous: Option<bool>,
}

/// Where to connect: `{type, endpoint}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Destination {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub endpoint: String,
}

/// To an in-app user. A user's name alone is one too.
///
/// ```
/// use proto::{Svaml, svaml::ConnectMxp};
/// let to = ConnectMxp::to("alice").header("queue", "sales");
/// assert!(Svaml::ice().connect_mxp(to).check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectMxp {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    #[serde(alias = "callheaders", skip_serializing_if = "Vec::is_empty")]
    pub call_headers: Vec<Header>,
    /// Recording an in-app call goes through the action, not through an instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_options: Option<RecordingOptions>,
}

/// Into a conference. Its id alone is one too.
///
/// ```
/// use proto::{Svaml, svaml::ConnectConf};
/// assert!(Svaml::ace().connect_conf(ConnectConf::to("standup").moh("music1")).check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectConf {
    pub conference_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conference_dtmf_options: Option<ConferenceDtmf>,
    /// `ring`, `music1`, `music2`, `music3`; silence if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moh: Option<String>,
}

/// What becomes of keys pressed in a conference.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConferenceDtmf {
    /// `ignore` (default), `forward` or `detect` (each input is a PIE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_digits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_mills: Option<u32>,
}

/// To a SIP address. An address alone is one too.
///
/// ```
/// use proto::{Svaml, svaml::ConnectSip};
/// let to = ConnectSip::to("alice@example.com").transport("TLS").header("X-Queue", "sales");
/// assert!(Svaml::pie().connect_sip(to).check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectSip {
    pub destination: Destination,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_callbacks: Option<bool>,
    #[serde(default, alias = "callheaders", skip_serializing_if = "Vec::is_empty")]
    pub call_headers: Vec<Header>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moh: Option<String>,
    /// `UDP` (default), `TCP`, `TLS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
}

/// To a WebSocket. A URL alone is one too.
///
/// ```
/// use proto::{Svaml, svaml::ConnectStream};
/// let to = ConnectStream::to("wss://example.com/audio").sample_rate_hertz(16_000);
/// assert!(Svaml::ice().connect_stream(to).check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectStream {
    pub destination: Destination,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming_options: Option<StreamingOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
    #[serde(default, alias = "callheaders", skip_serializing_if = "Vec::is_empty")]
    pub call_headers: Vec<Header>,
}

/// The audio of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamingOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Hertz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
}

/// Menus that lead to each other. A [`Menu`] alone is one too.
///
/// ```
/// use proto::{Svaml, svaml::{Menu, RunMenu}};
/// let menus = RunMenu::main(Menu::ask("Press 1 for sales, 2 for your account.").key('1', "sales").key_to('2', "account"))
///     .and("account", Menu::ask("Enter your account number.").digits(6))
///     .locale("en-GB");
/// assert!(Svaml::ice().run_menu(menus).check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunMenu {
    /// The caller may press before the prompt ends; Sinch's default is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barge: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Id of the first menu; absent: the one called `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_menu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_voice: Option<bool>,
    pub menus: Vec<Menu>,
}

/// What the caller hears, and what each key gives.
///
/// ```
/// use proto::svaml::Menu;
/// let menu = Menu::ask("For sales, press 1.").key('1', "sales").timeout_secs(7).repeats(2);
/// assert_eq!((menu.options[0].dtmf.as_str(), menu.options[0].action.as_str()), ("1", "return(sales)"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Menu {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_digits: Option<u32>,
    /// Silence after which input ends; default 5,000 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_mills: Option<u32>,
    /// For voice input; default 20,000 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout_mills: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<MenuOption>,
}

/// A key of a menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MenuOption {
    /// The key; some senders write a number.
    #[serde(deserialize_with = "text_or_number")]
    pub dtmf: String,
    /// `menu(id)` or `return(value)`.
    pub action: String,
}

/// What a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MenuTarget<'a> {
    Menu(&'a str),
    Return(&'a str),
}

impl MenuOption {
    /// Reads `menu(id)` or `return(value)`; `None` for anything else.
    pub fn target(&self) -> Option<MenuTarget<'_>> {
        let inside = |name: &str| {
            let (head, rest) = self.action.split_at_checked(name.len())?;
            head.eq_ignore_ascii_case(name).then(|| rest.strip_prefix('(')?.strip_suffix(')')).flatten()
        };
        inside("menu").map(MenuTarget::Menu).or_else(|| inside("return").map(MenuTarget::Return))
    }
}

/// Keep the caller waiting. What is said at first, alone, is one too.
///
/// ```
/// use proto::{Svaml, svaml::Park};
/// let park = Park::intro("All lines are busy.").hold("https://example.com/music.mp3").max_duration_secs(300);
/// assert!(Svaml::ice().park(park).check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Park {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Played once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intro_prompt: Option<String>,
    /// Repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_prompt: Option<String>,
    /// Seconds, at most [`PARK_MAX_SECS`](super::limits::PARK_MAX_SECS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Key;
    impl serde::de::Visitor<'_> for Key {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a key: text or a number")
        }
        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Key)
}
