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
use proto::PhoneNumber;

use crate::explanation::Membership;
use crate::hash::Hash;

/// Membership answers kept in an explanation; a condition in a loop could ask without end.
const ANSWERS_MAX: usize = 64;

static LIST: Type = Type::new_unspecified_type("callbus.list");
static LISTS: Type = Type::new_unspecified_type("callbus.lists");

/// One list.
pub(crate) struct List {
    name: String,
    revision: String,
    entries: HashSet<Box<str>>,
}

/// All lists of a policy by name.
pub(crate) type Lists = BTreeMap<String, Arc<List>>;

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

/// `12015555555`, `+1 201 555 5555` and `+12015555555` are one number. What is no number is compared as it is.
fn canonical(text: &str) -> String {
    PhoneNumber::parse_lenient(text).map_or_else(|_| text.trim().to_owned(), String::from)
}

/// `lists` in an expression: what it holds is found by name, and every answer is noted.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    lists: Arc<Lists>,
    answers: Arc<Mutex<Vec<Membership>>>,
}

impl Asked {
    pub(crate) fn new(lists: Arc<Lists>) -> Self {
        Self { lists, answers: Arc::default() }
    }

    /// Whether a value was on a list, in the order asked.
    pub(crate) fn answers(&self) -> Vec<Membership> {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
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
        let list = self.lists.get(name).ok_or_else(|| ExecutionError::no_such_key(name))?;
        Ok(CowVal::owned(Members { list: Arc::clone(list), answers: Arc::clone(&self.answers) }))
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
    list: Arc<List>,
    answers: Arc<Mutex<Vec<Membership>>>,
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
        let value = text(value)?;
        let member = self.list.contains(value);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = answers.iter().any(|answer| answer.list == self.list.name && answer.value == value);
        if !known && answers.len() < ANSWERS_MAX {
            answers.push(Membership {
                list: self.list.name.clone(),
                revision: self.list.revision.clone(),
                value: value.to_owned(),
                member,
            });
        }
        Ok(member)
    }
}

fn text(value: &dyn Val) -> Result<&str, ExecutionError> {
    let text = value.downcast_ref::<CelString>().map(CelString::inner);
    text.ok_or_else(|| ExecutionError::UnexpectedType {
        got: value.get_type().name().to_owned(),
        want: "string".to_owned(),
    })
}
