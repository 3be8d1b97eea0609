//! Places in an address.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::scan::Piece;
use super::{BadTemplate, Unfit};

/// All but what RFC 3986 calls unreserved: a value means nothing to whoever reads the address.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn encode(value: &str) -> String {
    utf8_percent_encode(value, VALUE).to_string()
}

/// Refuses places outside segments of the path and values of the query, and what readers of addresses read differently.
pub(super) fn check_places(text: &str, pieces: &[Piece]) -> Result<(), BadTemplate> {
    let within = |byte: usize| pieces.iter().any(|piece| piece.at.contains(&byte));
    let odd = |(byte, c): &(usize, char)| (c.is_whitespace() || c.is_control() || *c == '\\') && !within(*byte);
    if let Some((byte, c)) = text.char_indices().find(odd) {
        return Err(BadTemplate::new(text, byte, format!("an address has no {c:?}; percent-encode it")));
    }
    if let Some(byte) = text.find('#') {
        return Err(BadTemplate::new(text, byte, "what follows # is never sent; leave it out"));
    }
    let Some(authority) = text.find("://").map(|at| at + 3) else {
        return Err(BadTemplate::new(text, 0, "it does not begin with https://host"));
    };
    let path = text[authority..].find(['/', '?']).map_or(text.len(), |length| authority + length);
    if path == authority {
        return Err(BadTemplate::new(text, authority, "it has no host; write https://host/path"));
    }
    let query = text[path..].find('?').map(|length| path + length + 1);
    for piece in pieces {
        let start = piece.at.start;
        let wrong = |what: &str| Err(BadTemplate::new(text, start, what));
        if start < path {
            return wrong("scheme, host and port are not for placeholders; they stand in the path or the query");
        }
        let Some(query) = query.filter(|query| start >= *query) else { continue };
        let pair = text[query..start].rfind('&').map_or(query, |length| query + length + 1);
        if !text[pair..start].contains('=') {
            return wrong("the name of a query parameter is not for placeholders; write name={{…}}");
        }
    }
    Ok(())
}

/// Readers of addresses take `.` and `..` for a folder, however they are written.
pub(super) fn check_segments(text: &str) -> Result<(), Unfit> {
    let after = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = after.split('?').next().unwrap_or_default();
    for segment in path.split('/').skip(1) {
        let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
        if matches!(&*decoded, b"." | b"..") {
            return Err(Unfit::Dots(segment.to_owned()));
        }
    }
    Ok(())
}
