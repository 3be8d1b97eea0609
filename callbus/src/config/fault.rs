//! What is wrong with a configuration: what, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A known name at least this similar (Jaro-Winkler) was probably meant.
#[expect(clippy::disallowed_types, reason = "a likeness is no amount")]
const SIMILAR_MIN: f64 = 0.7;

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("there is no {}: run `callbus init` to write one, or name yours with --config", .0.display())]
    NoFile(PathBuf),
    /// At a place in the file, as a compiler would show it.
    #[error("{place}: {what}\n{source_lines}")]
    InFile { place: String, what: String, source_lines: String },
    #[error("{setting}: {what}; {todo}")]
    Setting { setting: String, what: String, todo: String },
    #[error(transparent)]
    Policy(policy::PolicyErrors),
}

impl Fault {
    pub(super) fn unreadable(path: &Path, cause: &io::Error) -> Self {
        if cause.kind() == io::ErrorKind::NotFound {
            return Self::NoFile(path.to_owned());
        }
        Self::setting(path.display().to_string(), cause.to_string(), "check the file's permissions")
    }

    pub(crate) fn setting(setting: impl Into<String>, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), what: what.into(), todo: todo.into() }
    }

    pub(super) fn in_file(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = text.floor_char_boundary(error.span().map_or(0, |span| span.start));
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = text[line_start..start].chars().count() + 1;
        let source = text[line_start..].lines().next().unwrap_or_default();
        let (what, hint) = explained(error.message());
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(column.saturating_sub(1));
        let hint = hint.map(|hint| format!(" {hint}")).unwrap_or_default();
        Self::InFile {
            place: format!("{}:{line}:{column}", path.display()),
            what,
            source_lines: format!(" {number} | {source}\n {margin} | {indent}^{hint}"),
        }
    }

    pub(super) fn in_variable(name: &str, error: &toml::de::Error) -> Self {
        let (what, hint) = explained(error.message());
        Self::setting(
            format!("the environment variable {name}"),
            what,
            hint.unwrap_or_else(|| "set it right, or not at all".to_owned()),
        )
    }
}

/// Serde's message in our words, with what was probably meant.
fn explained(message: &str) -> (String, Option<String>) {
    let names = |what: &str, rest: &str| {
        let mut quoted = rest.split('`').step_by(2);
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.filter(|name| !name.is_empty()).collect();
        (format!("unknown {what} {unknown}"), Some(suggestion(unknown, &known)))
    };
    if let Some(rest) = message.strip_prefix("unknown field `") {
        names("key", rest)
    } else if let Some(rest) = message.strip_prefix("unknown variant `") {
        names("value", rest)
    } else {
        (message.to_owned(), None)
    }
}

fn suggestion(unknown: &str, known: &[&str]) -> String {
    let similarity = |name: &&str| strsim::jaro_winkler(unknown, name);
    let nearest = known.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest.filter(|name| similarity(name) >= SIMILAR_MIN) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
