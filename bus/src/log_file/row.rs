//! An event as a row, and back.

use bytes::Bytes;
use proto::{Event, EventId, Stream, Subject};

use crate::bus::Recorded;

/// An event ready to be written: all that costs time is done by the caller, not by the one writer.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its place, where it has one already; else the next.
    pub(super) seq: Option<u64>,
    pub(super) stream: Stream,
    pub(super) subject: String,
    pub(super) id: [u8; 32],
    pub(super) about: String,
    pub(super) source: String,
    pub(super) time: String,
    pub(super) extra: String,
    pub(super) data: Bytes,
}

impl Row {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            seq: None,
            stream: event.subject.stream(),
            subject: event.subject.to_string(),
            id: id_bytes(&event.id),
            about: event.about.clone(),
            source: event.source.clone(),
            time: event.time.to_string(),
            // A list of pairs of text always has a JSON form.
            extra: serde_json::to_string(&event.extra).unwrap_or_default(),
            data: event.data.clone(),
        }
    }

    pub(super) fn at(Recorded { seq, event }: &Recorded) -> Self {
        Self { seq: Some(*seq), ..Self::of(event) }
    }
}

/// Reads `seq, subject, id, about, source, time, extra, data`.
pub(super) fn recorded(row: &rusqlite::Row<'_>) -> rusqlite::Result<Recorded> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(|error| damaged(column, error));
    let seq: u64 = row.get(0)?;
    let subject = Subject::parse(text(1)?).ok_or_else(|| damaged(1, "not a subject"))?;
    let id = EventId::try_from(hex(row.get_ref(2)?.as_blob().map_err(|error| damaged(2, error))?));
    let event = Event {
        id: id.map_err(|error| damaged(2, error))?,
        subject,
        about: text(3)?.to_owned(),
        source: text(4)?.to_owned(),
        time: text(5)?.parse().map_err(|error: jiff::Error| damaged(5, error))?,
        extra: serde_json::from_str(text(6)?).map_err(|error| damaged(6, error))?,
        data: Bytes::copy_from_slice(row.get_ref(7)?.as_blob().map_err(|error| damaged(7, error))?),
    };
    Ok(Recorded { seq, event })
}

fn damaged(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

/// An id is 64 hexadecimal digits by its type.
pub(super) fn id_bytes(id: &EventId) -> [u8; 32] {
    let digit = |byte: u8| if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(id.as_str().as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
