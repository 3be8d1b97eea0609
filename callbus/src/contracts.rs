//! The contracts of events: a JSON Schema for each type, and the AsyncAPI document that says where each is found. Both
//! are made from the types that are written, and stand in `docs/events` for those who read.

use money::{Hold, WalletEvent};
use policy::Explanation;
use proto::event::{DECISION_KEY, TRACEPARENT, signed};
use proto::{
    AppName, Asked, CallId, Decided, DeckName, DeckPutInForce, DeliveryNoted, DestinationChanged, DestinationName,
    Dialled, Emitted, Kind, ListChanged, ListName, Partition, Placed, PolicyPutInForce, ProfileChanged, ProfileId,
    Progressed, Settled, Subject, WalletId, callback,
};
use schemars::generate::SchemaSettings;
use schemars::transform::RemoveRefSiblings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Where a program of the operator's own is asked.
const DECIDE: &str = "decide.v1.{kind}.{app}";
/// Its question and its answer, named as events are.
const QUESTION: &str = "decide.v1.question";
const ANSWER: &str = "decide.v1.answer";
/// Stands for any callback profile.
const PROFILE: &str = "SG_00000000-0000-4000-8000-000000000000";

/// One type of event, or what is asked and answered beside the log.
pub(crate) struct Contract {
    /// The CloudEvents type.
    pub name: String,
    pub schema: Value,
    /// The subject it is filed under; `None` for what the log does not keep.
    subject: Option<Subject>,
    /// In one sentence, when it happens.
    when: &'static str,
}

/// All of them, in reading order.
pub(crate) fn all() -> Vec<Contract> {
    let mut all: Vec<Contract> = subjects()
        .into_iter()
        .map(|subject| {
            let (schema, when) = described(&subject);
            Contract::new(subject.event_type(), schema, Some(subject), when)
        })
        .collect();
    let answer = schemars::json_schema!({ "type": "object", "properties": {
        "instructions": { "type": "array", "items": { "type": "object", "required": ["name"] } },
        "action": { "type": "object", "required": ["name"] },
    }, "required": ["action"] });
    all.push(Contract::new(
        QUESTION.to_owned(),
        of::<workers::Asking<'_>>(),
        None,
        "A rule asks: `ask: { nats: true }`.",
    ));
    all.push(Contract::new(ANSWER.to_owned(), answer, None, "The answer to such a question: SVAML."));
    all
}

impl Contract {
    fn new(name: String, schema: Schema, subject: Option<Subject>, when: &'static str) -> Self {
        let mut schema = schema.to_value();
        proto::prose::as_prose(&mut schema);
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["title"] = json!(name);
        Self { name, schema, subject, when }
    }

    /// The file its schema stands in.
    pub(crate) fn file(&self) -> String {
        format!("{}.schema.json", self.name)
    }
}

/// One subject of each shape; what stands for a name in it, [`address`] knows.
fn subjects() -> Vec<Subject> {
    #[expect(clippy::expect_used, reason = "names of our own making")]
    fn name<T, E: std::fmt::Debug>(parse: impl FnOnce(&'static str) -> Result<T, E>, text: &'static str) -> T {
        parse(text).expect("a name")
    }
    let app = name(AppName::new, "app");
    let partition = Partition::of(&name(CallId::new, "call"));
    Kind::ALL
        .into_iter()
        .map(|kind| Subject::Call { kind, app: app.clone(), partition })
        .chain([
            Subject::Wallet(name(WalletId::new, "wallet")),
            Subject::List(name(ListName::new, "list")),
            Subject::Policy(app.clone()),
            Subject::Deck(name(DeckName::new, "deck")),
            Subject::Destination(name(DestinationName::new, "destination")),
            Subject::Profile(name(ProfileId::new, PROFILE)),
            Subject::Delivery { destination: name(DestinationName::new, "destination"), partition },
        ])
        .collect()
}

fn described(subject: &Subject) -> (Schema, &'static str) {
    match subject {
        Subject::Call { kind, .. } => match kind {
            Kind::Ice => (received(*kind), "A call comes in."),
            Kind::Ace => (received(*kind), "A call is answered."),
            Kind::Pie => (received(*kind), "The caller used a menu."),
            Kind::Dice => (received(*kind), "A call has ended."),
            Kind::Notify => (received(*kind), "The platform tells something: a recording, an error."),
            Kind::Unknown => (received(*kind), "The platform sent an event this version has no name for."),
            Kind::Decided => (decided(), "A callback was answered: the answer, why, and the credit held for it."),
            Kind::Emitted => (of::<Emitted>(), "A rule of a policy made a named event of a DICE or a notify."),
            Kind::Asked => (of::<Asked>(), "Billing asked the platform how a call ended."),
            Kind::Placed => (of::<Placed>(), "A call of ours was ordered."),
            Kind::Dialled => (of::<Dialled>(), "The platform's call is a leg of one that was placed."),
            Kind::Progressed => (of::<Progressed>(), "A call that was placed went a step on."),
            Kind::Settled => {
                (of::<Settled>(), "The call detail record. Again when more becomes known: the newest stands.")
            }
        },
        Subject::Wallet(_) => (of::<WalletEvent>(), "Money of a wallet moved, or its settings changed."),
        Subject::List(_) => (of::<ListChanged>(), "A live list was edited."),
        Subject::Policy(_) => (of::<PolicyPutInForce>(), "A policy was put in force."),
        Subject::Deck(_) => (of::<DeckPutInForce>(), "A version of a price list was put in force."),
        Subject::Destination(_) => (of::<DestinationChanged>(), "A destination was put, paused, resumed or removed."),
        Subject::Profile(_) => {
            (of::<ProfileChanged>(), "A callback profile was put, enabled, disabled or removed, or stopped to answer.")
        }
        Subject::Delivery { .. } => (of::<DeliveryNoted>(), "A delivery to a destination waits, is tried, or is done."),
    }
}

#[expect(clippy::expect_used, reason = "only kinds that are received come here, and a test writes all of them")]
fn received(kind: Kind) -> Schema {
    callback::schema(kind).expect("a received kind has a schema")
}

/// What is written, not what would be accepted. Nothing stands beside a reference, so that readers of the older draft
/// that AsyncAPI's tools know understand the same.
fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_serialize().with_transform(RemoveRefSiblings::default()).into_generator()
}

