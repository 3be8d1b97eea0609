//! What is asked of the tables.

use std::time::Duration;

use bus::Bus;
use jiff::Timestamp;
use proto::{AppName, CallId, DestinationName, EventId, Filter, Outcome, Stream, WalletId};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::calls::{CALLS, CallRow};
use crate::cdrs::{CDR_LEGS, CDRS, CdrLegRow};
use crate::decisions::{DECISIONS, DecisionRow};
use crate::deliveries::{DEAD, DELIVERIES, DeadCount, DeliveryRow, DeliveryState, TOLD, ToldCount};
use crate::error::Error;
use crate::store::{Argument, Store};
use crate::table::{Engine, Table};
use crate::value::{Time, number};

/// How often somebody who waits for the tables looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Which calls are wanted; all of it narrows.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    pub app: Option<AppName>,
    /// Calling or called.
    pub number: Option<String>,
    pub wallet: Option<WalletId>,
    pub outcome: Option<Outcome>,
    /// Whether it is a leg of a call that we placed.
    pub placed: Option<bool>,
    /// Calls that began at or after it.
    pub since: Option<Timestamp>,
    /// Calls that began before it.
    pub until: Option<Timestamp>,
    /// Calls that begin in the log before this sequence: the next page.
    pub before: Option<u64>,
}

/// Which CDRs are wanted.
#[derive(Debug, Clone, Default)]
pub struct CdrFilter {
    pub app: Option<AppName>,
    pub wallet: Option<WalletId>,
    pub call: Option<CallId>,
    /// Calls that ended at or after it.
    pub since: Option<Timestamp>,
    /// Calls that ended before it.
    pub until: Option<Timestamp>,
}

/// Which deliveries are wanted; all of it narrows.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub destination: Option<DestinationName>,
    pub state: Option<DeliveryState>,
    pub call: Option<CallId>,
    /// What happened at or after it.
    pub since: Option<Timestamp>,
    /// Deliveries of which nothing was written down at or after this place in `DELIVERIES`.
    pub untouched_from: Option<u64>,
    /// Deliveries that begin in `DELIVERIES` before this sequence: the next page.
    pub before: Option<u64>,
}

/// One row of `cdrs`, by column.
pub type Cdr = Map<String, Value>;

/// A place between two CDRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CdrPlace {
    pub ended_at: Time,
    pub seq: u64,
    pub leg_number: u64,
}

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Conditions and the values in them.
struct Where {
    engine: Engine,
    conditions: Vec<String>,
    arguments: Vec<Argument>,
}

impl Where {
    fn new(engine: Engine) -> Self {
        Self { engine, conditions: Vec::new(), arguments: Vec::new() }
    }

    fn place(&mut self, argument: Argument) -> String {
        self.arguments.push(argument);
        format!("${}", self.arguments.len())
    }

    fn text(&mut self, text: impl ToString) -> String {
        self.place(Argument::Text(text.to_string()))
    }

    fn time(&mut self, time: Time) -> String {
        let place = self.text(time);
        match self.engine {
            Engine::Sqlite => place,
            Engine::Postgres => format!("{place}::timestamptz"),
        }
    }

    fn integer(&mut self, integer: u64) -> String {
        self.place(Argument::Integer(i64::try_from(integer).unwrap_or(i64::MAX)))
    }

    fn equal(&mut self, column: &str, text: Option<impl ToString>) {
        if let Some(text) = text {
            let place = self.text(text);
            self.conditions.push(format!("{column} = {place}"));
        }
    }

    fn between(&mut self, column: &str, since: Option<Timestamp>, until: Option<Timestamp>) {
        for (compares, time) in [(">=", since), ("<", until)] {
            if let Some(time) = time {
                let place = self.time(time.into());
                self.conditions.push(format!("{column} {compares} {place}"));
            }
        }
    }

