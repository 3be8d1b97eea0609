//! From a spool to the broker: in order within each lane, each event until the broker has it *and has had time to put
//! it on its disk*.
//!
//! A broker may acknowledge before its own fsync. So an acknowledged event is deleted only when the same running broker
//! (its `server_id`) has answered again after `keep`; a broker that was restarted has another id and gets all that is
//! still kept once more, from the beginning. What it had already falls away there by its event id. This covers a single
//! broker; in a cluster it is the replicas that keep an acknowledged event.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proto::{Filter, Partition, Stream};
use rusqlite::{Connection, params};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{ENVELOPE_BYTES, Keep, size_of};
use crate::bus::Recorded;
use crate::error::{AppendError, Unavailable};
use crate::log_file::{LogFile, table};
use crate::nats::Broker;

/// Events read ahead of the broker at most.
const QUEUED_MAX: usize = 2048;
const PAGE: usize = 256;
/// Deleted in one commit at most: appends wait behind it.
const DELETED_MAX: usize = 256;
const TICK: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The name under which events the broker will never take are put aside.
const DEAD_CONSUMER: &str = "spool";

type Lane = (Stream, Partition);
type Place = (Stream, u64);

/// Forwards one spool.
pub(super) struct Forward {
    log: Arc<LogFile>,
    broker: Broker,
    keep: Keep,
    held_bytes: Arc<AtomicU64>,
    /// Whoever records found none.
    wants_room: Arc<AtomicBool>,
    /// Until then no more is kept of what the broker has than must be.
    short_until: Option<Instant>,
    forwarded: watch::Sender<u64>,
    /// The broker that is being forwarded to; `None` before the first.
    server: Option<String>,
    /// Its streams are there.
    is_prepared: bool,
    /// Per stream, how far it has been read, and whether there may be more.
    read: Vec<(Stream, u64, bool)>,
    /// Per busy lane, what waits behind the event in flight.
    waiting: HashMap<Lane, VecDeque<Recorded>>,
    queued: usize,
    flying: JoinSet<(Lane, Recorded, Outcome)>,
    /// In the order of their acknowledgement.
    acknowledged: VecDeque<(Instant, Place, u64)>,
    /// When the present server last answered.
    answered: Option<Instant>,
    refused: HashSet<Place>,
    commits: watch::Receiver<u64>,
    tick: Interval,
}

enum Outcome {
    /// By this server.
    Acknowledged(Option<String>),
    Refused(String),
    /// Another server than the one this was meant for.
    ServerChanged,
}

impl Forward {
    /// Looks what a process before this one has left.
    pub(super) async fn new(
        log: Arc<LogFile>,
        broker: Broker,
        keep: Keep,
    ) -> Result<(Self, watch::Receiver<u64>), Unavailable> {
        let (held, refused) = log.query(left_behind).await?;
        let (forwarded, watching) = watch::channel(0);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let commits = log.commits();
        let forward = Self {
            log,
            broker,
            keep,
            held_bytes: Arc::new(AtomicU64::new(held)),
            wants_room: Arc::default(),
            short_until: None,
            forwarded,
            server: None,
            is_prepared: false,
            read: Stream::ALL.map(|stream| (stream, 0, true)).to_vec(),
            waiting: HashMap::new(),
            queued: 0,
            flying: JoinSet::new(),
            acknowledged: VecDeque::new(),
            answered: None,
            refused,
            commits,
            tick,
        };
        Ok((forward, watching))
    }

