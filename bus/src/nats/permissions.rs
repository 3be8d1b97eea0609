//! What a process may do at the broker, said in the words of [`Bus`](crate::Bus) and written as the broker's
//! permissions.
//!
//! A subject nobody allows is denied. Reading a stream needs a consumer of one's own, and the broker tells those of
//! others from it by their name alone: so the names of the durable ones are denied to all but their owner.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use proto::{Filter, Kind, Stream};

use super::broker::{ADVISORIES, CHECKPOINTS, DEAD_STREAM, DOCUMENTS, SECRETS};

/// The account all of callbus lives in.
const ACCOUNT: &str = "CALLBUS";
/// The JetStream part of the broker's own subjects.
const API: &str = "$JS.API";

/// The rights of one user.
///
/// ```
/// use bus::Permissions;
/// use proto::Kind;
///
/// let door = Permissions::default().writes_calls(&[Kind::Ice, Kind::Dice]).asks("ask.v1.>");
/// assert!(door.may_publish("calls.v1.dice.acme.p07") && !door.may_publish("wallets.v1.acme"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    publish: BTreeSet<String>,
    subscribe: BTreeSet<String>,
    /// `stream.consumer` of its own durable consumers.
    durables: BTreeSet<String>,
    /// Everything of JetStream, to make what the others use.
    provisions: bool,
    replies: bool,
}

impl Permissions {
    /// [`Bus::record`](crate::Bus::record) and [`Bus::append`](crate::Bus::append) of these kinds.
    #[must_use]
    pub fn writes_calls(mut self, kinds: &[Kind]) -> Self {
        self.publish.extend(kinds.iter().flat_map(|kind| Filter::Kind(*kind).patterns()));
        self.looks_at(Stream::Calls.name())
    }

    /// [`Bus::append`](crate::Bus::append) to a whole stream.
    #[must_use]
    pub fn writes(mut self, stream: Stream) -> Self {
        self.publish.insert(stream.subjects().to_owned());
        self.looks_at(stream.name())
    }

    /// [`Bus::append`](crate::Bus::append) of what becomes of callback profiles.
    #[must_use]
    pub fn writes_profiles(mut self) -> Self {
        self.publish.extend(Filter::Profiles.patterns());
        self.looks_at(Stream::Config.name())
    }

    /// [`Bus::read`](crate::Bus::read), [`Bus::last_seq`](crate::Bus::last_seq) and how far its consumers are.
    #[must_use]
    pub fn reads(self, stream: Stream) -> Self {
        self.reads_stream(stream.name())
    }

