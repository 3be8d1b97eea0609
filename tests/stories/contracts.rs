//! The contracts of events in `docs/events` say what is so: of the fixtures, which are for ever, of a log that calls
//! have written, and in the terms of AsyncAPI itself. That they say what the types say is tested beside the types.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use jsonschema::Validator;
use proto::{Event, Filter, Kind, Stream, Subject};
use serde_json::{Map, Value, json};
use simulator::{CallScript, Caller, Endpoint, Input};
use tests::program::installed;
use tests::world::{ALLOWED, WALLET};
use tests::{World, eventually};

use crate::calls::{script, stories};

stories! {
    super::POLICY => what_calls_write_is_as_the_contracts_say,
}

const POLICY: &str = r#"
version: 1
lists: { blocked: { live: true } }
menus: { main: { prompt: "Press 1.", keys: { "1": sales } } }
ice:
  - { name: blocked, when: call.cli in lists.blocked, deny: BLOCKED }
  - { name: inbound, when: call.to.type == 'did', reply: { menu: main } }
  - { name: only, when: call.to.endpoint == '+46701234567', reserve: true,
      reply: { connect_pstn: "${call.to.endpoint}", amd: true } }
  - { name: others, deny: NOT_ALLOWLISTED }
ace: [{ name: default, reply: { continue: true } }]
pie:
  - { name: sales, when: menu.value == 'sales', reserve: true, reply: { connect_pstn: "+46701234567" } }
  - { name: default, reply: { hangup: true } }
dice: [{ name: ended, emit: call.ended, data: { result: "${call.result}" } }]
"#;

/// Types of events that the calls of this story do not write.
const ELSEWHERE: [&str; 8] =
    ["notify", "unknown", "asked", "placed", "dialled", "progressed", "delivery", "destination"];

/// The documents as they are published.
struct Contracts {
    asyncapi: Value,
    bodies: BTreeMap<String, Validator>,
}

impl Contracts {
    fn read() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events");
        let asyncapi: Value = serde_json::from_slice(&fs::read(folder.join("asyncapi.json"))?)?;
        let mut bodies = BTreeMap::new();
        for (name, message) in asyncapi["components"]["messages"].as_object().context("messages")? {
            let file = folder.join(message["payload"]["$ref"].as_str().context("a payload")?);
            let schema = serde_json::from_slice(&fs::read(&file).with_context(|| format!("{}", file.display()))?)?;
            ensure!(jsonschema::meta::is_valid(&schema), "{name} is no JSON Schema");
            bodies.insert(name.clone(), validator(&schema)?);
        }
        Ok(Self { asyncapi, bodies })
    }

    /// What is wrong with an event: its place, its headers, its body.
    fn faults(&self, event: &Event) -> Result<Vec<String>> {
        let name = event.subject.event_type();
        let mut faults = self.body(&name, &serde_json::from_slice(&event.data)?)?;
        let channel = &self.asyncapi["channels"][&name];
        if channel["x-stream"] != event.subject.stream().name() || !self.reaches(channel, &event.subject.to_string()) {
            faults.push(format!("{} is not on {channel}", event.subject));
        }
        let mut headers: Map<String, Value> = event.headers().into_iter().map(|(k, v)| (k, json!(v))).collect();
        headers.insert("Nats-Msg-Id".to_owned(), json!(event.id.as_str()));
        let described = &self.asyncapi["components"]["messages"][&name]["headers"];
        faults.extend(
            headers.keys().filter(|header| described["properties"].get(*header).is_none()).map(|h| format!("{h}: new")),
        );
        faults.extend(validator(described)?.iter_errors(&headers.into()).map(|error| error.to_string()));
        Ok(faults)
    }

    fn body(&self, name: &str, body: &Value) -> Result<Vec<String>> {
        let validator = self.bodies.get(name).with_context(|| format!("no schema of {name}"))?;
        Ok(validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect())
    }

    /// Whether a subject is one of a channel's, as far as the parameters say.
    fn reaches(&self, channel: &Value, subject: &str) -> bool {
        let address: Vec<&str> = channel["address"].as_str().unwrap_or_default().split('.').collect();
        let tokens: Vec<&str> = subject.split('.').collect();
        address.len() == tokens.len()
            && address.iter().zip(tokens).all(|(part, token)| {
                let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
                    return *part == token;
                };
                let values = &self.asyncapi["components"]["parameters"][name]["enum"];
                values.as_array().is_none_or(|values| values.contains(&json!(token)))
            })
    }

    fn channels_of(&self, subject: &str) -> Vec<&String> {
        let channels = self.asyncapi["channels"].as_object();
        channels
            .into_iter()
            .flatten()
            .filter(|(_, channel)| self.reaches(channel, subject))
            .map(|(name, _)| name)
            .collect()
    }
}

/// Formats count: a time is a time.
fn validator(schema: &Value) -> Result<Validator> {
    Ok(jsonschema::options().should_validate_formats(true).build(schema)?)
}

