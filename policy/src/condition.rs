//! A condition on recorded events, outside a policy: which of them somebody wants to hear of.

use std::fmt;
use std::sync::Arc;

use cel::{Context, Env, Value};
use serde_json::Value as Json;

use crate::expression::{Expression, Fault};
use crate::functions;
use crate::names::{Defined, Scope};
use crate::variables::value;

/// A CEL expression over an event: `event.kind`, `event.app`, `event.call`, `event.time`, `event.id`, and whatever
/// stands in its body, `data.result`. Functions and bounds are those of policies.
pub struct Condition {
    expression: Expression,
    env: Arc<Env>,
}

impl Condition {
    /// Parses and checks.
    ///
    /// # Errors
    /// With everything that is wrong with it, in one sentence each.
    pub fn parse(source: &str) -> Result<Self, String> {
        let told = |faults: Vec<Fault>| {
            let told = |fault: &Fault| {
                let hint = fault.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{}{hint}", fault.what)
            };
            faults.iter().map(told).collect::<Vec<_>>().join("; ")
        };
        let expression = Expression::parse(source, Scope::Event, &Defined::default()).map_err(told)?;
        let env = functions::environment().map_err(|error| error.to_string())?;
        Ok(Self { expression, env: Arc::new(env) })
    }

    /// Whether it is true of an event. Of a body that has not what it asks for it is not: write `has(data.x) && …`
    /// where the rest is to count.
    pub fn holds(&self, event: &Json, data: &Json) -> bool {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.add_variable_from_value("event", value(event));
        context.add_variable_from_value("data", value(data));
        matches!(self.expression.resolve(&context), Ok(Value::Bool(true)))
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("expression", &self.expression).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_takes_what_it_is_true_of() {
        let event =
            json!({ "kind": "settled", "app": "acme", "call": "c1", "time": "2026-11-21T20:00:00Z", "id": "x" });
        let data = json!({ "result": "ANSWERED", "legs": [{ "number": "+46701234567" }], "duration": 14 });
        for (source, holds) in [
            ("event.kind == 'settled' && data.result == 'ANSWERED'", true),
            ("data.duration > 14", false),
            ("data.legs.exists(leg, leg.number.startsWith('+46'))", true),
            ("data.nothing == 'x'", false),
            ("!has(data.nothing)", true),
            ("data.duration", false),
        ] {
            assert_eq!(Condition::parse(source).expect(source).holds(&event, &data), holds, "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (source, said) in [
            ("event.kin == 'x'", "event.kind"),
            ("call.to == 'x'", "unknown name 'call'"),
            ("data.x ==", "it ends too early"),
            ("wat(data.x)", "unknown function"),
            ("", "empty"),
        ] {
            let why = Condition::parse(source).expect_err(source);
            assert!(why.contains(said), "{source}: {why}");
        }
    }
}
