//! The billing role: reads the calls, posts to wallets, writes CDRs.
//!
//! It keeps the calls it still needs in memory. Its consumer says how far it is; its checkpoint says where the oldest
//! of those calls began, and a start reads them again from there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Cache, Clock, ConsumerSpec, ReadError, Recorded, ServeSpec, Unavailable, Verdict};
use futures::StreamExt;
use proto::{AppName, CallId, Filter, Kind, Partition, Stream, Subject};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::call::Call;
use crate::ledger::{Intent, Ledger, NotPosted};
use crate::{tombstone, top_up};

/// Name of billing's consumer of the calls, and of its checkpoint.
pub const CONSUMER: &str = "billing";

const CALLS: Filter = Filter::All(Stream::Calls);

/// Calls worked on at the same time; each waits for at most a few appends.
const IN_FLIGHT_MAX: usize = 64;

const TOP_UPS_MAX: usize = 64;

/// The log or the broker is away: wait, and go on where we were.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often holds are expired, silent calls settled and the checkpoint moved.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Billing cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The role.
#[derive(Debug)]
pub struct Billing {
    bus: Bus,
    books: Arc<Books>,
}

/// What the handlers share.
#[derive(Debug)]
struct Books {
    bus: Bus,
    cache: Cache,
    clock: Clock,
    ledger: Ledger,
    /// By partition: one lane of the log is worked on at a time, so these locks are hardly ever waited for.
    calls: Vec<Mutex<HashMap<(AppName, CallId), Call>>>,
}

impl Billing {
    /// Reads the calls it still needs.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn build(bus: Bus, admission: Admission, cache: Cache, clock: Clock) -> Result<Self, BillingError> {
        let ledger = Ledger::new(bus.clone(), admission, clock.clone());
        let calls = (0..Partition::COUNT).map(|_| Mutex::default()).collect();
        let books = Arc::new(Books { bus: bus.clone(), cache, clock, ledger, calls });
        books.remember().await?;
        Ok(Self { bus, books })
    }

    /// Works until asked to stop, then finishes what it has begun.
    ///
    /// # Errors
    /// When the log can no longer be consumed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BillingError> {
        let (books, settling, ordering) = (&self.books, Arc::clone(&self.books), Arc::clone(&self.books));
        let consumer = ConsumerSpec { name: CONSUMER.to_owned(), filter: CALLS, max_in_flight: IN_FLIGHT_MAX };
        let till = ServeSpec {
            name: "billing".to_owned(),
            group: "billing".to_owned(),
            subjects: vec![top_up::SUBJECT.to_owned()],
            concurrency_max: TOP_UPS_MAX,
        };
        let consume = self.bus.consume(
            consumer,
            move |recorded| {
                let books = Arc::clone(&settling);
                async move { books.handle(recorded).await }
            },
            stop.clone(),
        );
        let serve = self.bus.serve(
            till,
            move |asked| {
                let books = Arc::clone(&ordering);
                async move { top_up::take(&books.ledger, &asked.data).await }
            },
            stop.clone(),
        );
        let sweep = async {
            books.sweep_until(stop.clone()).await;
            Ok(())
        };
        tokio::try_join!(consume, serve, sweep)?;
        Ok(())
    }
}

impl Books {
    /// Folds what the consumer has done already, from the oldest call still needed. Nothing is posted: it was.
    async fn remember(&self) -> Result<(), BillingError> {
        let done = self.bus.consumer_floor(&CALLS, CONSUMER).await?;
        let from = self.bus.checkpoint(CONSUMER).await?.unwrap_or_default();
        let mut recorded = self.bus.read(&CALLS, from.saturating_sub(1));
        while let Some(next) = recorded.next().await {
            let next = match next {
                Ok(next) if next.seq > done => break,
                Ok(next) => next,
                // The consumer put it aside already.
                Err(ReadError::NotAnEvent { .. }) => continue,
                Err(error @ ReadError::Unavailable(_)) => return Err(error.into()),
            };
            if let Some((kind, key)) = key_of(&next) {
                let mut calls = self.partition(&next.event.subject).lock().await;
                let call = calls.entry(key.clone()).or_insert_with(|| Call::new(key.0, key.1, &next));
                // What could not be read is a dead letter already.
                let _ = call.apply(kind, &next.event);
            }
        }
        Ok(())
    }

