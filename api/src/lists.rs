//! `/v1/lists`: the live lists, which policies ask and operators edit while calls go on.
//!
//! A change is one event or, if it is long, several; each expects the list as it was, so that two who edit at once both
//! have their way. The events hold only what truly changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bus::{AppendError, Bus, Recorded, Unavailable};
use bytes::Bytes;
use policy::{LIST_ENTRIES_MAX, LiveList, check_entry};
use proto::{Event, EventId, Filter, ListChanged, ListName, Stream, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::address::{Path, Query};
use crate::body::{Body, Shape};
use crate::problem::Problem;
use crate::reply::Either;
use crate::server::Desk;

/// A change of a million numbers is shorter.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Entries of one event, which has to stay well below the megabyte that a broker takes.
const ENTRIES_PER_EVENT: usize = 4_000;
/// Entries on one page.
const PAGE_MAX: usize = 10_000;
const BY_BYTES_MAX: usize = 100;
/// How often somebody else may edit the list first before we give up.
const ATTEMPTS_MAX: usize = 20;

/// The lists as the log makes them.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    folded: BTreeMap<ListName, LiveList>,
    last_seq: u64,
}

/// What to change. An entry in both stays on the list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ListChange")]
pub(crate) struct Change {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
    /// `add` is all there is to be on the list.
    #[serde(default)]
    replace: bool,
    /// Who does it, for the log.
    #[serde(default)]
    by: String,
}

/// What a change came to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListChanged")]
pub(crate) struct Changed {
    list: ListName,
    entries: usize,
    added: usize,
    removed: usize,
    /// Stands in decisions that asked the list.
    revision: u64,
}

/// `?has=` or `?after=&limit=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    has: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListsPage {
    lists: Vec<ListSummary>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListSummary {
    list: ListName,
    entries: usize,
    revision: u64,
}

/// A list by pages.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListPage {
    list: ListName,
    entries: usize,
    revision: u64,
    /// In their order; the next page is `after` the last of them.
    page: Vec<String>,
}

/// Whether one entry is on a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListHas {
    list: ListName,
    has: bool,
    revision: u64,
}

impl Shape for Change {
    const SHAPE: &'static str = "{add: [\"+4670…\"], remove: [], replace: false}";
    const BYTES_MAX: usize = BYTES_MAX;
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("add", r#"{ "add": ["+46701234567"], "by": "alice" }"#)];
}

pub(crate) async fn all(State(desk): State<Arc<Desk>>) -> Result<Json<ListsPage>, Problem> {
    let mut lists = desk.lists.lock().await;
    lists.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    let summary =
        |list: &LiveList| ListSummary { list: list.name.clone(), entries: list.len(), revision: list.revision };
    Ok(Json(ListsPage { lists: lists.folded.values().map(summary).collect() }))
}

/// The entries page by page, or whether one is on the list.
pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<ListName>,
    Query(query): Query<ListQuery>,
) -> Result<Either<Json<ListPage>, Json<ListHas>>, Problem> {
    let mut lists = desk.lists.lock().await;
    lists.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    let Some(list) = lists.folded.get(&name) else {
        return Err(Problem::NotFound(format!("list {name}: a list begins with its first entry")));
    };
    if let Some(value) = query.has {
        let has = list.contains(&value);
        return Ok(Either::Other(Json(ListHas { list: name, has, revision: list.revision })));
    }
    let limit = query.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let page = list.entries_after(query.after.as_deref().unwrap_or_default()).take(limit).map(str::to_owned);
    let page = page.collect();
    Ok(Either::One(Json(ListPage { list: name, entries: list.len(), revision: list.revision, page })))
}

