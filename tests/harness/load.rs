//! Calls that come in steadily, each at the first door and, where that does not take a callback, at the second, as the
//! platform has it. What was sent and what became of it is kept, so that every acknowledged callback can be followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use proto::{CallId, EventId, Kind, Svaml};
use simulator::{CallFacts, CallResult, CallScript, Caller, Ending, Endpoint, NoReply, Platform, Reason, SignWith};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::World;
use crate::world::{ALLOWED, APP_KEY, now};

/// What a call lasts in what its end says, whatever it took here.
pub const SECS: u32 = 10;
/// What it took here, at least and at most: ends meet what is then.
const TALK_MILLIS: std::ops::Range<u64> = 50..1_500;

/// A call that was played to its end.
#[derive(Debug)]
pub struct Call {
    pub call: CallId,
    pub sent: Vec<Sent>,
    /// The answer let it through.
    pub is_connected: bool,
}

/// A callback, and what came of it.
#[derive(Debug)]
pub struct Sent {
    pub kind: Kind,
    pub id: EventId,
    pub began: Instant,
    /// Until it was acknowledged, or the last door had not.
    pub took: Duration,
    /// What the door said that acknowledged it; none did.
    pub answer: Option<Bytes>,
    /// Why doors before did not.
    pub failed: Vec<Failed>,
}

/// Why a door did not acknowledge a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    Status(u16),
    /// Nothing came within the platform's patience.
    Late,
    /// Nobody listens, or the connection was lost.
    Gone,
}

impl Call {
    /// The callback of this kind was acknowledged.
    pub fn has_acknowledged(&self, kind: Kind) -> bool {
        self.sent.iter().any(|sent| sent.kind == kind && sent.answer.is_some())
    }
}

/// Calls under way.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    played: Arc<AtomicUsize>,
    calling: JoinHandle<Result<Vec<Call>>>,
}

impl Load {
    /// So many calls begin in a second, whether or not earlier ones are over. It runs in a thread of its own, so that
    /// what is done meanwhile does not delay it.
    pub fn start(world: &World, doors: &[&str], per_second: u32) -> Result<Self> {
        let seed = fastrand::u64(..);
        let doors: Vec<Platform> = doors.iter().map(|door| world.platform_at(door, seed)).collect::<Result<_>>()?;
        let (over, played) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_over, counter) = (Arc::clone(&over), Arc::clone(&played));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let calling = std::thread::spawn(move || runtime.block_on(call_at_a_rate(doors, per_second, is_over, counter)));
        Ok(Self { over, played, calling })
    }

    /// Calls that have come to their end.
    pub fn played(&self) -> usize {
        self.played.load(Ordering::Relaxed)
    }

    /// Until so many more calls have come to their end.
    pub async fn more(&self, calls: usize) -> Result<()> {
        let until = self.played() + calls;
        crate::eventually("calls go on", async || Ok((self.played() >= until).then_some(()))).await
    }

    /// No more calls begin; those under way are played to their end. In the order in which they began.
    pub async fn stop(self) -> Result<Vec<Call>> {
        self.over.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(move || self.calling.join()).await.context("wait for the load")?;
        ended.map_err(|_| anyhow!("the load panicked"))?
    }
}

async fn call_at_a_rate(
    doors: Vec<Platform>,
    per_second: u32,
    is_over: Arc<AtomicBool>,
    played: Arc<AtomicUsize>,
) -> Result<Vec<Call>> {
    let doors: Arc<[Platform]> = doors.into();
    let mut every = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut calling = JoinSet::new();
    while !is_over.load(Ordering::Relaxed) {
        every.tick().await;
        let (doors, played) = (Arc::clone(&doors), Arc::clone(&played));
        calling.spawn(async move {
            let call = play(&doors).await;
            played.fetch_add(1, Ordering::Relaxed);
            call
        });
    }
    let mut calls = Vec::new();
    while let Some(call) = calling.join_next().await {
        calls.push(call??);
    }
    calls.sort_by_key(|call| call.sent.first().map(|ice| ice.began));
    Ok(calls)
}

async fn play(doors: &[Platform]) -> Result<Call> {
    let platform = doors.first().context("a load has a door")?;
    let facts: CallFacts = platform.facts(&script(ALLOWED));
    let mut call = Call { call: facts.call.clone(), sent: Vec::new(), is_connected: false };
    let ice = send(doors, Kind::Ice, facts.ice(now())).await?;
    let answer: Option<Svaml> = ice.answer.as_ref().map(|answer| serde_json::from_slice(answer)).transpose()?;
    call.sent.push(ice);
    call.is_connected = answer.as_ref().is_some_and(|answer| answer.action.name() == "connectPstn");
    let (ending, secs) = if call.is_connected {
        call.sent.push(send(doors, Kind::Ace, facts.ace(now(), None)).await?);
        sleep(Duration::from_millis(fastrand::u64(TALK_MILLIS))).await;
        (Ending { result: CallResult::Answered, reason: Reason::CallerHangup }, Some(SECS))
    } else {
        let reason = if answer.is_some() { Reason::ManagerHangup } else { Reason::CallbackError };
        (Ending { result: CallResult::NotApplicable, reason }, None)
    };
    call.sent.push(send(doors, Kind::Dice, facts.dice(now(), ending, secs)).await?);
    Ok(call)
}

/// One door after the other, each with the platform's patience.
async fn send(doors: &[Platform], kind: Kind, body: Bytes) -> Result<Sent> {
    let id = EventId::of_callback(&APP_KEY.parse()?, &body);
    let mut sent = Sent { kind, id, began: Instant::now(), took: Duration::ZERO, answer: None, failed: Vec::new() };
    for door in doors {
        sent.failed.push(match door.send(body.clone(), SignWith::default()).await {
            Ok(reply) if reply.status == 200 => {
                sent.answer = Some(reply.body);
                break;
            }
            Ok(reply) => Failed::Status(reply.status),
            Err(NoReply::Timeout) => Failed::Late,
            Err(NoReply::TooLong | NoReply::Unreachable(_)) => Failed::Gone,
        });
    }
    sent.took = sent.began.elapsed();
    Ok(sent)
}

/// A call to a number, from one that never changes.
pub fn script(to: &str) -> CallScript {
    CallScript::new(Caller::Number("+46700000001".to_owned()), Endpoint::Number(to.to_owned()))
}