    /// [`Bus::consume`](crate::Bus::consume) under this name, and putting aside what could not be handled.
    #[must_use]
    pub fn consumes(mut self, stream: Stream, consumer: &str) -> Self {
        let stream = stream.name();
        self.publish.extend([
            format!("{API}.CONSUMER.INFO.{stream}.{consumer}"),
            format!("{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            format!("{API}.CONSUMER.RESET.{stream}.{consumer}"),
            format!("{API}.CONSUMER.UNPIN.{stream}.{consumer}"),
            format!("$JS.ACK.{stream}.{consumer}.>"),
            // The longer form, which a newer broker may use.
            format!("$JS.ACK.*.*.{stream}.{consumer}.>"),
            format!("dead.v1.{consumer}"),
        ]);
        self.durables.insert(format!("{stream}.{consumer}"));
        self.looks_at(stream)
    }

    /// Pulls from a consumer that somebody else has made, and nothing beside.
    #[must_use]
    pub fn pulls(mut self, stream: Stream, consumer: &str) -> Self {
        let stream = stream.name();
        self.publish.extend([
            format!("{API}.CONSUMER.INFO.{stream}.{consumer}"),
            format!("{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            format!("$JS.ACK.{stream}.{consumer}.>"),
            format!("$JS.ACK.*.*.{stream}.{consumer}.>"),
        ]);
        self.durables.insert(format!("{stream}.{consumer}"));
        self
    }

    /// What there are of durable consumers, and how far each is.
    #[must_use]
    pub fn lists_consumers(mut self) -> Self {
        self.publish.extend(Stream::ALL.map(|stream| format!("{API}.CONSUMER.LIST.{}", stream.name())));
        self
    }

    /// [`Bus::dead_letters`](crate::Bus::dead_letters).
    #[must_use]
    pub fn reads_dead_letters(self) -> Self {
        self.reads_stream(DEAD_STREAM).reads_stream(ADVISORIES)
    }

    /// [`Bus::document`](crate::Bus::document).
    #[must_use]
    pub fn reads_documents(self) -> Self {
        self.reads_stream(&format!("OBJ_{DOCUMENTS}"))
    }

    /// [`Bus::put_document`](crate::Bus::put_document).
    #[must_use]
    pub fn writes_documents(mut self) -> Self {
        // Of a document that is replaced, the old parts are purged.
        self.publish.extend([format!("$O.{DOCUMENTS}.>"), format!("{API}.STREAM.PURGE.OBJ_{DOCUMENTS}")]);
        self.reads_documents()
    }

    /// [`Bus::checkpoint`](crate::Bus::checkpoint).
    #[must_use]
    pub fn reads_checkpoints(self) -> Self {
        self.reads_stream(&format!("KV_{CHECKPOINTS}"))
    }

    /// [`Bus::checkpoint`](crate::Bus::checkpoint) and [`Bus::set_checkpoint`](crate::Bus::set_checkpoint).
    #[must_use]
    pub fn keeps_checkpoints(mut self) -> Self {
        self.publish.insert(format!("$KV.{CHECKPOINTS}.>"));
        self.reads_checkpoints()
    }

    /// [`Bus::put_secret`](crate::Bus::put_secret) and [`Bus::forget_secret`](crate::Bus::forget_secret), of those whose names begin so, and reading none.
    #[must_use]
    pub fn writes_secrets(mut self, folder: &str) -> Self {
        self.publish.insert(format!("$KV.{SECRETS}.{folder}.>"));
        self.looks_at(&format!("KV_{SECRETS}"))
    }

    /// [`Bus::secret`](crate::Bus::secret).
    #[must_use]
    pub fn reads_secrets(self) -> Self {
        self.reads_stream(&format!("KV_{SECRETS}"))
    }

    /// [`Bus::ask`](crate::Bus::ask) and [`Bus::survey`](crate::Bus::survey).
    #[must_use]
    pub fn asks(mut self, subject: &str) -> Self {
        self.publish.insert(subject.to_owned());
        self
    }

    /// [`Bus::serve`](crate::Bus::serve), in this group and no other.
    #[must_use]
    pub fn serves(mut self, subject: &str, group: &str) -> Self {
        self.subscribe.extend([format!("{subject} {group}"), "$SRV.>".to_owned()]);
        self.replies = true;
        self
    }

    /// [`Bus::serve`](crate::Bus::serve) in any group: so each process can have one of its own, and all of them are
    /// asked.
    #[must_use]
    pub fn serves_each(mut self, subject: &str) -> Self {
        self.subscribe.extend([subject.to_owned(), "$SRV.>".to_owned()]);
        self.replies = true;
        self
    }

    /// Makes streams, stores and consumers: all of JetStream's own subjects, removing included.
    #[must_use]
    pub fn provisions(mut self) -> Self {
        self.provisions = true;
        self
    }

    /// Whether these rights allow publishing to a subject. That others' consumers are denied is decided later, by
    /// [`accounts`], which knows all users.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish.iter().any(|allowed| crate::pattern::matches(allowed, subject))
    }

    fn reads_stream(mut self, stream: &str) -> Self {
        self.publish.extend([
            format!("{API}.STREAM.MSG.GET.{stream}"),
            format!("{API}.DIRECT.GET.{stream}"),
            format!("{API}.DIRECT.GET.{stream}.>"),
            format!("{API}.CONSUMER.INFO.{stream}.*"),
            // One without a name is the broker's to name, and never a durable one.
            format!("{API}.CONSUMER.CREATE.{stream}"),
            format!("{API}.CONSUMER.CREATE.{stream}.>"),
            format!("{API}.CONSUMER.MSG.NEXT.{stream}.*"),
            format!("{API}.CONSUMER.DELETE.{stream}.*"),
            format!("$JS.FC.{stream}.>"),
        ]);
        self.looks_at(stream)
    }

    fn looks_at(mut self, stream: &str) -> Self {
        self.publish.insert(format!("{API}.STREAM.INFO.{stream}"));
        self
    }
}

/// A user of the broker: who it is, and what it may do.
#[derive(Debug, Clone)]
pub struct BrokerUser {
    /// Also the name of its inboxes, `_INBOX_<name>`: nobody else may listen there.
    pub name: String,
    /// The public half of its nkey.
    pub public_key: String,
    /// What it may do; all else is denied.
    pub permissions: Permissions,
}

/// The broker's `accounts` section: one account, each user with its own permissions.
pub fn accounts(users: &[BrokerUser]) -> String {
    let durables: BTreeSet<&String> = users.iter().flat_map(|user| &user.permissions.durables).collect();
    let mut text = format!("accounts {{\n  {ACCOUNT} {{\n    jetstream: enabled\n    users: [\n");
    for user in users {
        // Writing to a String cannot fail.
        let _ = write_user(&mut text, user, &durables);
    }
    text + "    ]\n  }\n}\n"
}

fn write_user(text: &mut String, user: &BrokerUser, durables: &BTreeSet<&String>) -> fmt::Result {
    let BrokerUser { name, public_key, permissions } = user;
    let inbox = format!("_INBOX_{name}.>");
    writeln!(text, "      # {name}")?;
    writeln!(text, "      {{ nkey: {public_key}, permissions: {{")?;
    if permissions.provisions {
        let mut all = permissions.publish.clone();
        all.insert(format!("{API}.>"));
        writeln!(text, "          publish: {{ allow: {} }}", list(&all))?;
    } else {
        let others = durables.iter().filter(|durable| !permissions.durables.contains(**durable));
        let denied: Vec<String> = others
            .filter(|durable| permissions.may_publish(&format!("{API}.CONSUMER.MSG.NEXT.{durable}")))
            .flat_map(|durable| {
                ["CREATE", "MSG.NEXT", "DELETE"]
                    .map(|call| format!("{API}.CONSUMER.{call}.{durable}"))
                    .into_iter()
                    .chain([format!("{API}.CONSUMER.CREATE.{durable}.>")])
            })
            .collect();
        writeln!(text, "          publish: {{ allow: {}, deny: {} }}", list(&permissions.publish), list(&denied))?;
    }
    let mut subscribe = permissions.subscribe.clone();
    subscribe.insert(inbox);
    writeln!(text, "          subscribe: {{ allow: {} }}", list(&subscribe))?;
    if permissions.replies {
        writeln!(text, "          allow_responses: {{ max: 1, expires: \"30s\" }}")?;
    }
    writeln!(text, "      }} }}")
}

fn list<'a>(subjects: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = subjects.into_iter().map(|subject| format!("\"{subject}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
