//! The port to what lies outside: the log, the broker that carries questions, and the cache.
//!
//! A [`Bus`] keeps events for ever, in order ([`Bus::record`], [`Bus::append`], [`Bus::read`]), hands them to durable
//! consumers ([`Bus::consume`]) and carries questions to whoever serves them ([`Bus::ask`], [`Bus::serve`]). It has two
//! arms: *embedded*, one file and one process, and *NATS*. The file that is the embedded log (`log_file`) is also the
//! spool an ingress writes before the broker has an event (`spool`), and the form of a [`Backup`]. The order events are
//! handed over in is one code for both (`lanes`).
//!
//! A [`Cache`] remembers for a while; losing it loses no money. [`Clock`] is the one place that reads the time of day.
//! [`trace`] is how one trace runs through all roles.
//!
//! The contract both arms keep is tested in `tests/stories/bus.rs`.

mod bus;
mod events;
mod error;
mod clock;
pub mod trace;
mod cache;
mod ask;
mod lanes;
mod standing;
mod groups;
mod log_file;
mod embedded;
mod nats;
mod spool;
mod pattern;
mod backup;
#[cfg(feature = "storm")]
pub mod storm;

pub use ask::{Asked, Question, ServeSpec};
pub use backup::{Backup, BackupError, Compared, Extent, Manifest, Position};
pub use bus::{Appended, Bus, ConsumerSpec, DeadLetter, Document, Recorded, Verdict};
pub use cache::{Cache, CacheError, MemoryCache, RedisCache};
pub use clock::Clock;
pub use embedded::Embedded;
pub use error::{AppendError, AskError, OpenError, ReadError, RecordError, Unavailable};
pub use events::Events;
pub use groups::Groups;
pub use nats::{
    Begin, BrokerUser, Durability, Lag, Nats, NatsConfig, Permissions, Piece, PieceState, SpoolConfig, Subscribed,
    Subscription, accounts,
};
pub use standing::Standing;
