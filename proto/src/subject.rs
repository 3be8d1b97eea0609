//! Where an event is filed: the stream, and the subject within it.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::id::{AppName, DeckName, DestinationName, ListName, ProfileId, WalletId};
use crate::kind::Kind;
use crate::partition::Partition;

/// Tokens of a subject hold letters, digits, `-` and `_`; all else is percent-encoded, since `.`, `*`, `>` and blanks
/// mean something to a broker.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// One of the ordered, durable sequences that make up the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stream {
    /// Every callback, every answer, every CDR.
    Calls,
    /// Every posting of every wallet.
    Wallets,
    /// What operators change while calls go on: lists, which policy and which price lists are in force, destinations,
    /// callback profiles.
    Config,
    /// What became of every delivery.
    Deliveries,
}

impl Stream {
    pub const ALL: [Self; 4] = [Self::Calls, Self::Wallets, Self::Config, Self::Deliveries];

    /// The broker's name of the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "CALLS",
            Self::Wallets => "WALLETS",
            Self::Config => "CONFIG",
            Self::Deliveries => "DELIVERIES",
        }
    }

    /// The subjects the stream stores.
    pub fn subjects(self) -> &'static str {
        match self {
            Self::Calls => "calls.v1.>",
            Self::Wallets => "wallets.v1.>",
            Self::Config => "config.v1.>",
            Self::Deliveries => "deliveries.v1.>",
        }
    }
}

/// The full subject of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `calls.v1.<kind>.<app>.<pNN>`
    Call { kind: Kind, app: AppName, partition: Partition },
    /// `wallets.v1.<wallet>`
    Wallet(WalletId),
    /// `config.v1.list.<list>`: entries added and removed.
    List(ListName),
    /// `config.v1.policy.<app>`: the revisions that were put in force.
    Policy(AppName),
    /// `config.v1.deck.<deck>`: the versions that were put in force.
    Deck(DeckName),
    /// `config.v1.destination.<destination>`: what it is and was.
    Destination(DestinationName),
    /// `config.v1.profile.<profile>`: what it is and was.
    Profile(ProfileId),
    /// `deliveries.v1.<destination>.<pNN>`: the deliveries to one destination, by the call they are about.
    Delivery { destination: DestinationName, partition: Partition },
}

impl Subject {
    pub fn stream(&self) -> Stream {
        match self {
            Self::Call { .. } => Stream::Calls,
            Self::Wallet(_) => Stream::Wallets,
            Self::List(_) | Self::Policy(_) | Self::Deck(_) | Self::Destination(_) | Self::Profile(_) => Stream::Config,
            Self::Delivery { .. } => Stream::Deliveries,
        }
    }

    /// What happened to a call; `None` for what is not about a call.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Call { kind, .. } => Some(*kind),
            Self::Wallet(_)
            | Self::List(_)
            | Self::Policy(_)
            | Self::Deck(_)
            | Self::Destination(_)
            | Self::Profile(_)
            | Self::Delivery { .. } => None,
        }
    }

    /// What must be kept in order together: a partition of calls, one wallet, one list, the policies of one
    /// app, the versions of one price list, one destination, one profile.
    pub fn lane(&self) -> Partition {
        match self {
            Self::Call { partition, .. } => *partition,
            Self::Wallet(wallet) => Partition::of_text(wallet.as_str()),
            Self::List(list) => Partition::of_text(list.as_str()),
            Self::Policy(app) => Partition::of_text(app.as_str()),
            Self::Deck(deck) => Partition::of_text(deck.as_str()),
            Self::Destination(destination) => Partition::of_text(destination.as_str()),
            Self::Profile(profile) => Partition::of_text(profile.as_str()),
            Self::Delivery { partition, .. } => *partition,
        }
    }

    /// The same call's subject for another kind of event. What is not about a call stays as it is.
    #[must_use]
    pub fn with_kind(&self, kind: Kind) -> Self {
        match self {
            Self::Call { app, partition, .. } => Self::Call { kind, app: app.clone(), partition: *partition },
            Self::Wallet(_)
            | Self::List(_)
            | Self::Policy(_)
            | Self::Deck(_)
            | Self::Destination(_)
            | Self::Profile(_)
            | Self::Delivery { .. } => self.clone(),
        }
    }

    /// CloudEvents type of the events filed here.
    pub fn event_type(&self) -> String {
        match self {
            Self::Call { kind, .. } => format!("callbus.call.{kind}.v1"),
            Self::Wallet(_) => "callbus.wallet.posted.v1".to_owned(),
            Self::List(_) => "callbus.list.changed.v1".to_owned(),
            Self::Policy(_) => "callbus.policy.put_in_force.v1".to_owned(),
            Self::Deck(_) => "callbus.deck.put_in_force.v1".to_owned(),
            Self::Destination(_) => "callbus.destination.changed.v1".to_owned(),
            Self::Profile(_) => "callbus.profile.changed.v1".to_owned(),
            Self::Delivery { .. } => "callbus.delivery.noted.v1".to_owned(),
        }
    }

    /// Reads a subject back; `None` when it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens: Vec<&str> = text.split('.').collect();
        match tokens.as_slice() {
            ["calls", "v1", kind, app, partition] => Some(Self::Call {
                kind: Kind::parse(kind)?,
                app: AppName::new(*app).ok()?,
                partition: Partition::parse(partition)?,
            }),
            ["wallets", "v1", wallet] => {
                WalletId::new(percent_decode_str(wallet).decode_utf8().ok()?).ok().map(Self::Wallet)
            }
            ["config", "v1", "list", list] => ListName::new(*list).ok().map(Self::List),
            ["config", "v1", "policy", app] => AppName::new(*app).ok().map(Self::Policy),
            ["config", "v1", "deck", deck] => DeckName::new(*deck).ok().map(Self::Deck),
            ["config", "v1", "destination", name] => DestinationName::new(*name).ok().map(Self::Destination),
            ["config", "v1", "profile", id] => ProfileId::new(*id).ok().map(Self::Profile),
            ["deliveries", "v1", destination, partition] => Some(Self::Delivery {
                destination: DestinationName::new(*destination).ok()?,
                partition: Partition::parse(partition)?,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { kind, app, partition } => write!(f, "calls.v1.{kind}.{app}.{partition}"),
            Self::Wallet(wallet) => write!(f, "wallets.v1.{}", token(wallet.as_str())),
            Self::List(list) => write!(f, "config.v1.list.{list}"),
            Self::Policy(app) => write!(f, "config.v1.policy.{app}"),
            Self::Deck(deck) => write!(f, "config.v1.deck.{deck}"),
            Self::Destination(destination) => write!(f, "config.v1.destination.{destination}"),
            Self::Profile(id) => write!(f, "config.v1.profile.{id}"),
            Self::Delivery { destination, partition } => write!(f, "deliveries.v1.{destination}.{partition}"),
        }
    }
}

