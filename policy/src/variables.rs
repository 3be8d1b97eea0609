//! What expressions see: the facts of one callback and the lists of the policy.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cel::objects::Key;
use cel::{Context, Value};
use serde_json::{Map, Value as Json};

use crate::explanation::Membership;
use crate::facts::Facts;
use crate::list::Asked;
use crate::policy::Policy;

/// Names that expressions begin with, and the fields they read of each.
pub(crate) type Reads = BTreeMap<String, BTreeSet<String>>;

/// The variables of one decision.
pub(crate) struct Variables<'a> {
    policy: &'a Policy,
    facts: Map<String, Json>,
    lists: Asked,
    /// The same as CEL has them. Making them takes longer than most conditions do, so it waits until one needs them.
    context: OnceCell<Context<'static, 'static>>,
}

impl<'a> Variables<'a> {
    /// `known` are answers of lists that were given before and stand.
    pub(crate) fn new(policy: &'a Policy, facts: &Facts<'_>, known: Vec<Membership>) -> Self {
        let lists = Asked::new(&policy.lists, facts.lists, known);
        Self { policy, facts: facts.to_json(policy), lists, context: OnceCell::new() }
    }

    /// A fact by its path; `None` where it, or what it stands in, is absent.
    pub(crate) fn fact(&self, path: &[String]) -> Option<&Json> {
        let (root, fields) = path.split_first()?;
        fields.iter().try_fold(self.facts.get(root)?, |record, field| record.as_object()?.get(field))
    }

    /// Whether a list holds a value; the answer is noted. `None` where there is no such list.
    pub(crate) fn on_list(&self, list: &str, value: &str) -> Option<bool> {
        self.lists.ask(list, value)
    }

    /// As CEL sees them: those that some expression reads. Names nobody gave a value stay empty records, so that
    /// `has(wallet.available)` is false where there is no wallet.
    pub(crate) fn context(&self) -> &Context<'static, 'static> {
        self.context.get_or_init(|| {
            let mut context = Context::with_env(Arc::clone(&self.policy.env));
            for (name, fields) in &self.policy.reads {
                let fact = match self.facts.get(name) {
                    Some(Json::Object(record)) => {
                        let read = record.iter().filter(|(field, _)| fields.contains(*field));
                        let read = read.map(|(field, json)| (Key::from(field.as_str()), value(json)));
                        Value::from(read.collect::<HashMap<_, _>>())
                    }
                    Some(fact) => value(fact),
                    None => Value::from(HashMap::<Key, Value>::new()),
                };
                context.add_variable_from_value(name.as_str(), fact);
            }
            context.add_variable_as_val("lists", Box::new(self.lists.clone()));
            context
        })
    }

    /// What is recorded of them: the facts, and what lists answered.
    pub(crate) fn recorded(self) -> (Map<String, Json>, Vec<Membership>) {
        (self.facts, self.lists.answers())
    }
}

/// JSON as CEL sees it. Integers are `int`: the crate would make them `uint`, and then arithmetic with literals fails.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => Value::Int(number.as_i64().unwrap_or(i64::MAX)),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from(list.iter().map(value).collect::<Vec<_>>()),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, json)| (Key::from(key.as_str()), value(json)));
            Value::from(entries.collect::<HashMap<Key, Value>>())
        }
    }
}
