//! What is wrong with a policy file: every fault, each with its line, as a compiler lists them.

use std::fmt;

/// Known names that are compared with a misspelt one; a file may hold thousands of both.
const COMPARED_MAX: usize = 500;
/// Faults listed in full; a file that is wrong everywhere is counted past this.
const LISTED_MAX: usize = 100;

/// Everything that is wrong with a policy file, in the order of its lines. `Display` is a listing with the source line
/// and a caret under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors {
    errors: Vec<PolicyError>,
    unlisted: usize,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, in lower case.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line itself.
    pub source_line: String,
}

impl PolicyErrors {
    pub fn errors(&self) -> &[PolicyError] {
        &self.errors
    }
}

impl std::error::Error for PolicyErrors {}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.unlisted > 0 {
            write!(f, "\n… and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(self.column.saturating_sub(1));
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)?;
        writeln!(f, " {number} | {}", self.source_line)?;
        match &self.hint {
            Some(hint) => writeln!(f, " {margin} | {indent}^ {hint}"),
            None => writeln!(f, " {margin} | {indent}^"),
        }
    }
}

/// Faults as they are found. Places are byte offsets into the file; lines are worked out when a fault is written down.
pub(crate) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<(usize, String, Option<String>)>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    pub(crate) fn wrong(&mut self, at: usize, what: impl Into<String>) {
        self.found.push((at, what.into(), None));
    }

    pub(crate) fn wrong_hint(&mut self, at: usize, what: impl Into<String>, hint: impl Into<String>) {
        self.found.push((at, what.into(), Some(hint.into())));
    }

    pub(crate) fn push(&mut self, at: usize, what: String, hint: Option<String>) {
        self.found.push((at, what, hint));
    }

    /// A name that is not one of `known`.
    pub(crate) fn unknown<'n>(&mut self, at: usize, what: &str, name: &str, known: impl IntoIterator<Item = &'n str>) {
        let known: Vec<&str> = known.into_iter().collect();
        self.push(at, format!("unknown {what} {}", quoted(name)), Some(suggestion(name, &known)));
    }

    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// Takes back what was found since there were so many.
    pub(crate) fn forget_from(&mut self, count: usize) {
        self.found.truncate(count);
    }

    /// In the order of the file.
    pub(crate) fn finish(mut self) -> PolicyErrors {
        self.found.sort_by_key(|(at, ..)| *at);
        self.found.dedup();
        let unlisted = self.found.len().saturating_sub(LISTED_MAX);
        let listed = self.found.iter().take(LISTED_MAX);
        let errors = listed.map(|(at, what, hint)| self.place(*at, what.clone(), hint.clone())).collect();
        PolicyErrors { errors, unlisted }
    }

    fn place(&self, at: usize, what: String, hint: Option<String>) -> PolicyError {
        let at = self.text.floor_char_boundary(at);
        let (before, after) = self.text.split_at(at);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = after.find('\n').map_or(self.text.len(), |newline| at + newline);
        PolicyError {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: self.text[line_start..at].chars().count() + 1,
            what,
            hint,
            source_line: self.text[line_start..rest].trim_end().chars().take(200).collect(),
        }
    }
}

/// `did you mean x?`, or the list of what there is.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    if let Some(near) = nearest(name, known) {
        return format!("did you mean {near}?");
    }
    match known {
        [] => "there are none".to_owned(),
        known if known.len() <= 24 => format!("one of: {}", known.join(", ")),
        known => format!("one of: {}, …", known[..24].join(", ")),
    }
}

/// The known name that `name` was probably meant to be.
pub fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let name: String = fold(name).chars().take(64).collect();
    let far = 1 + name.len() / 4;
    let similar = known.iter().take(COMPARED_MAX).filter(|known| known.len() <= 2 * (name.len() + far));
    let scored = similar.map(|known| (strsim::damerau_levenshtein(&name, &fold(known)), *known));
    scored.filter(|(distance, _)| *distance <= far).min_by_key(|(distance, _)| *distance).map(|(_, near)| near)
}

/// A name for a message: short, and without line breaks.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().count() > 60 {
        short.push('…');
    }
    format!("'{}'", short.replace("\\'", "'"))
}
