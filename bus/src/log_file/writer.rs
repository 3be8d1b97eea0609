//! The one writer: group commit.

use std::collections::HashMap;
use std::fs::File;

use proto::Stream;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::{mpsc, oneshot, watch};

use super::row::Row;
use super::{schema, table};
use crate::bus::Appended;
use crate::error::{AppendError, Unavailable};

/// Commands taken into one transaction at most, so that the first of them does not wait for ever.
const COMMANDS_PER_COMMIT_MAX: usize = 1024;

pub(super) type Change = Box<dyn FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send>;

/// Takes what has become of an append. Dropped uncalled when nothing was written.
pub(super) type Reply = Box<dyn FnOnce(Result<Vec<Appended>, AppendError>) + Send>;

pub(super) enum Command {
    Append {
        rows: Vec<Row>,
        /// Last sequence the first row's subject must have.
        expected: Option<u64>,
        reply: Reply,
    },
    Change {
        change: Change,
        reply: oneshot::Sender<Result<(), Unavailable>>,
    },
}

/// What the writer knows without asking the file.
pub(super) struct State {
    streams: Vec<Head>,
    subjects: HashMap<String, i64>,
}

struct Head {
    stream: Stream,
    last_seq: u64,
    insert: String,
    find: String,
    last_of_subject: String,
}

impl State {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut streams = Vec::new();
        for stream in Stream::ALL {
            let table = table(stream);
            let last = format!("select coalesce(max(seq), 0) from {table}");
            streams.push(Head {
                stream,
                last_seq: connection.query_row(&last, [], |row| row.get(0))?,
                insert: format!(
                    "insert into {table} (seq, subject, id, about, source, time, extra, data)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (id) do nothing"
                ),
                find: format!("select seq from {table} where id = ?1"),
                last_of_subject: format!("select coalesce(max(seq), 0) from {table} where subject = ?1"),
            });
        }
        let mut statement = connection.prepare("select text, number from subject")?;
        let subjects = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(Self { streams, subjects })
    }

    fn append(
        &mut self,
        transaction: &Transaction<'_>,
        rows: &[Row],
        expected: Option<u64>,
    ) -> rusqlite::Result<Result<Vec<Appended>, AppendError>> {
        let mut appended = Vec::with_capacity(rows.len());
        for row in rows {
            let subject = self.subject_number(transaction, &row.subject)?;
            let Some(head) = self.streams.iter_mut().find(|head| head.stream == row.stream) else { continue };
            if let Some(expected) = expected {
                let first =
                    transaction.prepare_cached(&head.find)?.query_row([&row.id], |row| row.get(0)).optional()?;
                if let Some(seq) = first {
                    appended.push(Appended { seq, duplicate: true });
                    continue;
                }
                let last = transaction.prepare_cached(&head.last_of_subject)?.query_row([subject], |row| row.get(0))?;
                if last != expected {
                    return Ok(Err(AppendError::Conflict { actual: Some(last) }));
                }
            }
            let seq = row.seq.unwrap_or(head.last_seq + 1);
            let inserted = transaction.prepare_cached(&head.insert)?.execute(params![
                seq,
                subject,
                row.id,
                row.about,
                row.source,
                row.time,
                row.extra,
                &row.data[..]
            ])?;
            if inserted == 1 {
                head.last_seq = seq;
                appended.push(Appended { seq, duplicate: false });
            } else {
                let seq = transaction.prepare_cached(&head.find)?.query_row([&row.id], |row| row.get(0))?;
                appended.push(Appended { seq, duplicate: true });
            }
        }
        Ok(Ok(appended))
    }

    fn subject_number(&mut self, transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<i64> {
        if let Some(number) = self.subjects.get(text) {
            return Ok(*number);
        }
        transaction.execute("insert into subject (text) values (?1)", [text])?;
        let number = transaction.last_insert_rowid();
        self.subjects.insert(text.to_owned(), number);
        Ok(number)
    }
}

/// Runs until nobody can send any more. `_lock` is held to the very end.
pub(super) fn run(
    mut connection: Connection,
    mut state: State,
    mut waiting: mpsc::Receiver<Command>,
    committed: &watch::Sender<u64>,
    _lock: File,
) {
    let mut batch = Vec::with_capacity(COMMANDS_PER_COMMIT_MAX);
    while waiting.blocking_recv_many(&mut batch, COMMANDS_PER_COMMIT_MAX) > 0 {
        let tell = || committed.send_modify(|count| *count = count.wrapping_add(1));
        if let Err(error) = take(&mut connection, &mut state, &mut batch, tell) {
            tracing::error!(%error, "the log cannot be read; its writer ends");
            return;
        }
    }
}

/// Commits the batch, or nothing of it, tells who waits for more, and answers.
///
/// # Errors
/// When what was rolled back cannot be forgotten.
pub(super) fn take(
    connection: &mut Connection,
    state: &mut State,
    batch: &mut Vec<Command>,
    tell: impl FnOnce(),
) -> rusqlite::Result<()> {
    match commit(connection, state, batch) {
        Ok(answers) => {
            tell();
            answers.into_iter().for_each(Answer::send);
        }
        Err((error, unanswered)) => {
            tracing::error!(%error, "the log was not written");
            let error = Unavailable::new("write to the log", &error);
            unanswered.into_iter().for_each(|answer| answer.fail(&error));
            // What was rolled back must not be remembered.
            *state = State::load(connection)?;
            // The disk may have got larger, or others may have filled it.
            schema::limit(connection)?;
        }
    }
    Ok(())
}

enum Answer {
    Append(Result<Vec<Appended>, AppendError>, Reply),
    Change(oneshot::Sender<Result<(), Unavailable>>),
}

impl Answer {
    /// Who no longer waits does not mind.
    fn send(self) {
        match self {
            Self::Append(result, reply) => reply(result),
            Self::Change(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn fail(self, error: &Unavailable) {
        match self {
            Self::Append(_, reply) => reply(Err(error.clone().into())),
            Self::Change(reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

/// One transaction for the whole batch. Answers go out after the fsync, never before.
fn commit(
    connection: &mut Connection,
    state: &mut State,
    batch: &mut Vec<Command>,
) -> Result<Vec<Answer>, (rusqlite::Error, Vec<Answer>)> {
    let mut answers = Vec::with_capacity(batch.len());
    // First what may make room for the rest.
    batch.sort_by_key(|command| matches!(command, Command::Append { .. }));
    let result = (|| {
        let transaction = connection.transaction()?;
        let mut first_error = None;
        for command in batch.drain(..) {
            match command {
                Command::Append { rows, expected, reply } => {
                    let result = match first_error {
                        None => state.append(&transaction, &rows, expected),
                        Some(_) => Ok(Ok(Vec::new())),
                    };
                    match result {
                        Ok(result) => answers.push(Answer::Append(result, reply)),
                        Err(error) => {
                            first_error = Some(error);
                            answers.push(Answer::Append(Ok(Vec::new()), reply));
                        }
                    }
                }
                Command::Change { change, reply } => {
                    if first_error.is_none() {
                        first_error = change(&transaction).err();
                    }
                    answers.push(Answer::Change(reply));
                }
            }
        }
        match first_error {
            None => transaction.commit(),
            Some(error) => Err(error),
        }
    })();
    match result {
        Ok(()) => Ok(answers),
        Err(error) => Err((error, answers)),
    }
}
