//! Lists: sets of numbers or names that conditions ask with `x in lists.name`.
//!
//! In CEL a list is a value that only knows membership. It is shared, never copied, so that a million entries cost a
//! condition no more than ten.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer};
use cel::common::types::{CelString, Type};
use cel::common::value::{CowVal, Val};
use proto::{ListName, PhoneNumber};

use crate::errors::quoted;
use crate::explanation::Membership;
use crate::hash::Hash;
use crate::live_list::{LiveList, LiveLists};
use crate::reader::Reader;
use crate::yaml::{Entry, Node};

/// Largest list file, in bytes: a few million numbers.
const FILE_MAX_BYTES: usize = 64 << 20;
/// Fewer digits than this are an extension, and nobody's number.
const NUMBER_DIGITS_MIN: usize = 7;
/// Membership answers kept in an explanation; a condition in a loop could ask without end.
const ANSWERS_MAX: usize = 64;

pub(crate) const KEYS: &[&str] = &["file", "live"];

static LIST: Type = Type::new_unspecified_type("callbus.list");
static LISTS: Type = Type::new_unspecified_type("callbus.lists");

/// One list.
pub(crate) struct List {
    name: String,
    revision: String,
    entries: HashSet<Box<str>>,
}

/// Where the entries of a list are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In the policy or a file beside it.
    Fixed(Arc<List>),
    /// In the store.
    Live(ListName),
}

/// All lists of a policy by name.
pub(crate) type Lists = BTreeMap<String, Source>;

impl Source {
    /// Reads one entry of `lists:`. What stands in a file becomes part of the policy's revision.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        entry: &Entry,
        hash: &mut Hash,
        read_file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Option<Self> {
        let value = &entry.value;
        let name = ListName::new(entry.key.as_str());
        if name.is_err() {
            let hint = "use at most 64 letters, digits and '_', beginning with a letter";
            reader.findings.wrong_hint(entry.at, "not a name for a list", hint);
        }
        if let Some(nodes) = value.nodes() {
            return Some(Self::Fixed(Arc::new(List::new(&entry.key, inline(reader, nodes)))));
        }
        if value.entries().is_none() {
            let hint = "write [\"+15550001111\"], { file: lists/x.txt } or { live: true }";
            reader.findings.wrong_hint(value.at, "a list wants entries", hint);
            return None;
        }
        reader.map(value, "a list", KEYS);
        match (value.get("file"), value.get("live")) {
            (Some(file), None) => {
                let path = reader.text(&file.value, "file")?;
                let text = match read_file(path) {
                    Ok(text) if text.len() <= FILE_MAX_BYTES => text,
                    Ok(_) => {
                        reader.findings.wrong(value.at, "a list file holds at most 64 MiB");
                        return None;
                    }
                    Err(error) => {
                        let what = format!("cannot read the list {}: {error}", quoted(path));
                        reader.findings.wrong_hint(file.value.at, what, "paths begin at the policy file");
                        String::new()
                    }
                };
                hash.part(entry.key.as_bytes());
                hash.part(text.as_bytes());
                file_numbers(reader, &file.value, path, &text);
                Some(Self::Fixed(Arc::new(List::new(&entry.key, List::lines(&text)))))
            }
            (None, Some(live)) => {
                if live.value.bool() != Some(true) {
                    reader.findings.wrong_hint(live.value.at, "live takes no other value", "write live: true");
                }
                name.ok().map(Self::Live)
            }
            (Some(_), Some(live)) => {
                let hint = "keep one of file and live";
                reader.findings.wrong_hint(live.at, "a list is in a file or live", hint);
                None
            }
            (None, None) => {
                let hint = "write { file: lists/x.txt } or { live: true }";
                reader.findings.wrong_hint(value.at, "a list wants a file, or to be live", hint);
                None
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Fixed(list) => &list.name,
            Self::Live(name) => name.as_str(),
        }
    }
}

fn inline<'n>(reader: &mut Reader<'_>, nodes: &'n [Node]) -> Vec<&'n str> {
    let mut entries = Vec::new();
    for node in nodes {
        let entry = reader.text(node, "a list");
        if entry.is_some_and(without_country) {
            let what = format!("the number {} has no country code", quoted(entry.unwrap_or_default()));
            reader.findings.wrong_hint(node.at, what, "write it as +46701234567");
        }
        entries.extend(entry);
    }
    entries
}

/// One fault for all numbers of a file that nobody's call could ever match.
fn file_numbers(reader: &mut Reader<'_>, file: &Node, path: &str, text: &str) {
    let entry = |line: &str| List::lines(line).next().is_some_and(without_country);
    let mut wrong = text.lines().enumerate().filter(|(_, line)| entry(line));
    if let Some((index, line)) = wrong.next() {
        let number = quoted(List::lines(line).next().unwrap_or_default());
        let more = match wrong.count() {
            0 => String::new(),
            more => format!(", nor have {more} more"),
        };
        let what = format!("line {} of {}: the number {number} has no country code{more}", index + 1, quoted(path));
        reader.findings.wrong_hint(file.at, what, "write it as +46701234567");
    }
}

impl List {
    pub(crate) fn new<'t>(name: &str, entries: impl IntoIterator<Item = &'t str>) -> Self {
        let mut hash = Hash::new();
        let mut set = HashSet::new();
        for entry in entries {
            let entry = canonical(entry);
            hash.part(entry.as_bytes());
            set.insert(entry.into_boxed_str());
        }
        Self { name: name.to_owned(), revision: hash.short(), entries: set }
    }