pub(crate) async fn change(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<ListName>,
    Body(change): Body<Change>,
) -> Result<Json<Changed>, Problem> {
    // A million entries take a while: not on a thread that callers wait for.
    let wanted = spawn_blocking(move || Wanted::read(change)).await.map_err(Problem::unavailable)??;
    let mut lists = desk.lists.lock().await;
    let (mut added, mut removed) = (0, 0);
    for _ in 0..ATTEMPTS_MAX {
        lists.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
        let list = lists.folded.entry(name.clone()).or_insert_with(|| LiveList::new(name.clone()));
        let parts = wanted.difference(list)?;
        if parts.is_empty() {
            return Ok(Json(Changed { entries: list.len(), revision: list.revision, list: name, added, removed }));
        }
        let mut after = list.revision;
        for part in parts {
            match append(&desk, &name, &part, after).await {
                Ok(seq) => after = seq,
                // Somebody else was first: look again what there is to change.
                Err(AppendError::Conflict { .. }) => break,
                Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => {
                    return Err(Problem::unavailable(error));
                }
            }
            added += part.added.len();
            removed += part.removed.len();
        }
    }
    Err(Problem::Conflict("others edit this list all the time; send the change again".to_owned()))
}

async fn append(desk: &Desk, name: &ListName, change: &ListChanged, after: u64) -> Result<u64, AppendError> {
    let body = proto::event::json(change);
    let event = Event {
        id: EventId::of(&["list", name.as_str(), &after.to_string(), &body]),
        subject: Subject::List(name.clone()),
        about: name.to_string(),
        source: "api".to_owned(),
        time: desk.clock.now(),
        extra: Vec::new(),
        data: Bytes::from(body),
    };
    desk.bus.append(&event, Some(after)).await.map(|appended| appended.seq)
}

/// A change whose entries may stand on a list.
struct Wanted {
    add: BTreeSet<String>,
    remove: BTreeSet<String>,
    replace: bool,
    by: String,
}

impl Wanted {
    fn read(change: Change) -> Result<Self, Problem> {
        let entries = |entries: Vec<String>| -> Result<BTreeSet<String>, Problem> {
            entries.iter().map(|entry| check_entry(entry).map_err(Problem::Invalid)).collect()
        };
        if change.replace && !change.remove.is_empty() {
            return Err(Problem::Invalid("replace leaves nothing to remove: send only add with it".to_owned()));
        }
        if change.by.len() > BY_BYTES_MAX {
            return Err(Problem::Invalid(format!("by is over {BY_BYTES_MAX} bytes")));
        }
        Ok(Self { add: entries(change.add)?, remove: entries(change.remove)?, replace: change.replace, by: change.by })
    }

    /// What is left to change, in parts that fit an event each.
    fn difference(&self, list: &LiveList) -> Result<Vec<ListChanged>, Problem> {
        let removed: Vec<String> = if self.replace {
            list.entries().filter(|entry| !self.add.contains(*entry)).map(str::to_owned).collect()
        } else {
            self.remove.difference(&self.add).filter(|entry| list.contains(entry)).cloned().collect()
        };
        let added: Vec<String> = self.add.iter().filter(|entry| !list.contains(entry)).cloned().collect();
        let entries = list.len().saturating_sub(removed.len()).saturating_add(added.len());
        if entries > LIST_ENTRIES_MAX {
            return Err(Problem::Conflict(format!("the list would have {entries} entries, over {LIST_ENTRIES_MAX}")));
        }
        let part = |removed: &[String], added: &[String]| ListChanged {
            cleared: false,
            removed: removed.to_vec(),
            added: added.to_vec(),
            by: self.by.clone(),
        };
        // First what comes: a list that is replaced is never without its old or its new entries.
        let coming = added.chunks(ENTRIES_PER_EVENT).map(|added| part(&[], added));
        Ok(coming.chain(removed.chunks(ENTRIES_PER_EVENT).map(|removed| part(removed, &[]))).collect())
    }
}

impl Lists {
    async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        let mut events = bus.events(&Filter::All(Stream::Config), self.last_seq);
        while let Some(Recorded { seq, event }) = events.next().await? {
            self.last_seq = seq;
            if let Subject::List(list) = event.subject
                && let Ok(change) = serde_json::from_slice::<ListChanged>(&event.data)
            {
                let folded = self.folded.entry(list.clone());
                folded.or_insert_with(|| LiveList::new(list)).apply(seq, &change);
            }
        }
        self.last_seq = events.passed_seq();
        Ok(())
    }
}
