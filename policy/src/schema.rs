//! The format of policy files as a JSON Schema, for editors that complete and underline while one types.
//!
//! It is built from the tables the loader reads by, so that a new word is in both. It knows shapes only; what a file
//! means (names, conditions, what goes with what) is for [`crate::Policy::load`] to say.

use serde_json::{Map, Value as Json, json};

use crate::ask;
use crate::emit;
use crate::given;
use crate::hours;
use crate::list;
use crate::load;
use crate::menu;
use crate::menu_template::{MENU_TEMPLATES, Wants};
use crate::rule;
use crate::short_form::{ACTIONS, Form, INSTRUCTIONS, OPTIONS, Target};
use crate::test_case;

/// The JSON Schema (draft 2020-12) of policy files.
///
/// ```
/// assert_eq!(policy::schema()["required"][0], "version");
/// ```
pub fn schema() -> Json {
    let mut schema = record(load::KEYS, section);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("callbus policy");
    schema["required"] = json!(["version"]);
    schema["$defs"] = json!({
        "text": text(),
        "duration": { "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+[smh]?$" }] },
        "reply": reply(),
        "rule": rule(),
        "emitting": emitting(),
        "menu": menu(),
        "span": record(hours::KEYS, |key| match key {
            "days" | "except" => one_or_more(reference("text")),
            _ => reference("text"),
        }),
        "test": test(),
    });
    schema
}

fn section(key: &str) -> Json {
    match key {
        "version" => json!({ "const": 1 }),
        "mode" => json!({ "const": "shadow" }),
        "defaults" => record(load::DEFAULTS_KEYS, |key| match key {
            "on_error" => json!({ "enum": ["deny", "next"] }),
            "say" => map_of(reference("text")),
            _ => reference("text"),
        }),
        "lists" => {
            let mut kept = record(list::KEYS, |key| match key {
                "live" => json!({ "const": true }),
                _ => json!({ "type": "string" }),
            });
            kept["oneOf"] = list::KEYS.iter().map(|key| json!({ "required": [key] })).collect();
            map_of(json!({ "anyOf": [list_of(reference("text")), kept] }))
        }
        "hours" => map_of(one_or_more(reference("span"))),
        "cli" => map_of(reference("text")),
        "menus" => map_of(reference("menu")),
        "ice" | "ace" | "pie" => list_of(reference("rule")),
        "dice" | "notify" => list_of(reference("emitting")),
        "tests" => list_of(reference("test")),
        _ => reference("text"),
    }
}

fn rule() -> Json {
    let mut rule = record(rule::KEYS, |key| match key {
        "reply" => reference("reply"),
        "deny" => json!({ "type": "string", "pattern": "^[A-Z][A-Z0-9_]{0,63}$" }),
        "ask" => ask(),
        "reserve" => json!({ "type": "boolean" }),
        "mode" => json!({ "const": "shadow" }),
        "remember" => map_of(reference("text")),
        _ => reference("text"),
    });
    rule["required"] = json!(["name"]);
    rule["oneOf"] = json!([{ "required": ["reply"] }, { "required": ["deny"] }, { "required": ["ask"] }]);
    rule
}

fn emitting() -> Json {
    let mut rule = record(emit::KEYS, |key| match key {
        "emit" => json!({ "type": "string", "maxLength": 64, "pattern": "^[a-z0-9_]+(\\.[a-z0-9_]+)*$" }),
        "data" => map_of(reference("text")),
        _ => reference("text"),
    });
    rule["required"] = json!(["name", "emit"]);
    rule
}

fn ask() -> Json {
    let mut ask = record(ask::KEYS, |key| match key {
        "url" => json!({ "type": "string", "pattern": "^https?://" }),
        "nats" => json!({ "const": true }),
        "timeout" => json!({ "type": ["string", "integer"], "pattern": "^[0-9]+(ms|s)?$" }),
        _ => json!({ "enum": ["deny", "next"] }),
    });
    ask["oneOf"] = json!([{ "required": ["url"] }, { "required": ["nats"] }]);
    ask
}

