//! Reading beside the writer: a few connections, bounded pages.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use proto::Filter;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{row, table};
use crate::bus::Recorded;
use crate::error::Unavailable;
use crate::pattern;

/// Connections kept for the next reader.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Statements each of them keeps compiled.
const STATEMENTS_CACHED: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default() }
    }

    pub(super) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let readers = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let connection = readers.take()?;
            let answer = query(&connection)?;
            readers.give_back(connection);
            Ok::<T, rusqlite::Error>(answer)
        });
        let unavailable = |why: String| Unavailable::new("read the log file", why);
        answer.await.map_err(|error| unavailable(error.to_string()))?.map_err(|error| unavailable(error.to_string()))
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
    }
}

/// What a filter means in this file.
enum Scope {
    /// The whole stream: walk the table.
    Whole,
    /// These subjects: walk the index of each.
    Subjects(Vec<i64>),
}

fn scope(connection: &Connection, filter: &Filter) -> rusqlite::Result<Scope> {
    if *filter == Filter::All(filter.stream()) {
        return Ok(Scope::Whole);
    }
    let wanted = filter.patterns();
    if let [one] = &wanted[..]
        && !pattern::has_wildcard(one)
    {
        let number = connection
            .prepare_cached("select number from subject where text = ?1")?
            .query_row([one], |row| row.get(0))
            .optional()?;
        return Ok(Scope::Subjects(number.into_iter().collect()));
    }
    // Only what begins like the pattern, since every wallet that ever was has a subject, too. '~' is in none, and
    // behind all that is.
    let begins = wanted.first().and_then(|pattern| pattern.split(['*', '>']).next()).unwrap_or_default();
    let mut statement =
        connection.prepare_cached("select number, text from subject where text >= ?1 and text < ?1 || '~'")?;
    let mut rows = statement.query([begins])?;
    let mut numbers = Vec::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(1)?.as_str()?;
        if wanted.iter().any(|wanted| pattern::matches(wanted, text)) {
            numbers.push(row.get(0)?);
        }
    }
    Ok(Scope::Subjects(numbers))
}

pub(super) fn page(
    connection: &Connection,
    filter: &Filter,
    after: u64,
    up_to: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Recorded>> {
    let table = table(filter.stream());
    let columns = "e.seq, s.text, e.id, e.about, e.source, e.time, e.extra, e.data";
    let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
    match scope(connection, filter)? {
        Scope::Whole => connection
            .prepare_cached(&format!(
                "select {columns} from {table} e join subject s on s.number = e.subject
                 where e.seq > ?1 and e.seq <= ?2 order by e.seq limit ?3"
            ))?
            .query_map(params![after, up_to, limit], row::recorded)?
            .collect(),
        Scope::Subjects(numbers) => {
            let mut find = connection.prepare_cached(&format!(
                "select seq from {table} where subject = ?1 and seq > ?2 and seq <= ?3 order by seq limit ?4"
            ))?;
            let mut seqs: Vec<u64> = Vec::new();
            for number in numbers {
                for seq in find.query_map(params![number, after, up_to, limit], |row| row.get(0))? {
                    seqs.push(seq?);
                }
            }
            seqs.sort_unstable();
            seqs.truncate(limit);
            let mut fetch = connection.prepare_cached(&format!(
                "select {columns} from {table} e join subject s on s.number = e.subject where e.seq = ?1"
            ))?;
            seqs.into_iter().map(|seq| fetch.query_row([seq], row::recorded)).collect()
        }
    }
}

pub(super) fn last_seq(connection: &Connection, filter: &Filter) -> rusqlite::Result<u64> {
    let table = table(filter.stream());
    match scope(connection, filter)? {
        Scope::Whole => connection
            .prepare_cached(&format!("select coalesce(max(seq), 0) from {table}"))?
            .query_row([], |row| row.get(0)),
        Scope::Subjects(numbers) => {
            let mut find =
                connection.prepare_cached(&format!("select coalesce(max(seq), 0) from {table} where subject = ?1"))?;
            let mut last = 0;
            for number in numbers {
                last = last.max(find.query_row([number], |row| row.get(0))?);
            }
            Ok(last)
        }
    }
}