    async fn handle(&self, recorded: Recorded) -> Verdict {
        let Some((kind, key)) = key_of(&recorded) else { return Verdict::Done };
        let mut calls = self.partition(&recorded.event.subject).lock().await;
        if kind == Kind::Settled && !calls.contains_key(&key) {
            return Verdict::Done;
        }
        let call = calls.entry(key.clone()).or_insert_with(|| Call::new(key.0.clone(), key.1.clone(), &recorded));
        if let Err(why) = call.apply(kind, &recorded.event) {
            return Verdict::Dead(format!("the {kind} cannot be read: {why}"));
        }
        if call.ended_undecided()
            && let Err(error) = tombstone::set(&self.cache, &key.0, &key.1).await
        {
            tracing::warn!(%error, "a call that has ended may still be asked about");
        }
        match self.settle(call).await {
            Ok(()) => Verdict::Done,
            Err(NotPosted::Refused(refused)) => Verdict::Dead(refused.to_string()),
            Err(NotPosted::Unavailable(why)) => {
                tracing::warn!(why, "billing waits");
                Verdict::Retry(RETRY_AFTER)
            }
        }
    }

    /// Does whatever the call calls for now: places holds, closes legs, writes the CDR. Safe to do again.
    async fn settle(&self, call: &mut Call) -> Result<(), NotPosted> {
        let answer_known = call.answer_known();
        for index in 0..call.legs.len() {
            let now = self.clock.now();
            let (ended, expired) = (call.ending(index), call.expired(index, now));
            let leg = &mut call.legs[index];
            let (id, wallet) = (leg.hold.leg.clone(), leg.hold.wallet.clone());
            if !leg.placed {
                self.ledger.post(&wallet, Intent::Place(Box::new(leg.hold.clone()))).await?;
                leg.placed = true;
            }
            if leg.bill.is_some() {
                continue;
            }
            let intent = match (ended, expired) {
                (Some(ended), _) => Intent::Settle { leg: id, ended },
                (None, Some(answered_at)) => Intent::Expire { leg: id, answered_at },
                (None, None) => continue,
            };
            let posted = self.ledger.post(&wallet, intent).await?;
            leg.note(posted.charged.unwrap_or_default(), ended, answer_known);
        }
        if call.due(self.clock.now()) {
            self.write_cdr(call).await?;
        }
        Ok(())
    }

    async fn write_cdr(&self, call: &mut Call) -> Result<(), NotPosted> {
        let cdr = call.settlement(self.clock.now());
        self.bus.append(&cdr, None).await.map_err(|error| NotPosted::Unavailable(error.to_string()))?;
        call.settled = true;
        Ok(())
    }

    async fn sweep_until(&self, stop: CancellationToken) {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            self.ledger.catch_up_admission().await;
            match self.sweep().await {
                Ok(oldest) if Some(oldest) != kept => match self.bus.set_checkpoint(CONSUMER, oldest).await {
                    Ok(()) => kept = Some(oldest),
                    Err(error) => tracing::warn!(%error, "checkpoint not moved"),
                },
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "sweep not finished"),
            }
        }
    }

    /// Expires, settles and forgets what it is time for. Answers where the oldest call still needed begins.
    async fn sweep(&self) -> Result<u64, NotPosted> {
        let floor = self.bus.consumer_floor(&CALLS, CONSUMER).await;
        let mut oldest = floor.map_err(|error| NotPosted::Unavailable(error.to_string()))?.saturating_add(1);
        for partition in &self.calls {
            let mut calls = partition.lock().await;
            for call in calls.values_mut() {
                match self.settle(call).await {
                    Ok(()) => {}
                    Err(NotPosted::Refused(refused)) => tracing::error!(%refused, "a call cannot be settled"),
                    Err(error @ NotPosted::Unavailable(_)) => return Err(error),
                }
            }
            let now = self.clock.now();
            calls.retain(|_, call| !call.over(now));
            oldest = calls.values().map(|call| call.first_seq).fold(oldest, u64::min);
        }
        Ok(oldest)
    }

    fn partition(&self, subject: &Subject) -> &Mutex<HashMap<(AppName, CallId), Call>> {
        &self.calls[usize::from(subject.lane().index())]
    }
}

/// Which call an event belongs to; `None` for the few without a call id, which nobody is billed for.
fn key_of(recorded: &Recorded) -> Option<(Kind, (AppName, CallId))> {
    match &recorded.event.subject {
        Subject::Call { kind, app, .. } => {
            let call = CallId::new(recorded.event.about.as_str()).ok()?;
            Some((*kind, (app.clone(), call)))
        }
        Subject::Wallet(_) => None,
    }
}