    /// Bytes the spool holds; whoever records adds to it.
    pub(super) fn held_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.held_bytes)
    }

    /// Set by whoever records and finds no room.
    pub(super) fn wants_room(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wants_room)
    }

    /// Forwards for as long as the spool is open.
    pub(super) async fn run(mut self) {
        loop {
            self.turn().await;
        }
    }

    /// Forwards a spool nobody writes to any more, then gives its directory free.
    pub(super) async fn run_until_empty(mut self) {
        while !(self.is_idle() && self.acknowledged.is_empty()) {
            self.turn().await;
        }
    }

    /// Waits for something to happen and does what follows from it.
    async fn turn(&mut self) {
        // In one look: a commit between two would count as seen, and its events would lie until the next.
        let (committed, is_new) = {
            let seen = self.commits.borrow_and_update();
            (*seen, seen.has_changed())
        };
        if is_new {
            self.read.iter_mut().for_each(|(_, _, may_have_more)| *may_have_more = true);
        }
        self.meet_server().await;
        if self.is_prepared
            && let Err(error) = self.read_more().await
        {
            tracing::error!(%error, "the spool cannot be read");
            tokio::time::sleep(PAUSE_MAX).await;
        }
        if self.is_idle() {
            self.forwarded.send_if_modified(|upto| std::mem::replace(upto, committed) != committed);
        }
        tokio::select! {
            Some(landed) = self.flying.join_next() => match landed {
                Ok((lane, recorded, outcome)) => self.landed(lane, recorded, outcome).await,
                Err(error) => tracing::error!(%error, "forwarding an event ended badly"),
            },
            // Seen at the next turn. A closed spool has no more to come.
            Ok(()) = wait_for_commit(&mut self.commits), if self.queued < QUEUED_MAX => {}
            _ = self.tick.tick() => self.forget().await,
        }
    }

    fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.queued == 0 && self.read.iter().all(|(_, _, may_have_more)| !may_have_more)
    }

    /// Starts from the beginning when another server is there than before.
    async fn meet_server(&mut self) {
        if self.broker.connected("forward").is_err() {
            return;
        }
        let server = self.broker.server_id();
        if server != self.server {
            tracing::info!(?server, kept = self.acknowledged.len(), "forwarding to a broker that was started anew");
            self.server = server;
            self.is_prepared = false;
            self.answered = None;
            self.acknowledged.clear();
            self.waiting.values_mut().for_each(VecDeque::clear);
            self.queued = 0;
            self.read.iter_mut().for_each(|(_, read_to, may_have_more)| (*read_to, *may_have_more) = (0, true));
        }
        if !self.is_prepared {
            match self.broker.prepare().await {
                Ok(()) => self.is_prepared = true,
                Err(error) => tracing::error!(%error, "the broker cannot take the spool"),
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), Unavailable> {
        for index in 0..self.read.len() {
            let Some(&(stream, mut read_to, mut may_have_more)) = self.read.get(index) else { continue };
            while may_have_more && self.queued < QUEUED_MAX {
                let page = self.log.page(&Filter::All(stream), read_to, u64::MAX, PAGE).await?;
                may_have_more = page.len() == PAGE;
                read_to = page.last().map_or(read_to, |last| last.seq);
                page.into_iter().for_each(|recorded| self.queue(stream, recorded));
            }
            self.read[index] = (stream, read_to, may_have_more);
        }
        Ok(())
    }

    fn queue(&mut self, stream: Stream, recorded: Recorded) {
        if self.refused.contains(&(stream, recorded.seq)) {
            return;
        }
        let lane = (stream, recorded.event.subject.lane());
        match self.waiting.get_mut(&lane) {
            Some(waiting) => {
                waiting.push_back(recorded);
                self.queued += 1;
            }
            None => {
                self.waiting.insert(lane, VecDeque::new());
                self.fly(lane, recorded);
            }
        }
    }

    fn fly(&mut self, lane: Lane, recorded: Recorded) {
        let (broker, server) = (self.broker.clone(), self.server.clone());
        self.flying.spawn(async move {
            let outcome = publish(&broker, server, &recorded).await;
            (lane, recorded, outcome)
        });
    }

    async fn landed(&mut self, lane: Lane, recorded: Recorded, outcome: Outcome) {
        let place = (lane.0, recorded.seq);
        match outcome {
            Outcome::Acknowledged(server) if server == self.server => {
                let now = Instant::now();
                self.answered = Some(now);
                self.acknowledged.push_back((now, place, size_of(&recorded.event)));
            }
            Outcome::Refused(reason) => self.put_aside(place, &recorded, reason).await,
            // It is read again, with all the others, for the new server.
            Outcome::Acknowledged(_) | Outcome::ServerChanged => {}
        }
        match self.waiting.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(next) => {
                self.queued -= 1;
                self.fly(lane, next);
            }
            None => {
                self.waiting.remove(&lane);
            }
        }
    }

    /// The event stays in the spool, for a person to look at; the others go on.
    async fn put_aside(&mut self, place: Place, recorded: &Recorded, reason: String) {
        let id = &recorded.event.id;
        tracing::error!(%id, reason, "the broker will never take this event; it stays in the spool");
        self.refused.insert(place);
        let (stream, seq, id) = (place.0.name(), place.1, recorded.event.id.to_string());
        let (subject, at) = (recorded.event.subject.to_string(), self.broker.clock.now().to_string());
        let keep = "insert into dead (consumer, stream, seq, id, subject, reason, at)
                    values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict (consumer, stream, seq) do nothing";
        let kept = self.log.change(move |log| {
            log.execute(keep, params![DEAD_CONSUMER, stream, seq, id, subject, reason, at]).map(drop)
        });
        if let Err(error) = kept.await {
            tracing::error!(%error, "a refused event was not noted; it is tried again after the next start");
        }
    }

    /// Deletes what the broker has had time to put on its disk: a batch now, the next after the next turn. Usually it is
    /// given several times as long as it takes by its own account; for a while after there was no room for what is new,
    /// just as long.
    async fn forget(&mut self) {
        self.probe().await;
        let (Some(answered), true) = (self.answered, self.broker.server_id() == self.server) else { return };
        let now = Instant::now();
        if self.wants_room.swap(false, Ordering::Relaxed) {
            if self.short_until.is_none_or(|until| until <= now) {
                tracing::warn!(
                    "an event could not be kept: to make room, what the broker has is kept for as short as may be"
                );
            }
            self.short_until = Some(now + self.keep.usual);
        }
        let keep = self.keep_now(now);
        let safe = self.acknowledged.iter().take_while(|(at, _, _)| *at + keep <= answered);
        let safe: Vec<(Place, u64)> = safe.take(DELETED_MAX).map(|(_, place, size)| (*place, *size)).collect();
        if safe.is_empty() {
            return;
        }
        let places: Vec<Place> = safe.iter().map(|(place, _)| *place).collect();
        let deleted = self.log.change(move |log| {
            for (stream, seq) in places {
                log.prepare_cached(&format!("delete from {} where seq = ?1", table(stream)))?.execute([seq])?;
            }
            Ok(())
        });
        match deleted.await {
            Ok(()) => {
                self.acknowledged.drain(..safe.len());
                self.held_bytes.fetch_sub(safe.iter().map(|(_, size)| size).sum(), Ordering::Relaxed);
                self.tick.reset_immediately();
            }
            Err(error) => tracing::error!(%error, "forwarded events were not deleted from the spool"),
        }
    }

    fn keep_now(&self, now: Instant) -> Duration {
        if self.short_until.is_some_and(|until| now < until) { self.keep.least } else { self.keep.usual }
    }

    /// While nothing is recorded no acknowledgement comes, so the broker is asked for a sign of life when one is due.
    async fn probe(&mut self) {
        let Some((first, _, _)) = self.acknowledged.front() else { return };
        let due = *first + self.keep_now(Instant::now());
        if Instant::now() < due || self.answered.is_some_and(|answered| answered >= due) {
            return;
        }
        let server = self.broker.server_id();
        let sign = self.broker.call("look at the log", self.broker.jetstream.get_stream(Stream::Calls.name())).await;
        if sign.is_ok() && server == self.server && self.broker.server_id() == self.server {
            self.answered = Some(Instant::now());
        }
    }
}

