//! Live lists: kept in the store and edited while calls go on. A list is the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use proto::{ListChanged, ListName};

use crate::list::{canonical, without_country};

/// Entries one live list may hold. Whoever edits a list refuses more; the fold takes what was recorded.
pub const LIST_ENTRIES_MAX: usize = 5_000_000;
/// Longest entry of a live list, in bytes.
pub const LIST_ENTRY_MAX_BYTES: usize = 128;
/// Entries changed before those who ask get their turn: a decision waits for these few, never for a whole import.
const TURN: usize = 256;

/// One live list, as far as its events have been read.
///
/// ```
/// use policy::LiveList;
/// use proto::{ListChanged, ListName};
/// let mut blocked = LiveList::new(ListName::new("blocked").unwrap());
/// let added = ListChanged { added: vec!["46 70 123 45 67".to_owned()], ..ListChanged::default() };
/// blocked.apply(7, &added);
/// blocked.apply(7, &added);
/// assert!(blocked.contains("+46701234567"));
/// assert_eq!((blocked.len(), blocked.revision), (1, 7));
/// ```
#[derive(Clone)]
pub struct LiveList {
    pub name: ListName,
    /// Sequence of the last event that was applied; 0: nobody ever changed the list.
    pub revision: u64,
    /// A tree and no hash table: it never has to be moved as a whole while calls wait.
    entries: BTreeSet<Box<str>>,
}

impl LiveList {
    pub fn new(name: ListName) -> Self {
        Self { name, revision: 0, entries: BTreeSet::new() }
    }

    /// Takes the event at `seq`. One that was applied before changes nothing.
    pub fn apply(&mut self, seq: u64, changed: &ListChanged) {
        if seq <= self.revision {
            return;
        }
        let Edit { removed, added } = Edit::of(changed);
        if changed.cleared {
            self.entries.clear();
        }
        self.remove(&removed);
        self.entries.extend(added);
        self.revision = seq;
    }

    /// Whether a number, however it is written, or a name is on the list.
    pub fn contains(&self, value: &str) -> bool {
        self.entries.contains(canonical(value).as_str())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry, sorted.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &**entry)
    }

    /// The entries behind one, sorted: to go through them page by page.
    pub fn entries_after(&self, entry: &str) -> impl Iterator<Item = &str> {
        self.entries.range::<str, _>((Bound::Excluded(entry), Bound::Unbounded)).map(|entry| &**entry)
    }

    fn remove(&mut self, entries: &[Box<str>]) {
        for entry in entries {
            self.entries.remove(entry);
        }
    }
}

impl fmt::Debug for LiveList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ({} entries)", self.name, self.revision, self.entries.len())
    }
}

/// What an event changes, in the spelling of the list.
struct Edit {
    removed: Vec<Box<str>>,
    added: Vec<Box<str>>,
}

impl Edit {
    fn of(changed: &ListChanged) -> Self {
        let spelt =
            |entry: &String| Some(canonical(entry)).filter(|entry| !entry.is_empty()).map(String::into_boxed_str);
        let added: Vec<Box<str>> = changed.added.iter().filter_map(spelt).collect();
        let stay: BTreeSet<&str> = added.iter().map(|entry| &**entry).collect();
        // What is removed and added again was on the list all the time.
        let removed = changed.removed.iter().filter_map(spelt).filter(|entry| !stay.contains(&**entry)).collect();
        Self { removed, added }
    }
}

/// All live lists: shared by whoever decides and whoever reads their events, and cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LiveLists(Arc<RwLock<BTreeMap<ListName, Arc<Shared>>>>);

#[derive(Debug)]
struct Shared {
    /// Held from the first to the last entry of an edit.
    edits: Mutex<()>,
    list: RwLock<LiveList>,
}

impl LiveLists {
    /// Takes the event at `seq` of a list, in place. Decisions go on meanwhile: they see each entry either as it was or as
    /// it becomes, and `revision` once all of the event is there.
    pub fn apply(&self, name: &ListName, seq: u64, changed: &ListChanged) {
        let shared = self.of(name);
        let _one_edit = shared.edits.lock().unwrap_or_else(PoisonError::into_inner);
        if seq <= shared.read(|list| list.revision) {
            return;
        }
        if changed.cleared {
            let mut new = LiveList::new(name.clone());
            new.apply(seq, changed);
            shared.write(|list| std::mem::swap(list, &mut new));
            return;
        }
        let Edit { removed, mut added } = Edit::of(changed);
        for turn in removed.chunks(TURN) {
            shared.write(|list| list.remove(turn));
        }
        while !added.is_empty() {
            let turn = added.split_off(added.len().saturating_sub(TURN));
            shared.write(|list| list.entries.extend(turn));
        }
        shared.write(|list| list.revision = seq);
    }

    /// Sequence of the last event that was applied to a list; 0: nobody ever changed it.
    pub fn revision(&self, name: &ListName) -> u64 {
        self.with(name, |list| list.map_or(0, |list| list.revision))
    }

    /// Looks at a list; `None` when nobody ever changed it. Edits of the list wait meanwhile.
    pub fn with<T>(&self, name: &ListName, look: impl FnOnce(Option<&LiveList>) -> T) -> T {
        let shared = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match shared {
            Some(shared) => shared.read(|list| look(Some(list))),
            None => look(None),
        }
    }

    fn of(&self, name: &ListName) -> Arc<Shared> {
        let mut lists = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Shared { edits: Mutex::new(()), list: RwLock::new(LiveList::new(name.clone())) });
        Arc::clone(lists.entry(name.clone()).or_insert_with(new))
    }
}

impl Shared {
    fn read<T>(&self, look: impl FnOnce(&LiveList) -> T) -> T {
        look(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, edit: impl FnOnce(&mut LiveList)) {
        edit(&mut self.list.write().unwrap_or_else(PoisonError::into_inner));
        // The lock is not fair: without this, one who edits takes it again before those who wait have woken.
        std::thread::yield_now();
    }
}

/// An entry as a list holds it: numbers as E.164, anything else without blanks at its ends.
///
/// ```
/// assert_eq!(policy::check_entry("1 (561) 260-0684"), Ok("+15612600684".to_owned()));
/// assert!(policy::check_entry("0701234567").unwrap_err().contains("country code"));
/// ```
///
/// # Errors
/// What is wrong with it, when it is empty, too long, not on one line, or a number without its country code.
pub fn check_entry(text: &str) -> Result<String, String> {
    let entry = canonical(text);
    if entry.is_empty() {
        return Err("an entry is not empty".to_owned());
    }
    if entry.len() > LIST_ENTRY_MAX_BYTES {
        return Err(format!("an entry has at most {LIST_ENTRY_MAX_BYTES} bytes"));
    }
    if entry.chars().any(char::is_control) {
        return Err("an entry stands on one line, without control characters".to_owned());
    }
    if without_country(&entry) {
        return Err("a number wants its country code: +46701234567, not 0701234567".to_owned());
    }
    Ok(entry)
}