fn of<T: JsonSchema>() -> Schema {
    generator().into_root_schema_for::<T>()
}

/// The worker writes the hold and the explanation into the body as they are; only here are their types known.
fn decided() -> Schema {
    let mut generator = generator();
    let parts =
        [("hold", generator.subschema_for::<Hold>()), ("explanation", generator.subschema_for::<Explanation>())];
    let mut schema = generator.into_root_schema_for::<Decided>().to_value();
    for (name, part) in parts {
        schema["properties"][name]["allOf"] = json!([part]);
    }
    schema["properties"]["answer"]["type"] = json!("object");
    #[expect(clippy::expect_used, reason = "it was a schema before")]
    schema.try_into().expect("an object is a schema")
}

/// The subject with its parameters in braces, which no name of ours can hold.
fn address(subject: &Subject) -> (String, &'static [&'static str]) {
    let text = subject.to_string();
    match subject {
        Subject::Call { partition, .. } => {
            (text.replace(&format!(".app.{partition}"), ".{app}.{partition}"), &["app", "partition"])
        }
        Subject::Wallet(_) => (text.replace(".wallet", ".{wallet}"), &["wallet"]),
        Subject::List(_) => (text.replace(".list.list", ".list.{list}"), &["list"]),
        Subject::Policy(_) => (text.replace(".app", ".{app}"), &["app"]),
        Subject::Deck(_) => (text.replace(".deck.deck", ".deck.{deck}"), &["deck"]),
        Subject::Destination(_) => {
            (text.replace(".destination.destination", ".destination.{destination}"), &["destination"])
        }
        Subject::Profile(_) => (text.replace(PROFILE, "{profile}"), &["profile"]),
        Subject::Delivery { partition, .. } => (
            text.replace(&format!(".destination.{partition}"), ".{destination}.{partition}"),
            &["destination", "partition"],
        ),
    }
}

/// The AsyncAPI 3.0 document, from the view of a program that subscribes. Schemas stand in files beside it.
pub(crate) fn asyncapi() -> Value {
    let contracts = all();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for contract in &contracts {
        let name = &contract.name;
        messages.insert(name.clone(), contract.message());
        let Some(subject) = &contract.subject else { continue };
        let (address, parameters) = address(subject);
        channels.insert(
            name.clone(),
            json!({
                "address": address,
                "summary": contract.when,
                "messages": { name.as_str(): { "$ref": format!("#/components/messages/{name}") } },
                "parameters": references(parameters),
                "x-stream": subject.stream().name(),
            }),
        );
        operations.insert(
            name.clone(),
            json!({
                "action": "receive",
                "channel": { "$ref": format!("#/channels/{name}") },
                "summary": contract.when,
                "messages": [{ "$ref": format!("#/channels/{name}/messages/{name}") }],
            }),
        );
    }
    let message = |name: &str| json!({ "$ref": format!("#/components/messages/{name}") });
    channels.insert(
        "decide".to_owned(),
        json!({
            "address": DECIDE,
            "summary": "Questions to programs that decide; request-reply, kept nowhere.",
            "messages": { QUESTION: message(QUESTION) },
            "parameters": references(&["kind", "app"]),
        }),
    );
    channels.insert(
        "reply".to_owned(),
        json!({
            "address": null,
            "summary": "Where the asker listens: the reply subject of the question.",
            "messages": { ANSWER: message(ANSWER) },
        }),
    );
    operations.insert(
        "decide".to_owned(),
        json!({
            "action": "receive",
            "channel": { "$ref": "#/channels/decide" },
            "summary": "Answer a question with SVAML, once, before its deadline.",
            "messages": [{ "$ref": format!("#/channels/decide/messages/{QUESTION}") }],
            "reply": {
                "channel": { "$ref": "#/channels/reply" },
                "messages": [{ "$ref": format!("#/channels/reply/messages/{ANSWER}") }],
            },
            "bindings": { "nats": { "queue": "deciders", "bindingVersion": "0.1.0" } },
        }),
    );
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:callbus:events",
        "info": {
            "title": "The events of callbus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a program hears that subscribes to callbus over NATS. Events come at least once, in the \
                order of the stream within a partition, a wallet, a list: act on ce-id at most once. The shape of a type \
                is for ever; it may gain optional fields, and a reader passes over what it does not know.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "nats": { "host": "127.0.0.1:4222", "protocol": "nats",
            "description": "Any broker of the installation; JetStream, with a key of the program's own." } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "parameters": parameters() },
    })
}