/// Publishes until the broker has it or says never, as long as it is the same broker.
async fn publish(broker: &Broker, server: Option<String>, recorded: &Recorded) -> Outcome {
    let mut pause = PAUSE_MIN;
    loop {
        if broker.server_id() != server {
            return Outcome::ServerChanged;
        }
        match broker.publish(&recorded.event, None).await {
            Ok(_) if broker.server_id() == server => return Outcome::Acknowledged(server),
            Ok(_) => return Outcome::ServerChanged,
            Err(AppendError::Refused(reason)) => return Outcome::Refused(reason),
            Err(error @ (AppendError::Unavailable(_) | AppendError::Conflict { .. })) => {
                tracing::debug!(%error, "an event waits in the spool");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Returns without marking the commit as seen.
async fn wait_for_commit(commits: &mut watch::Receiver<u64>) -> Result<(), watch::error::RecvError> {
    commits.changed().await?;
    commits.mark_changed();
    Ok(())
}

/// The bytes in the spool, and what the broker has refused for good.
fn left_behind(log: &Connection) -> rusqlite::Result<(u64, HashSet<Place>)> {
    let mut held = 0;
    for stream in Stream::ALL {
        let sum = format!("select coalesce(sum(length(data) + {ENVELOPE_BYTES}), 0) from {}", table(stream));
        held += log.query_row(&sum, [], |row| row.get::<_, u64>(0))?;
    }
    let mut refused = HashSet::new();
    for stream in Stream::ALL {
        let mut dead = log.prepare("select seq from dead where consumer = ?1 and stream = ?2")?;
        for seq in dead.query_map([DEAD_CONSUMER, stream.name()], |row| row.get(0))? {
            refused.insert((stream, seq?));
        }
    }
    Ok((held, refused))
}
