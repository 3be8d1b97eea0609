//! The environment, read once: this crate alone reads it, and passes on what others need as values.

use std::collections::BTreeMap;

/// Settings by environment begin with this; the parts of a setting's path are joined by two underscores.
const SETTING: &str = "CALLBUS__";

/// All variables that are text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// An empty value counts as none: compose files leave variables empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether this is a developer's machine (`CALLBUS_ENV=development`); production unless said otherwise.
    pub(crate) fn is_development(&self) -> bool {
        self.get("CALLBUS_ENV").is_some_and(|name| name.eq_ignore_ascii_case("development"))
    }

    /// `CALLBUS__INGRESS__LISTEN` as (`CALLBUS__INGRESS__LISTEN`, [`ingress`, `listen`], value), the entries of a list
    /// in the order of their numbers.
    pub(crate) fn settings(&self) -> Vec<(&str, Vec<String>, &str)> {
        let set = self.0.iter().filter(|(_, value)| !value.is_empty());
        let mut settings: Vec<(&str, Vec<String>, &str)> = set
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(SETTING)?.split("__").map(str::to_ascii_lowercase).collect();
                Some((name.as_str(), path, value.as_str()))
            })
            .collect();
        settings.sort_by_cached_key(|(_, path, _)| path.iter().map(|part| format!("{part:0>8}")).collect::<Vec<_>>());
        settings
    }

    /// What policies may read as `env`: all but our own settings, which may be secrets.
    pub(crate) fn for_policies(&self) -> BTreeMap<String, String> {
        self.0.iter().filter(|(name, _)| !name.starts_with(SETTING)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// What this machine or container is called.
    pub(crate) fn host(&self) -> &str {
        self.get("HOSTNAME").unwrap_or("localhost")
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