    /// One of a list of texts.
    fn among(&mut self, column: &str, texts: &[String]) {
        let place = self.text(json!(texts));
        self.conditions.push(match self.engine {
            Engine::Sqlite => format!("{column} in (select value from json_each({place}))"),
            Engine::Postgres => format!("{column} in (select json_array_elements_text({place}::json))"),
        });
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("where {}", self.conditions.join(" and ")) }
    }
}

impl Store {
    /// Waits until the tables have what is in the log now, but not for long. Answers how many of its places they lack.
    ///
    /// # Errors
    /// When the log or the database cannot be reached.
    pub async fn behind(&self, bus: &Bus, stream: Stream, within: Duration) -> Result<u64, Error> {
        let (end, until) = (bus.last_seq(&Filter::All(stream)).await?, Instant::now() + within);
        loop {
            let behind = end.saturating_sub(self.seq(stream).await?);
            if behind == 0 || Instant::now() >= until {
                return Ok(behind);
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// Calls, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read; so with all that follow.
    pub async fn calls(&self, filter: &CallFilter, limit: usize) -> Result<Vec<CallRow>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("app", filter.app.as_ref());
        wanted.equal("wallet", filter.wallet.as_ref());
        wanted.equal("outcome", filter.outcome.map(word));
        wanted.between("started_at", filter.since, filter.until);
        if let Some(given) = &filter.number {
            let place = wanted.text(number(given));
            wanted.conditions.push(format!("(caller = {place} or callee = {place})"));
        }
        if let Some(placed) = filter.placed {
            wanted.conditions.push(format!("placed is {}null", if placed { "not " } else { "" }));
        }
        if let Some(before) = filter.before {
            let place = wanted.integer(before);
            wanted.conditions.push(format!("first_seq < {place}"));
        }
        let rest = format!("{} order by first_seq desc limit {limit}", wanted.sql());
        let rows = self.rows(CALLS.select(self.engine(), &rest), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// Where a call begins in the log, if it is known.
    pub async fn begins_at(&self, call: &CallId) -> Result<Option<u64>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("call", Some(call));
        let rest = format!("{} order by first_seq limit 1", wanted.sql());
        let rows = self.rows(CALLS.select(self.engine(), &rest), wanted.arguments).await?;
        let first: Option<CallRow> = rows.first().map(|row| serde_json::from_str(row)).transpose()?;
        Ok(first.map(|row| row.first_seq))
    }

    /// Deliveries, as they began.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        order: Order,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("destination", filter.destination.as_ref());
        wanted.equal("state", filter.state.map(DeliveryState::as_str));
        wanted.equal("call", filter.call.as_ref());
        wanted.between("happened_at", filter.since, None);
        if let Some(untouched_from) = filter.untouched_from {
            let place = wanted.integer(untouched_from);
            wanted.conditions.push(format!("seq < {place}"));
        }
        if let Some(before) = filter.before {
            let place = wanted.integer(before);
            wanted.conditions.push(format!("first_seq < {place}"));
        }
        let direction = match order {
            Order::OldestFirst => "",
            Order::NewestFirst => " desc",
        };
        let rest = format!("{} order by first_seq{direction} limit {limit}", wanted.sql());
        let rows = self.rows(DELIVERIES.select(self.engine(), &rest), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// One delivery by its id.
    pub async fn delivery(&self, id: &EventId) -> Result<Option<DeliveryRow>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("id", Some(id));
        let rows = self.rows(DELIVERIES.select(self.engine(), &wanted.sql()), wanted.arguments).await?;
        Ok(rows.first().map(|row| serde_json::from_str(row)).transpose()?)
    }

    /// What is given up at a destination, by cause: how many, the most first.
    pub async fn dead(&self, destination: Option<&DestinationName>, limit: usize) -> Result<Vec<DeadCount>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("state", Some(DeliveryState::Dead.as_str()));
        wanted.equal("destination", destination);
        let counted = format!(
            "(select destination, coalesce(cause, '') as cause, count(*) as count from deliveries {} group by 1, 2) c",
            wanted.sql()
        );
        let table = Table { name: &counted, columns: DEAD };
        let rest = format!("order by count desc, destination, cause limit {limit}");
        let rows = self.rows(table.select(self.engine(), &rest), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// How often each moment of calls was told by a lane, by how that stands.
    pub async fn told(&self, destination: &DestinationName, since: Option<Timestamp>) -> Result<Vec<ToldCount>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("destination", Some(destination));
        wanted.between("happened_at", since, None);
        wanted.conditions.push("moment is not null".to_owned());
        let counted =
            format!("(select moment, state, count(*) as count from deliveries {} group by 1, 2) c", wanted.sql());
        let table = Table { name: &counted, columns: TOLD };
        let rows = self.rows(table.select(self.engine(), "order by moment, state"), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// The legs of the CDRs with these ids, each CDR's in order.
    pub async fn cdr_legs(&self, cdrs: &[String]) -> Result<Vec<CdrLegRow>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.among("cdr", cdrs);
        let rest = format!("{} order by cdr, leg_number", wanted.sql());
        let rows = self.rows(CDR_LEGS.select(self.engine(), &rest), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// The grants behind these legs.
    pub async fn grants(&self, legs: &[String]) -> Result<Vec<DecisionRow>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.among("leg", legs);
        wanted.equal("outcome", Some(word(Outcome::Granted)));
        let rest = format!("{} order by held_micros, seq desc", wanted.sql());
        let rows = self.rows(DECISIONS.select(self.engine(), &rest), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// CDRs by the time their call ended, a page after a place.
    pub async fn cdrs(
        &self,
        filter: &CdrFilter,
        order: Order,
        after: Option<CdrPlace>,
        limit: usize,
    ) -> Result<Vec<Cdr>, Error> {
        let mut wanted = Where::new(self.engine());
        wanted.equal("app", filter.app.as_ref());
        wanted.equal("wallet", filter.wallet.as_ref());
        wanted.equal("call", filter.call.as_ref());
        wanted.between("ended_at", filter.since, filter.until);
        let (direction, compares) = match order {
            Order::OldestFirst => ("", ">"),
            Order::NewestFirst => (" desc", "<"),
        };
        if let Some(CdrPlace { ended_at, seq, leg_number }) = after {
            let (ended_at, seq, leg) = (wanted.time(ended_at), wanted.integer(seq), wanted.integer(leg_number));
            wanted.conditions.push(format!("(ended_at, seq, leg_number) {compares} ({ended_at}, {seq}, {leg})"));
        }
        let by = format!("ended_at{direction}, seq{direction}, leg_number{direction}");
        let rest = format!("{} order by {by} limit {limit}", wanted.sql());
        let rows = self.rows(CDRS.select(self.engine(), &rest), wanted.arguments).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }
}

impl CdrPlace {
    /// Where a CDR stands.
    pub fn of(cdr: &Cdr) -> Option<Self> {
        let ended_at: Timestamp = cdr.get("ended_at")?.as_str()?.parse().ok()?;
        let (seq, leg_number) = (cdr.get("seq")?.as_u64()?, cdr.get("leg_number")?.as_u64()?);
        Some(Self { ended_at: ended_at.into(), seq, leg_number })
    }
}

/// `<time>~<sequence>~<leg>`, as a page's address has it.
impl std::fmt::Display for CdrPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}~{}~{}", self.ended_at, self.seq, self.leg_number)
    }
}

impl std::str::FromStr for CdrPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let place = || {
            let mut parts = text.split('~');
            let (time, seq, leg) = (parts.next()?, parts.next()?, parts.next()?);
            let ended_at: Timestamp = time.parse().ok()?;
            Some(Self { ended_at: ended_at.into(), seq: seq.parse().ok()?, leg_number: leg.parse().ok()? })
        };
        place().ok_or_else(|| format!("{text:?} is not the `next` of a page"))
    }
}

/// As it stands in the tables.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Granted => "granted",
        Outcome::Refused => "refused",
        Outcome::Fallback => "fallback",
    }
}
