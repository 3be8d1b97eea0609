//! Why something was decided as it was, as a table: for decisions that were made, and for those a policy file would make.

use policy::{Explanation, TriedResult};
use serde_json::Value;

use crate::output::{Output, Tone};

/// Longer values are cut.
const VALUE_CHARS_MAX: usize = 60;

/// The rules that were tried and what they read, who was asked, what a handler said, and what the shadow would have done.
pub(crate) fn table(output: Output, explanation: &Explanation) {
    let mut rows = Vec::new();
    for tried in &explanation.tried {
        let result = match tried.result {
            TriedResult::Matched => "applies",
            TriedResult::NotMatched => "does not apply",
            TriedResult::Failed => "failed",
            TriedResult::Shadow => "would apply (shadow)",
        };
        let mut first = Some((tried.rule.to_string(), result.to_owned()));
        let mut row = |name: &str, value: String| {
            let (rule, result) = first.take().unwrap_or_default();
            rows.push([rule, result, name.to_owned(), value]);
        };
        for name in tried.read.iter() {
            row(name, value(explanation, name));
        }
        for asked in explanation.asked.iter().filter(|asked| asked.rule == tried.rule) {
            let came = asked.error.clone().unwrap_or_else(|| "answered".to_owned());
            row(&format!("asked {}", asked.to), format!("{came}, after {} ms", asked.took_micros / 1_000));
        }
        if let Some(error) = &tried.error {
            row("error", error.clone());
        }
        if tried.read.is_empty() && tried.error.is_none() {
            row("", String::new());
        }
    }
    if !rows.is_empty() {
        output.table(["RULE", "RESULT", "READ", "VALUE"], rows);
    }
    for line in &explanation.log {
        output.line(format!("log  {line}"));
    }
    if let Some(shadow) = &explanation.shadow {
        let tone = if shadow.differs { Tone::Bad } else { Tone::Good };
        output.line(output.toned(tone, shadow.sentence()));
    }
}

fn value(explanation: &Explanation, name: &str) -> String {
    let text = match name.strip_prefix("lists.") {
        Some(list) => {
            let answers = explanation.lists.iter().filter(|answer| answer.list == list);
            let is = |member: bool| if member { "is on it" } else { "is not on it" };
            answers.map(|answer| format!("{} {}", answer.value, is(answer.member))).collect::<Vec<_>>().join(", ")
        }
        None => explanation.value(name).map_or_else(|| "(absent)".to_owned(), Value::to_string),
    };
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain(['…']).collect()
}