fn reply() -> Json {
    let yes = || json!({ "const": true });
    let mut properties = Map::new();
    for word in INSTRUCTIONS {
        let form = match *word {
            "say" | "play" => one_or_more(reference("text")),
            "cookie" => map_of(reference("text")),
            "answer" | "stop_record" => yes(),
            "record" => json!({ "anyOf": [yes(), { "type": "object" }] }),
            _ => reference("text"),
        };
        properties.insert((*word).to_owned(), form);
    }
    for action in ACTIONS {
        let form = match action.value {
            Target::None => yes(),
            Target::Optional(..) | Target::Destination(_) | Target::Field(_) | Target::Menu => reference("text"),
        };
        properties.insert(action.word.to_owned(), form);
    }
    for option in OPTIONS {
        let form = match option.form {
            Form::Text | Form::Prompt => reference("text"),
            Form::Bool => json!({ "type": "boolean" }),
            Form::Seconds => reference("duration"),
            Form::Amd => json!({ "anyOf": [yes(), { "type": "object" }] }),
            Form::Pairs => map_of(reference("text")),
            Form::ConferenceDtmf | Form::Streaming => json!({ "type": "object" }),
        };
        properties.insert(option.word.to_owned(), form);
    }
    properties.insert("locale".to_owned(), reference("text"));
    properties.insert("svaml".to_owned(), json!({ "type": "object" }));
    let words = ACTIONS.iter().map(|action| action.word).chain(["svaml"]);
    let one: Vec<Json> = words.map(|word| json!({ "required": [word] })).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "oneOf": one })
}

fn menu() -> Json {
    let mut menu = record(menu::KEYS, |key| match key {
        "repeats" | "max_digits" => json!({ "type": "integer", "minimum": 0, "maximum": 20 }),
        "timeout" | "max_timeout" => reference("duration"),
        "keys" => {
            let leads = json!({ "type": "object", "additionalProperties": false, "required": ["menu"],
                "properties": { "menu": { "type": "string" } } });
            map_of(json!({ "anyOf": [reference("text"), leads] }))
        }
        _ => reference("text"),
    });
    for template in MENU_TEMPLATES {
        menu["properties"][template.word] = match template.wants {
            Wants::True => json!({ "const": true }),
            Wants::Text => reference("text"),
            Wants::Choices | Wants::CompanyAndHours => map_of(reference("text")),
            Wants::PromptAndDigits => json!({ "type": "object", "required": ["prompt", "digits"] }),
        };
    }
    menu
}

fn test() -> Json {
    let mut test = record(test_case::KEYS, |key| match key {
        "given" => {
            let mut given = record(given::KEYS, |key| match key {
                "event" => json!({ "enum": given::EVENTS }),
                "now" => reference("text"),
                "app" => record(given::APP_KEYS, |_| reference("text")),
                "wallet" => record(given::WALLET_KEYS, |_| reference("text")),
                "price" => record(given::PRICE_KEYS, |_| reference("text")),
                "lists" => map_of(list_of(reference("text"))),
                "answer" => json!({ "anyOf": [{ "const": "fails" }, { "type": "object" }] }),
                _ => json!({ "type": "object" }),
            });
            given["required"] = json!(["event"]);
            given
        }
        "expect" => record(test_case::EXPECT_KEYS, |key| match key {
            "action" => json!({ "type": ["string", "object"] }),
            "remember" => map_of(reference("text")),
            "emits" => list_of(json!({ "type": ["string", "object"] })),
            _ => reference("text"),
        }),
        _ => reference("text"),
    });
    test["required"] = json!(test_case::KEYS);
    test
}

/// What needs no quotes is text too.
fn text() -> Json {
    json!({ "type": ["string", "number", "boolean"] })
}

fn record(keys: &[&str], form: impl Fn(&str) -> Json) -> Json {
    let properties: Map<String, Json> = keys.iter().map(|key| ((*key).to_owned(), form(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn map_of(form: Json) -> Json {
    json!({ "type": "object", "additionalProperties": form })
}

fn list_of(form: Json) -> Json {
    json!({ "type": "array", "items": form })
}

fn one_or_more(form: Json) -> Json {
    json!({ "anyOf": [form.clone(), list_of(form)] })
}