/// Any text as one token of a subject.
pub fn token(text: &str) -> String {
    utf8_percent_encode(text, TOKEN).to_string()
}

/// Which events of the log a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All(Stream),
    /// All events of one kind, of every app.
    Kind(Kind),
    /// All events of the calls in one partition, of every kind and app.
    Partition(Partition),
    /// The same of several partitions; at least one.
    Partitions(Vec<Partition>),
    /// One wallet's history.
    Wallet(WalletId),
    /// One list's history.
    List(ListName),
    /// The policies of one app.
    Policy(AppName),
    /// The versions of one price list.
    Deck(DeckName),
    /// What one destination is and was.
    Destination(DestinationName),
    /// What all destinations are and were.
    Destinations,
    /// What one callback profile is and was.
    Profile(ProfileId),
    /// What all callback profiles are and were.
    Profiles,
    /// All deliveries to one destination.
    Deliveries(DestinationName),
}

impl Filter {
    pub fn stream(&self) -> Stream {
        match self {
            Self::All(stream) => *stream,
            Self::Kind(_) | Self::Partition(_) | Self::Partitions(_) => Stream::Calls,
            Self::Wallet(_) => Stream::Wallets,
            Self::List(_)
            | Self::Policy(_)
            | Self::Deck(_)
            | Self::Destination(_)
            | Self::Destinations
            | Self::Profile(_)
            | Self::Profiles => Stream::Config,
            Self::Deliveries(_) => Stream::Deliveries,
        }
    }

    /// The broker's spelling of the filter: an event is under it when its subject matches one of these.
    pub fn patterns(&self) -> Vec<String> {
        let partition = |partition: &Partition| calls_pattern(None, *partition);
        vec![match self {
            Self::All(stream) => stream.subjects().to_owned(),
            Self::Kind(kind) => format!("calls.v1.{kind}.>"),
            Self::Partition(one) => partition(one),
            Self::Partitions(several) => return several.iter().map(partition).collect(),
            Self::Wallet(wallet) => Subject::Wallet(wallet.clone()).to_string(),
            Self::List(list) => Subject::List(list.clone()).to_string(),
            Self::Policy(app) => Subject::Policy(app.clone()).to_string(),
            Self::Deck(deck) => Subject::Deck(deck.clone()).to_string(),
            Self::Destination(destination) => Subject::Destination(destination.clone()).to_string(),
            Self::Destinations => "config.v1.destination.*".to_owned(),
            Self::Profile(id) => Subject::Profile(id.clone()).to_string(),
            Self::Profiles => "config.v1.profile.*".to_owned(),
            Self::Deliveries(destination) => format!("deliveries.v1.{destination}.*"),
        }]
    }
}

/// The broker's spelling of a partition's events, all of them or those of one kind.
pub fn calls_pattern(kind: Option<Kind>, partition: Partition) -> String {
    let kind = kind.map_or("*", Kind::as_str);
    format!("calls.v1.{kind}.*.{partition}")
}

/// Where a program of the operator's own is asked what to do with a call: `decide.v1.<kind>.<app>`.
pub fn decide_subject(kind: Kind, app: &AppName) -> String {
    format!("decide.v1.{kind}.{app}")
}

/// Where workers are asked for the answer to a callback: `ask.v1.<kind>.<app>`.
pub fn ask_subject(kind: Kind, app: &AppName) -> String {
    format!("ask.v1.{kind}.{app}")
}