impl Contract {
    fn message(&self) -> Value {
        let mut message = json!({
            "name": self.name,
            "summary": self.when,
            "contentType": "application/json",
            "payload": { "$ref": format!("./{}", self.file()) },
        });
        if let Some(subject) = &self.subject {
            message["headers"] = headers(subject);
        } else if self.name == QUESTION {
            let deadline = json!({ "type": "string", "description": "Milliseconds of Unix time, after which a reply is of no use." });
            message["headers"] = json!({ "type": "object", "properties": { "callbus-deadline": deadline } });
        }
        message
    }
}

/// A CloudEvents 1.0 binary-mode event; values percent-encoded as the NATS binding says.
fn headers(subject: &Subject) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut properties = Map::new();
    let mut is = |name: &str, schema: Value| drop(properties.insert(name.to_owned(), schema));
    is("ce-specversion", json!({ "const": "1.0" }));
    is("ce-type", json!({ "const": subject.event_type() }));
    is(
        "ce-id",
        json!({ "type": "string", "pattern": "^[0-9a-f]{64}$",
        "description": "The same event always has the same id." }),
    );
    is("ce-source", text("The app's name, or the role that made the event."));
    is("ce-time", json!({ "type": "string", "format": "date-time" }));
    is("ce-datacontenttype", json!({ "const": "application/json" }));
    is("Nats-Msg-Id", text("The same as ce-id."));
    is(TRACEPARENT, text("W3C trace context, where traces are on."));
    match subject {
        Subject::Call { kind, .. } => {
            is("ce-subject", text("The call id; absent where the callback has none."));
            match kind {
                Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {
                    let was = "As it was sent: with the body, enough to check the signature again.";
                    for name in
                        [signed::AUTHORIZATION, signed::TIMESTAMP, signed::CONTENT_TYPE, signed::PATH, signed::METHOD]
                    {
                        is(&format!("ce-{name}"), text(was));
                    }
                    is(&format!("ce-{}", signed::UNVERIFIED), text("Why it was taken without a signature."));
                }
                Kind::Decided => is(&format!("ce-{DECISION_KEY}"), text("Same key, same answer.")),
                Kind::Emitted | Kind::Asked | Kind::Placed | Kind::Dialled | Kind::Progressed | Kind::Settled => {}
            }
        }
        Subject::Wallet(_)
        | Subject::List(_)
        | Subject::Policy(_)
        | Subject::Deck(_)
        | Subject::Destination(_)
        | Subject::Profile(_) => {
            is("ce-subject", text("What the event is about, by its name."));
        }
        Subject::Delivery { .. } => {
            is("ce-subject", text("The call id; absent where it is about the destination and not about one delivery."));
        }
    }
    let required = ["ce-specversion", "ce-type", "ce-id", "ce-source", "ce-time", "ce-datacontenttype"];
    json!({ "type": "object", "properties": properties, "required": required })
}

fn references(names: &[&str]) -> Value {
    let reference = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/parameters/{name}") }));
    names.iter().map(reference).collect::<Map<_, _>>().into()
}

fn parameters() -> Value {
    json!({
        "app": { "description": "The app's name in callbus.toml." },
        "kind": { "description": "What is to be answered.",
            "enum": Kind::ALL.into_iter().filter(|kind| kind.wants_svaml()).map(Kind::as_str).collect::<Vec<_>>() },
        "partition": { "description": "FNV-1a of the call id mod 64: order is kept within one.",
            "enum": Partition::all().map(|partition| partition.to_string()).collect::<Vec<_>>() },
        "wallet": { "description": "The wallet's id; all but letters, digits, - and _ percent-encoded." },
        "list": { "description": "The list's name." },
        "deck": { "description": "The price list's name." },
        "destination": { "description": "The destination's name." },
        "profile": { "description": "The profile's id." },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events")
    }

    /// `UPDATE_EXPECT=1` writes them.
    fn kept(name: &str, document: &Value) {
        let text = serde_json::to_string_pretty(document).unwrap() + "\n";
        let path = folder().join(name);
        expect_test::expect_file![path].assert_eq(&text);
    }

    #[test]
    fn the_files_are_what_the_types_say() {
        let mut files = BTreeSet::from(["asyncapi.json".to_owned()]);
        for contract in all() {
            kept(&contract.file(), &contract.schema);
            files.insert(contract.file());
        }
        kept("asyncapi.json", &asyncapi());
        let there = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        assert_eq!(there.collect::<BTreeSet<_>>(), files, "a file of no type");
    }
}