    /// The entries of a list file: one a line, `#` begins a comment.
    pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
        text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
    }

    fn contains(&self, value: &str) -> bool {
        self.entries.contains(canonical(value).as_str())
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} entries)", self.name, self.entries.len())
    }
}

/// A number as it is dialled inside a country: it would never equal the number of a call.
pub(crate) fn without_country(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let number = text.bytes().all(|b| b.is_ascii_digit() || b" +-./()".contains(&b));
    number && digits >= NUMBER_DIGITS_MIN && text.trim_start_matches(['+', '(']).starts_with('0')
}

/// `12015555555`, `+1 201 555 5555` and `+12015555555` are one number. What is no number is compared as it is.
pub(crate) fn canonical(text: &str) -> String {
    PhoneNumber::parse_lenient(text).map_or_else(|_| text.trim().to_owned(), String::from)
}

/// `lists` in an expression: what it holds is found by name, and every answer is noted.
#[derive(Debug, Clone)]
pub(crate) struct Asked(Arc<Questions>);

#[derive(Debug)]
struct Questions {
    lists: Arc<Lists>,
    live: LiveLists,
    answers: Mutex<Vec<Membership>>,
}

impl Asked {
    /// `known` was answered before and stands.
    pub(crate) fn new(lists: &Arc<Lists>, live: &LiveLists, known: Vec<Membership>) -> Self {
        let (lists, live) = (Arc::clone(lists), live.clone());
        Self(Arc::new(Questions { lists, live, answers: Mutex::new(known) }))
    }

    /// Whether a list holds a value; `None` where there is no such list.
    pub(crate) fn ask(&self, list: &str, value: &str) -> Option<bool> {
        self.0.lists.get(list).map(|list| self.0.ask(list, value))
    }

    /// Whether a value was on a list, in the order asked.
    pub(crate) fn answers(&self) -> Vec<Membership> {
        std::mem::take(&mut *self.0.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Questions {
    /// Asked again, a list gives the answer it gave before, also when it was edited meanwhile: a decision is made of one
    /// set of facts.
    fn ask(&self, source: &Source, value: &str) -> bool {
        let name = source.name();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = answers.iter().find(|answer| answer.list == name && answer.value == value) {
            return known.member;
        }
        let (revision, member, live) = match source {
            Source::Fixed(list) => (list.revision.clone(), list.contains(value), false),
            Source::Live(name) => {
                let ask = |list: &LiveList| (list.revision, list.contains(value));
                let (revision, member) = self.live.with(name, |list| list.map(ask).unwrap_or_default());
                (revision.to_string(), member, true)
            }
        };
        if answers.len() < ANSWERS_MAX {
            answers.push(Membership { list: name.to_owned(), revision, value: value.to_owned(), member, live });
        }
        member
    }
}

impl Val for Asked {
    fn get_type(&self) -> &Type {
        &LISTS
    }

    fn cel_type() -> &'static Type {
        &LISTS
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
}

impl Indexer for Asked {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = text(index)?;
        let list = self.0.lists.get(name).ok_or_else(|| ExecutionError::no_such_key(name))?;
        Ok(CowVal::owned(Members { list: list.clone(), asked: self.clone() }))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

/// `lists.name`.
#[derive(Debug, Clone)]
struct Members {
    list: Source,
    asked: Asked,
}

impl Val for Members {
    fn get_type(&self) -> &Type {
        &LIST
    }

    fn cel_type() -> &'static Type {
        &LIST
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
}

impl Container for Members {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.asked.0.ask(&self.list, text(value)?))
    }
}

fn text(value: &dyn Val) -> Result<&str, ExecutionError> {
    let text = value.downcast_ref::<CelString>().map(CelString::inner);
    text.ok_or_else(|| ExecutionError::UnexpectedType {
        got: value.get_type().name().to_owned(),
        want: "string".to_owned(),
    })
}
