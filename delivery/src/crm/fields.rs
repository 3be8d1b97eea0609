//! What a field of an activity holds: ours, unless the operator wants another.

use std::collections::BTreeMap;

use serde_json::Value;

use super::activity::NAMES;
use super::template::{Template, Values};

/// Of one destination, and bytes of one template.
const FIELDS_MAX: usize = 64;
const TEMPLATE_BYTES_MAX: usize = 4096;

/// What the operator wants.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, Template>);

impl Fields {
    /// # Errors
    /// Names the field, and what is wrong with it. `kept` is the field that holds the call id.
    pub(super) fn parse(fields: &BTreeMap<String, String>, kept: &str) -> Result<Self, String> {
        if fields.len() > FIELDS_MAX || fields.values().any(|text| text.len() > TEMPLATE_BYTES_MAX) {
            return Err(format!("fields: at most {FIELDS_MAX} of {TEMPLATE_BYTES_MAX} bytes are"));
        }
        let parse = |(name, text): (&String, &String)| {
            if !is_word(name) {
                return Err(format!("fields: {name:?} is no name of a field"));
            }
            if name == kept {
                return Err(format!("fields: {name} holds the call id, by which a call is written once"));
            }
            let template = Template::parse(text, &NAMES).map_err(|error| format!("fields: {name}: {error}"))?;
            Ok((name.clone(), template))
        };
        Ok(Self(fields.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Puts what the operator wants in the place of ours. What stands for nothing is left out.
    pub(super) fn over<const N: usize>(
        &self,
        ours: [(&str, Option<Value>); N],
        values: &Values,
    ) -> BTreeMap<String, Value> {
        let ours = ours.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let mut all: BTreeMap<String, Value> = ours.collect();
        for (name, template) in &self.0 {
            match template.value(values).filter(|_| !template.is_empty()) {
                Some(value) => drop(all.insert(name.clone(), value)),
                None => drop(all.remove(name)),
            }
        }
        all
    }
}

/// Fit for a path and for the name of a field.
pub(super) fn is_word(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
