//! The short form of a reply (`{ say: "…", menu: main }`), rewritten into SVAML's own shape with every place kept.

use proto::PhoneNumber;

use crate::reader::{Reader, prompt};
use crate::reply::CLI_AUTO;
use crate::yaml::{Entry, Node};

/// What the menus of all replies may take, in bytes: each reply holds its own copy.
const MENU_BYTES_MAX: usize = 4 << 20;

/// How the value of an option is written.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Text,
    Prompt,
    Bool,
    Seconds,
    /// `true`, or a map of fields.
    Amd,
    /// A map of names and texts.
    Pairs,
    ConferenceDtmf,
    Streaming,
}

pub(crate) struct ActionWord {
    pub(crate) word: &'static str,
    svaml: &'static str,
    /// Where the value of the word itself goes.
    pub(crate) value: Target,
}

#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// `true` alone.
    None,
    Field(&'static str),
    /// `true` or text.
    Optional(&'static str, Form),
    Destination(&'static str),
    Menu,
}

pub(crate) const ACTIONS: &[ActionWord] = &[
    ActionWord { word: "hangup", svaml: "hangup", value: Target::None },
    ActionWord { word: "continue", svaml: "continue", value: Target::None },
    ActionWord { word: "connect_pstn", svaml: "connectPstn", value: Target::Optional("number", Form::Text) },
    ActionWord { word: "connect_mxp", svaml: "connectMxp", value: Target::Destination("username") },
    ActionWord { word: "connect_sip", svaml: "connectSip", value: Target::Destination("sip") },
    ActionWord { word: "connect_conf", svaml: "connectConf", value: Target::Field("conferenceId") },
    ActionWord { word: "connect_stream", svaml: "connectStream", value: Target::Destination("Websocket") },
    ActionWord { word: "menu", svaml: "runMenu", value: Target::Menu },
    ActionWord { word: "park", svaml: "park", value: Target::Optional("introPrompt", Form::Prompt) },
];

pub(crate) struct OptionWord {
    pub(crate) word: &'static str,
    field: &'static str,
    pub(crate) form: Form,
    /// Words of the actions it belongs to.
    actions: &'static [&'static str],
}

const fn option(word: &'static str, field: &'static str, form: Form, actions: &'static [&'static str]) -> OptionWord {
    OptionWord { word, field, form, actions }
}

pub(crate) const OPTIONS: &[OptionWord] = &[
    option("max_duration", "maxDuration", Form::Seconds, &["connect_pstn", "connect_sip", "connect_stream", "park"]),
    option("dial_timeout", "dialTimeout", Form::Seconds, &["connect_pstn"]),
    option("cli", "cli", Form::Text, &["connect_pstn", "connect_sip"]),
    option("suppress_callbacks", "suppressCallbacks", Form::Bool, &["connect_pstn", "connect_sip"]),
    option("dtmf_on_answer", "dtmf", Form::Text, &["connect_pstn"]),
    option("indications", "indications", Form::Text, &["connect_pstn"]),
    option("amd", "amd", Form::Amd, &["connect_pstn"]),
    option("headers", "callHeaders", Form::Pairs, &["connect_mxp", "connect_sip", "connect_stream"]),
    option("moh", "moh", Form::Text, &["connect_conf", "connect_sip"]),
    option("transport", "transport", Form::Text, &["connect_sip"]),
    option("conference_dtmf", "conferenceDtmfOptions", Form::ConferenceDtmf, &["connect_conf"]),
    option("streaming", "streamingOptions", Form::Streaming, &["connect_stream"]),
    option("barge", "barge", Form::Bool, &["menu"]),
    option("enable_voice", "enableVoice", Form::Bool, &["menu"]),
    option("hold_prompt", "holdPrompt", Form::Prompt, &["park"]),
];

pub(crate) const INSTRUCTIONS: &[&str] = &["say", "play", "dtmf", "cookie", "answer", "record", "stop_record"];
/// Actions that take a locale.
const SPEAKING: &[&str] = &["connect_pstn", "menu", "park"];

/// The short form as SVAML: instructions in the order written, then the one action with its options.
pub(crate) fn rewrite(reader: &mut Reader<'_>, node: &Node) -> Option<Node> {
    let words = ACTIONS.iter().map(|action| action.word).chain(OPTIONS.iter().map(|option| option.word));
    let known: Vec<&str> = INSTRUCTIONS.iter().copied().chain(words).chain(["locale", "svaml"]).collect();
    let entries = reader.map(node, "a reply", &known);
    let locale = match node.get("locale") {
        Some(entry) => reader.text(&entry.value, "locale").map(|_| entry.value.as_text()),
        None => reader.locale.as_ref().map(|locale| Node::text(node.at, locale.as_str())),
    };
    let mut instructions = Vec::new();
    let mut actions: Vec<(&ActionWord, &Entry)> = Vec::new();
    for entry in entries {
        if let Some(action) = ACTIONS.iter().find(|action| action.word == entry.key) {
            actions.push((action, entry));
        } else {
            instruction(reader, entry, locale.as_ref(), &mut instructions);
        }
    }
    let [(word, entry)] = actions.as_slice() else {
        let all: Vec<&str> = ACTIONS.iter().map(|action| action.word).collect();
        match actions.get(1) {
            Some((_, second)) => {
                reader.findings.wrong_hint(second.at, "a reply has one action, and this is the second", "keep one")
            }
            None if node.entries().is_some() => {
                reader.findings.wrong_hint(
                    node.at,
                    "the reply has no action",
                    format!("add one of: {}", all.join(", ")),
                );
            }
            None => {}
        }
        return None;
    };
    let action = action(reader, word, entry, entries, locale)?;
    Some(Node::map(node.at, vec![("instructions", Node::list(node.at, instructions)), ("action", action)]))
}

