//! The envelope: a CloudEvents 1.0 event in binary mode, as it lies in the log and travels over the broker.

use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::Serialize;

use crate::id::EventId;
use crate::subject::Subject;

/// Header values may not hold blanks, quotes, `%` or anything unprintable (CloudEvents NATS binding 1.0.3, 3.1.3.2).
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Names of the extension attributes that carry what a received callback was signed with.
pub mod signed {
    pub const AUTHORIZATION: &str = "sinchauthorization";
    pub const TIMESTAMP: &str = "sinchtimestamp";
    pub const CONTENT_TYPE: &str = "sinchcontenttype";
    pub const PATH: &str = "sinchpath";
    pub const METHOD: &str = "sinchmethod";
    /// Present, with the reason, when the signature was not required (`WEBHOOK_PROTECTION`).
    pub const UNVERIFIED: &str = "unverified";
}

/// The decision key stands in the envelope of `decided`, so that nobody needs to open the body to find it.
pub const DECISION_KEY: &str = "decisionkey";

/// W3C trace context, carried beside the CloudEvents attributes.
pub const TRACEPARENT: &str = "traceparent";

/// The body of an event of our own, and whatever else we write as JSON for ourselves: plain structs with text keys, which
/// always serialise. Nothing may take its place, since an event with an empty body is unreadable for ever.
///
/// # Panics
/// When the value has a map whose keys are no text: the first test that writes it shows.
pub fn json(body: &impl Serialize) -> String {
    #[expect(clippy::expect_used, reason = "plain structs with text keys always serialise")]
    serde_json::to_string(body).expect("a body is JSON")
}

/// Something that happened, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub subject: Subject,
    /// `ce-subject`: the call id or wallet id. Empty for the few callbacks without a call id.
    pub about: String,
    /// `ce-source`: the app's name, or the role that made the event.
    pub source: String,
    pub time: Timestamp,
    /// Extension attributes, lower-case names; see [`signed`].
    pub extra: Vec<(String, String)>,
    /// A callback's exact bytes, or the JSON of our own event.
    pub data: Bytes,
}

/// Headers that do not make an event.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAnEvent {
    #[error("the header {0:?} is missing")]
    Missing(&'static str),
    #[error("the header {0:?} holds {1:?}")]
    Invalid(&'static str, String),
    #[error("the subject {0:?} is not one of callbus")]
    Subject(String),
}

impl Event {
    /// An extension attribute by name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.extra.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The envelope as headers, names in lower case (the broker's look-up minds the case).
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            ("ce-specversion".to_owned(), "1.0".to_owned()),
            ("ce-id".to_owned(), self.id.to_string()),
            ("ce-type".to_owned(), self.subject.event_type()),
            ("ce-source".to_owned(), encode(&self.source)),
            ("ce-time".to_owned(), self.time.to_string()),
            ("ce-datacontenttype".to_owned(), "application/json".to_owned()),
        ];
        if !self.about.is_empty() {
            headers.push(("ce-subject".to_owned(), encode(&self.about)));
        }
        for (name, value) in &self.extra {
            let name = if name == TRACEPARENT { name.clone() } else { format!("ce-{name}") };
            headers.push((name, encode(value)));
        }
        headers
    }

    /// Reads an event back from its subject, headers and body.
    ///
    /// # Errors
    /// When an attribute is missing or unreadable: such a thing was not written by callbus.
    pub fn from_headers<'a>(
        subject: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        data: Bytes,
    ) -> Result<Self, NotAnEvent> {
        let subject = Subject::parse(subject).ok_or_else(|| NotAnEvent::Subject(subject.to_owned()))?;
        let (mut id, mut time, mut source, mut about) = (None, None, None, String::new());
        let mut extra = Vec::new();
        for (name, value) in headers {
            match name {
                "ce-id" => {
                    let parsed = EventId::try_from(value.to_owned());
                    id = Some(parsed.map_err(|_| NotAnEvent::Invalid("ce-id", value.to_owned()))?);
                }
                "ce-time" => {
                    let parsed = value.parse::<Timestamp>();
                    time = Some(parsed.map_err(|_| NotAnEvent::Invalid("ce-time", value.to_owned()))?);
                }
                "ce-source" => source = Some(decode(value)),
                "ce-subject" => about = decode(value),
                "ce-specversion" | "ce-type" | "ce-datacontenttype" => {}
                TRACEPARENT => extra.push((TRACEPARENT.to_owned(), decode(value))),
                _ => {
                    if let Some(name) = name.strip_prefix("ce-") {
                        extra.push((name.to_owned(), decode(value)));
                    }
                }
            }
        }
        Ok(Self {
            id: id.ok_or(NotAnEvent::Missing("ce-id"))?,
            time: time.ok_or(NotAnEvent::Missing("ce-time"))?,
            source: source.ok_or(NotAnEvent::Missing("ce-source"))?,
            subject,
            about,
            extra,
            data,
        })
    }
}

fn encode(value: &str) -> String {
    utf8_percent_encode(value, HEADER_VALUE).to_string()
}

fn decode(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}