#[test]
fn every_fixture_is_as_the_contracts_say() -> Result<()> {
    let (contracts, root) = (Contracts::read()?, Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let mut seen = BTreeSet::new();
    for folder in ["proto/fixtures/callbacks", "proto/fixtures/events", "money/fixtures/events"] {
        for file in fs::read_dir(root.join(folder))? {
            let path = file?.path();
            let body: Value = serde_json::from_slice(&fs::read(&path)?)?;
            let stem = path.file_name().and_then(|name| name.to_str()).context("a name")?;
            let word = stem.split(['.', '_']).next().unwrap_or_default();
            let name = match word {
                "wallet" => "callbus.wallet.posted.v1".to_owned(),
                "list" => "callbus.list.changed.v1".to_owned(),
                "policy" | "deck" => format!("callbus.{word}.put_in_force.v1"),
                "destination" => "callbus.destination.changed.v1".to_owned(),
                "delivery" => "callbus.delivery.noted.v1".to_owned(),
                kind => format!("callbus.call.{kind}.v1"),
            };
            // Where a type has many shapes, its fixture is a list.
            let bodies = if let Value::Array(bodies) = body { bodies } else { vec![body] };
            for body in &bodies {
                assert_eq!(contracts.body(&name, body)?, [""; 0], "{}", path.display());
            }
            seen.insert(name);
        }
    }
    let described = contracts.bodies.keys().filter(|name| name.starts_with("callbus.") && !name.contains("unknown"));
    assert_eq!(seen, described.cloned().collect(), "each type has a fixture");

    // It is the schema that lets them through.
    let settled = root.join("proto/fixtures/events/settled.v1.json");
    let mut settled: Value = serde_json::from_slice(&fs::read(settled)?)?;
    settled["legs"][0]["cost"] = json!(1.9);
    assert_eq!(contracts.body("callbus.call.settled.v1", &settled)?.len(), 1);
    settled["ended_at"] = json!("yesterday");
    assert_eq!(contracts.body("callbus.call.settled.v1", &settled)?.len(), 2);
    Ok(())
}

#[test]
fn every_subject_has_one_channel() -> Result<()> {
    let contracts = Contracts::read()?;
    let mut subjects: Vec<String> = Kind::ALL.iter().map(|kind| format!("calls.v1.{kind}.acme.p63")).collect();
    subjects.extend(
        ["wallets.v1.a%2Eb", "config.v1.list.vip", "config.v1.policy.acme", "config.v1.deck.eu"].map(str::to_owned),
    );
    for text in subjects {
        let subject = Subject::parse(&text).with_context(|| format!("{text} is no subject"))?;
        assert_eq!(contracts.channels_of(&text), [&subject.event_type()], "{text}");
    }
    let app = "acme".parse()?;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.wants_svaml()) {
        assert_eq!(contracts.channels_of(&proto::subject::decide_subject(kind, &app)), ["decide"]);
    }
    for nobodys in ["calls.v1.ice.acme.p64", "calls.v1.ordered.acme.p01", "config.v1.list.a.b", "decide.v1.dice.acme"] {
        assert!(contracts.channels_of(nobodys).is_empty(), "{nobodys}");
    }
    Ok(())
}

#[test]
fn the_document_is_asyncapi() -> Result<()> {
    let contracts = Contracts::read()?;
    let schemas = installed("target/tools/asyncapi/node_modules/@asyncapi/specs/schemas")?;
    let asyncapi = jsonschema::validator_for(&serde_json::from_slice(&fs::read(schemas.join("3.0.0.json"))?)?)?;
    let faults = |document: &Value| -> Vec<String> {
        asyncapi.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
    };
    assert_eq!(faults(&contracts.asyncapi), [""; 0]);
    let mut broken = contracts.asyncapi;
    broken["operations"]["decide"]["action"] = json!("listen");
    assert!(!faults(&broken).is_empty());

    // A schema does not look where references lead.
    let mut references = Vec::new();
    collect(&broken, &mut references);
    for reference in references.iter().filter_map(|reference| reference.strip_prefix('#')) {
        assert!(broken.pointer(reference).is_some(), "{reference} leads nowhere");
    }
    Ok(())
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

async fn what_calls_write_is_as_the_contracts_say(world: World) -> Result<()> {
    let contracts = Contracts::read()?;
    world.top_up(WALLET, "100").await?;
    for typed in [
        &["list", "add", "blocked", "+46709999999"][..],
        &["wallet", "grant", WALLET, "5", "EUR", "--id", "welcome"],
        &["wallet", "set", WALLET, "--concurrent", "9"],
    ] {
        let done = world.callbus(typed)?;
        ensure!(done.status.success(), "{typed:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let platform = world.platform(21)?;
    let caller = || Caller::Number("+46700000001".to_owned());
    let mut inbound = CallScript::new(caller(), Endpoint::Did("+46850001111".to_owned()));
    inbound.inputs = vec![Input::Digits("1".to_owned())];
    for script in [script(ALLOWED), script("+15551234567"), inbound] {
        world.cdr(&platform.call(script).await.call).await?;
    }
    let expected: BTreeSet<String> = contracts
        .bodies
        .keys()
        // These need a platform that is silent, sends what nobody knows or is called by, or somebody to deliver to.
        .filter(|name| name.starts_with("callbus.") && !ELSEWHERE.iter().any(|it| name.contains(it)))
        .cloned()
        .collect();
    eventually("each type of event is written", async || {
        let (log, mut seen) = (world.log().await?, BTreeSet::new());
        for stream in Stream::ALL {
            let events: Vec<_> = log.read(&Filter::All(stream), 0).try_collect().await?;
            for event in events.iter().map(|recorded| &recorded.event) {
                let faults = contracts.faults(event)?;
                ensure!(faults.is_empty(), "{}: {faults:?}\n{}", event.subject, String::from_utf8_lossy(&event.data));
                seen.insert(event.subject.event_type());
            }
        }
        Ok(expected.is_subset(&seen).then_some(()))
    })
    .await
}
