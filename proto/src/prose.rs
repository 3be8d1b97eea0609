//! Doc comments as others read them: schemas take their descriptions from ours.

use serde_json::{Value, json};

/// Makes the descriptions within a schema such as others read. Doc comments are written for Rust's own pages: without their links and line breaks they read well anywhere.
pub fn as_prose(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (Some(text), "description") = (value.as_str(), name.as_str()) {
                    *value = json!(prose(text));
                } else {
                    as_prose(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_prose),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn prose(text: &str) -> String {
    // Examples in Rust stand last.
    let text = text.split("```").next().unwrap_or_default().trim_end();
    let plain = text.replace("\n\n", "\u{0}").replace('\n', " ").replace('\u{0}', "\n\n");
    let mut prose = String::with_capacity(plain.len());
    for (index, part) in plain.split("[`").enumerate() {
        match part.split_once("`]") {
            Some((name, rest)) if index > 0 => {
                let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
                prose.extend(["`", name, "`", rest]);
            }
            Some(_) | None => prose.push_str(part),
        }
    }
    prose
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_well_outside_of_rust() {
        let text = "At most [`POSTINGS_MAX`], see\n[`command`](crate::command).\n\nOnce.\n\n```\nuse money;\n```";
        assert_eq!(prose(text), "At most `POSTINGS_MAX`, see `command`.\n\nOnce.");
    }
}