fn action(
    reader: &mut Reader<'_>,
    word: &ActionWord,
    entry: &Entry,
    entries: &[Entry],
    locale: Option<Node>,
) -> Option<Node> {
    let (at, value) = (entry.at, &entry.value);
    let mut fields = vec![("name", Node::text(at, word.svaml))];
    let mut locale = locale.filter(|_| SPEAKING.contains(&word.word));
    match word.value {
        Target::None => {
            if value.bool() != Some(true) {
                reader.findings.wrong_hint(
                    value.at,
                    format!("{} takes no value", word.word),
                    format!("write {}: true", word.word),
                );
            }
        }
        Target::Optional(_, _) if value.bool() == Some(true) => {}
        Target::Optional(field, form) => fields.push((field, formed(reader, word.word, value, form)?)),
        Target::Field(field) => fields.push((field, formed(reader, word.word, value, Form::Text)?)),
        Target::Destination("username") if value.bool() == Some(true) => {}
        Target::Destination(kind) => {
            let endpoint = formed(reader, word.word, value, Form::Text)?;
            fields.push(("destination", Node::map(at, vec![("type", Node::text(at, kind)), ("endpoint", endpoint)])));
        }
        Target::Menu => {
            let id = reader.text(value, "menu")?;
            if !reader.menus.ids().any(|known| known == id) {
                let known: Vec<String> = reader.menus.ids().map(str::to_owned).collect();
                reader.findings.unknown(value.at, "menu", id, known.iter().map(String::as_str));
                return None;
            }
            if let Some(first) = reader.menus.without_main() {
                reader.findings.wrong_hint(first, "one menu must be called main", "Sinch refuses menus without it");
                return None;
            }
            let own = reader.menus.locale(id).filter(|_| !entries.iter().any(|entry| entry.key == "locale"));
            locale = own.cloned().or(locale);
            let menus = reader.menus.reachable(id, value.at);
            reader.menu_bytes = reader.menu_bytes.saturating_add(menus.weight());
            if reader.menu_bytes > MENU_BYTES_MAX {
                reader.findings.wrong_hint(
                    value.at,
                    "too many replies hold too large menus",
                    "share a rule, or shorten the menus",
                );
                return None;
            }
            fields.push(("mainMenu", value.as_text()));
            fields.push(("menus", menus));
        }
    }
    for entry in entries {
        let Some(option) = OPTIONS.iter().find(|option| option.word == entry.key) else { continue };
        if !option.actions.contains(&word.word) {
            let what = format!("{} has no {}", word.word, option.word);
            reader.findings.wrong_hint(entry.at, what, format!("it belongs to {}", option.actions.join(", ")));
            continue;
        }
        if option.word == "cli" {
            cli(reader, word, &entry.value);
        }
        fields.extend(formed(reader, option.word, &entry.value, option.form).map(|value| (option.field, value)));
    }
    fields.extend(locale.map(|locale| ("locale", locale)));
    Some(Node::map(at, fields))
}

fn cli(reader: &mut Reader<'_>, word: &ActionWord, node: &Node) {
    let Some(text) = reader.text(node, "cli") else { return };
    let number = || PhoneNumber::parse(text).is_ok_and(|number| number.as_str() == text);
    if text == CLI_AUTO && word.word != "connect_pstn" {
        reader.findings.wrong_hint(node.at, "cli: auto picks by the number called", "write the number to show");
    } else if text == CLI_AUTO && !reader.has_cli {
        reader.findings.wrong_hint(
            node.at,
            "cli: auto wants a cli map",
            "add cli: { \"+1\": \"+15550001111\" } to the file",
        );
    } else if text != CLI_AUTO && text != "private" && word.word == "connect_pstn" && !text.contains("${") && !number()
    {
        reader.findings.wrong_hint(node.at, "not a number to show", "write an E.164 number, private or auto");
    }
}

fn instruction(reader: &mut Reader<'_>, entry: &Entry, locale: Option<&Node>, into: &mut Vec<Node>) {
    let (at, value) = (entry.at, &entry.value);
    let with_locale = |mut fields: Vec<(&'static str, Node)>| {
        fields.extend(locale.map(|locale| ("locale", locale.clone())));
        Node::map(at, fields)
    };
    let several = || value.nodes().unwrap_or(std::slice::from_ref(value));
    match entry.key.as_str() {
        "say" => {
            for text in several() {
                if reader.text(text, "say").is_some() {
                    into.push(with_locale(vec![("name", Node::text(at, "say")), ("text", text.as_text())]));
                }
            }
        }
        "play" => {
            let ids: Vec<Node> = several().iter().map(Node::as_text).collect();
            into.push(with_locale(vec![("name", Node::text(at, "playFiles")), ("ids", Node::list(at, ids))]));
        }
        "dtmf" => into.push(Node::map(at, vec![("name", Node::text(at, "sendDtmf")), ("value", value.as_text())])),
        "cookie" => {
            for cookie in reader.any_map(value, "cookie") {
                let (key, value) = (Node::text(cookie.at, cookie.key.as_str()), cookie.value.as_text());
                into.push(Node::map(
                    cookie.at,
                    vec![("name", Node::text(at, "setCookie")), ("key", key), ("value", value)],
                ));
            }
        }
        "answer" if reader.bool(value, "answer") == Some(true) => {
            into.push(Node::map(at, vec![("name", Node::text(at, "answer"))]));
        }
        "stop_record" if reader.bool(value, "stop_record") == Some(true) => {
            into.push(Node::map(at, vec![("name", Node::text(at, "stopRecording"))]));
        }
        "record" => into.extend(recording(reader, at, value)),
        _ => {}
    }
}

fn recording(reader: &mut Reader<'_>, at: usize, value: &Node) -> Option<Node> {
    let name = ("name", Node::text(at, "startRecording"));
    match value.bool() {
        Some(true) => return Some(Node::map(at, vec![name])),
        Some(false) => return None,
        None => {}
    }
    let known = ["destination_url", "credentials", "format", "notification_events", "transcription"];
    let mut options = Vec::new();
    for entry in reader.map(value, "record", &known) {
        let value = &entry.value;
        match entry.key.as_str() {
            "destination_url" => options.push(("destinationUrl", value.as_text())),
            "credentials" => options.push(("credentials", value.as_text())),
            "format" => options.push(("format", value.as_text())),
            "notification_events" if reader.bool(value, "notification_events").is_some() => {
                options.push(("notificationEvents", value.clone()));
            }
            "transcription" => {
                reader.map(value, "transcription", &["enabled", "locale"]);
                options.push(("transcriptionOptions", value.clone()));
            }
            _ => {}
        }
    }
    Some(Node::map(at, vec![name, ("options", Node::map(value.at, options))]))
}

fn formed(reader: &mut Reader<'_>, word: &str, node: &Node, form: Form) -> Option<Node> {
    match form {
        Form::Text => reader.text(node, word).map(|_| node.as_text()),
        Form::Prompt => reader.text(node, word).map(|_| prompt(node)),
        Form::Bool => reader.bool(node, word).map(|_| node.clone()),
        Form::Seconds => reader.seconds(node, word).map(|secs| Node::plain(node.at, secs.to_string())),
        Form::Amd => {
            if node.bool().is_some() {
                return Some(Node::map(node.at, vec![("enabled", node.clone())]));
            }
            let fields = reader.map(node, word, &["async"]);
            let asynchronous =
                fields.iter().find(|entry| entry.key == "async").map(|entry| ("async", entry.value.clone()));
            let enabled = ("enabled", Node::plain(node.at, "true"));
            Some(Node::map(node.at, std::iter::once(enabled).chain(asynchronous).collect()))
        }
        Form::Pairs => {
            let pair = |entry: &Entry| {
                Node::map(
                    entry.at,
                    vec![("key", Node::text(entry.at, entry.key.as_str())), ("value", entry.value.as_text())],
                )
            };
            Some(Node::list(node.at, reader.any_map(node, word).iter().map(pair).collect()))
        }
        Form::ConferenceDtmf => {
            let mut fields = Vec::new();
            for entry in reader.map(node, word, &["mode", "max_digits", "timeout"]) {
                match entry.key.as_str() {
                    "mode" => fields.push(("mode", entry.value.as_text())),
                    "max_digits" => fields.push(("maxDigits", entry.value.clone())),
                    "timeout" => {
                        let secs = reader.seconds(&entry.value, "timeout")?;
                        fields.push(("timeoutMills", Node::plain(entry.at, secs.saturating_mul(1_000).to_string())));
                    }
                    _ => {}
                }
            }
            Some(Node::map(node.at, fields))
        }
        Form::Streaming => {
            let mut fields = Vec::new();
            for entry in reader.map(node, word, &["version", "sample_rate"]) {
                match entry.key.as_str() {
                    "version" => fields.push(("version", entry.value.clone())),
                    "sample_rate" => fields.push(("sampleRate", entry.value.clone())),
                    _ => {}
                }
            }
            Some(Node::map(node.at, fields))
        }
    }
}
