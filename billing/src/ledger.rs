//! The ledger: wallets as folds of their events, and the one place that appends to them.
//!
//! Whoever wants something posted adds an [`Intent`] to the wallet's queue. One of the waiting takes the whole queue,
//! decides every posting on the wallet's fold, and appends them as one event that is refused unless the fold is still
//! the newest state. So two writers never post on an old view, and a busy wallet pays one append for many postings.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::{AppendError, Bus, Clock, ReadError, Unavailable};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use money::posting::{Change, POSTINGS_MAX, PostingId, TopUp};
use money::wallet::LegState;
use money::{Applied, Charged, Currency, Ended, Hold, Lot, Micros, Refused, Wallet, WalletEvent, WalletFacts, command};
use proto::event::json;
use proto::{CallId, Event, EventId, Filter, Leg, Stream, Subject, WalletId};
use tokio::sync::oneshot;

use crate::admission::{Admission, ApplyReply, Position};
use crate::credit::repair;

/// How often a batch is decided anew because somebody else wrote first.
const CONFLICTS_MAX: usize = 10;

/// Something that should be posted to a wallet. Each may be wanted again and again; it is posted once.
#[derive(Debug, Clone)]
pub(crate) enum Intent {
    Place(Box<Hold>),
    Settle { leg: Leg, ended: Ended },
    Expire { leg: Leg, answered_at: Option<Timestamp> },
    TopUp { currency: Currency, top_up: TopUp },
    Change { currency: Option<Currency>, change: Change },
    Refund { charged: Charged, id: PostingId, amount: Option<Micros>, note: String, by: String },
    Correct { charged: Charged, id: PostingId, to: Micros, note: String, by: String },
    ExpireGrant { grant: PostingId, now: Timestamp },
}

impl Intent {
    fn leg(&self) -> Option<&Leg> {
        match self {
            Self::Place(hold) => Some(&hold.leg),
            Self::Settle { leg, .. } | Self::Expire { leg, .. } => Some(leg),
            Self::TopUp { .. }
            | Self::Change { .. }
            | Self::Refund { .. }
            | Self::Correct { .. }
            | Self::ExpireGrant { .. } => None,
        }
    }
}

/// What became of an intent.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    /// False when it had been posted before.
    pub new: bool,
    /// What the intent's leg was charged, once it is closed.
    pub charged: Option<Micros>,
    pub facts: WalletFacts,
    /// The grants that have something left.
    pub grants: Vec<Lot>,
}

/// Why nothing was posted.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NotPosted {
    /// Not by trying again.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The wallet's history cannot be read by this version; an operator must look.
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Unavailable(String),
}

/// A wallet's history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NotFolded {
    #[error("fold a wallet: {0}")]
    Read(#[from] ReadError),
    #[error("fold a wallet: {0}")]
    Unavailable(#[from] Unavailable),
    #[error("fold the wallet {wallet}: the event at sequence {seq} is not a wallet event: {cause}")]
    Event { wallet: WalletId, seq: u64, cause: serde_json::Error },
}

impl From<NotFolded> for NotPosted {
    fn from(error: NotFolded) -> Self {
        match error {
            NotFolded::Event { .. } | NotFolded::Read(ReadError::NotAnEvent { .. }) => {
                Self::Unreadable(error.to_string())
            }
            NotFolded::Read(ReadError::Unavailable(_)) | NotFolded::Unavailable(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// One event of a wallet, with its place.
#[derive(Debug)]
pub struct PostedEvent {
    pub seq: u64,
    pub time: Timestamp,
    pub event: WalletEvent,
}

/// The wallet's events after a sequence, in order.
///
/// # Errors
/// When the log cannot be read, or holds something under the wallet's subject that is not its event.
pub async fn events(bus: &Bus, id: &WalletId, after_seq: u64) -> Result<Vec<PostedEvent>, NotFolded> {
    let mut events = Vec::new();
    let mut recorded = bus.read(&Filter::Wallet(id.clone()), after_seq);
    while let Some(next) = recorded.next().await {
        let next = next?;
        let event = serde_json::from_slice(&next.event.data).map_err(|cause| NotFolded::Event {
            wallet: id.clone(),
            seq: next.seq,
            cause,
        })?;
        events.push(PostedEvent { seq: next.seq, time: next.event.time, event });
    }
    Ok(events)
}

/// The wallet as its events make it. One without events is an empty wallet at sequence 0.
///
/// # Errors
/// As [`events`].
pub async fn fold(bus: &Bus, id: &WalletId) -> Result<Wallet, NotFolded> {
    let mut wallet = Wallet::default();
    for posted in events(bus, id, 0).await? {
        wallet.apply(posted.seq, posted.time, &posted.event);
    }
    Ok(wallet)
}

/// The newest events of all wallets that a start has admission told of again.
const DOUBTED_EVENTS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Ledger {
    bus: Bus,
    admission: Admission,
    clock: Clock,
    accounts: Mutex<HashMap<WalletId, Arc<Account>>>,
    /// Wallets whose newest events may be missing in admission, because it could not be reached.
    behind: Mutex<HashSet<WalletId>>,
}

#[derive(Debug, Default)]
struct Account {
    waiting: Mutex<Vec<Waiting>>,
    /// None until it is folded, and whenever the log may have moved on without us.
    wallet: tokio::sync::Mutex<Option<Wallet>>,
}

#[derive(Debug)]
struct Waiting {
    intent: Intent,
    reply: oneshot::Sender<Result<Posted, NotPosted>>,
}

impl Ledger {
    pub(crate) fn new(bus: Bus, admission: Admission, clock: Clock) -> Self {
        Self { bus, admission, clock, accounts: Mutex::default(), behind: Mutex::default() }
    }

    /// Posts what the intent comes to, together with whatever else waits for the same wallet.
    pub(crate) async fn post(&self, id: &WalletId, intent: Intent) -> Result<Posted, NotPosted> {
        let account = Arc::clone(lock(&self.accounts).entry(id.clone()).or_default());
        let (reply, mut posted) = oneshot::channel();
        lock(&account.waiting).push(Waiting { intent, reply });
        let mut wallet = account.wallet.lock().await;
        loop {
            if let Ok(posted) = posted.try_recv() {
                return posted;
            }
            let batch = {
                let mut waiting = lock(&account.waiting);
                let taken = waiting.len().min(POSTINGS_MAX);
                let rest = waiting.split_off(taken);
                mem::replace(&mut *waiting, rest)
            };
            if batch.is_empty() {
                // Who took our intent died with it.
                return Err(NotPosted::Unavailable("post: interrupted".to_owned()));
            }
            let (intents, replies): (Vec<Intent>, Vec<_>) = batch.into_iter().map(|w| (w.intent, w.reply)).unzip();
            let outcomes = match self.append(id, &mut wallet, &intents).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    *wallet = None;
                    intents.iter().map(|_| Err(error.clone())).collect()
                }
            };
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Who asked may have given up; what is posted is posted.
                let _ = reply.send(outcome);
            }
        }
    }

    /// What a call was charged, as it stands in the log for ever; of several legs only one was. A wallet forgets it sooner.
    pub(crate) async fn charged(&self, id: &WalletId, call: &CallId) -> Result<Option<Charged>, NotPosted> {
        let events = events(&self.bus, id, 0).await?;
        let mut charges = events.iter().flat_map(|posted| &posted.event.postings).filter_map(Charged::of);
        Ok(charges.rfind(|charged| charged.call == *call && charged.amount > Micros::ZERO))
    }

    /// What a leg was closed with, be it nothing.
    pub(crate) async fn closed(&self, id: &WalletId, leg: &Leg) -> Result<Option<Charged>, NotPosted> {
        let events = events(&self.bus, id, 0).await?;
        let mut closed = events.iter().flat_map(|posted| &posted.event.postings).filter_map(Charged::of);
        Ok(closed.find(|charged| charged.leg == *leg))
    }

    /// Marks the wallets of the newest events: a process that died may not have told admission of them.
    pub(crate) async fn doubt_newest(&self) -> Result<(), Unavailable> {
        let wallets = Filter::All(Stream::Wallets);
        let from = self.bus.last_seq(&wallets).await?.saturating_sub(DOUBTED_EVENTS);
        let mut events = self.bus.events(&wallets, from);
        while let Some(next) = events.next().await? {
            if let Subject::Wallet(id) = next.event.subject {
                lock(&self.behind).insert(id);
            }
        }
        Ok(())
    }

    /// Tells admission what it missed while it could not be reached.
    pub(crate) async fn catch_up_admission(&self) {
        let behind: Vec<WalletId> = lock(&self.behind).iter().cloned().collect();
        for id in behind {
            match repair(&self.bus, &self.admission, &id).await {
                Ok(()) => {
                    lock(&self.behind).remove(&id);
                }
                Err(error) => {
                    tracing::warn!(%error, "admission is behind the log");
                    return;
                }
            }
        }
    }

    async fn append(
        &self,
        id: &WalletId,
        folded: &mut Option<Wallet>,
        intents: &[Intent],
    ) -> Result<Vec<Result<Posted, NotPosted>>, NotPosted> {
        for _ in 0..CONFLICTS_MAX {
            let mut wallet = match folded.take() {
                Some(wallet) => wallet,
                None => {
                    // The newest event may be one whose acknowledgement, or whose writer, was lost: nobody told
                    // admission of it then.
                    lock(&self.behind).insert(id.clone());
                    fold(&self.bus, id).await?
                }
            };
            let time = self.clock.now();
            let before = Position::of(&wallet);
            let (outcomes, event) = decide(id, &mut wallet, time, intents);
            let Some(event) = event else {
                *folded = Some(wallet);
                return Ok(outcomes);
            };
            let recorded = to_event(id, before.seq, time, &event);
            match self.bus.append(&recorded, Some(before.seq)).await {
                Ok(appended) if !appended.duplicate => {
                    wallet.apply(appended.seq, time, &event);
                    *folded = Some(wallet);
                    self.admit(id, &before, appended.seq, time, &event).await;
                    return Ok(outcomes);
                }
                // Somebody else wrote, perhaps ourselves before a lost acknowledgement: decide again on what is there.
                Ok(_) | Err(AppendError::Conflict { .. }) => {}
                Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => {
                    return Err(NotPosted::Unavailable(error.to_string()));
                }
            }
        }
        Err(NotPosted::Unavailable(format!("post to {id}: others wrote first {CONFLICTS_MAX} times in a row")))
    }

    async fn admit(&self, id: &WalletId, before: &Position, seq: u64, time: Timestamp, event: &WalletEvent) {
        let outcome = match self.admission.apply(before, seq, time, event).await {
            Ok(ApplyReply::Done(Applied::Gap { .. })) => {
                repair(&self.bus, &self.admission, id).await.map_err(|error| error.to_string())
            }
            Ok(ApplyReply::Done(Applied::Ok | Applied::Old) | ApplyReply::NotLoaded) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            tracing::warn!(error, "admission will be told again");
            lock(&self.behind).insert(id.clone());
        }
    }
}

/// Decides each intent on the wallet as the ones before it left it.
fn decide(
    id: &WalletId,
    wallet: &mut Wallet,
    time: Timestamp,
    intents: &[Intent],
) -> (Vec<Result<Posted, NotPosted>>, Option<WalletEvent>) {
    let mut event: Option<WalletEvent> = None;
    let outcomes = intents.iter().map(|intent| {
        let (currency, decided) = match intent {
            Intent::Place(hold) => (Some(hold.price.currency()), command::place(wallet, hold)),
            Intent::Settle { leg, ended } => (wallet.facts().currency, command::settle(wallet, leg, *ended)),
            Intent::Expire { leg, answered_at } => {
                (wallet.facts().currency, command::expire(wallet, leg, *answered_at))
            }
            Intent::TopUp { currency, top_up } => (Some(*currency), command::top_up(wallet, *currency, top_up.clone())),
            Intent::Change { currency, change } => match currency.or(wallet.facts().currency) {
                Some(currency) => (Some(currency), command::change(wallet, currency, change.clone())),
                None => (None, Err(Refused::NoCurrency)),
            },
            Intent::Refund { charged, id, amount, note, by } => {
                let refund = command::refund(wallet, charged, id.clone(), *amount, note.clone(), by.clone());
                (wallet.facts().currency, refund)
            }
            Intent::Correct { charged, id, to, note, by } => {
                let correction = command::correct(wallet, charged, id.clone(), *to, note.clone(), by.clone());
                (wallet.facts().currency, correction)
            }
            Intent::ExpireGrant { grant, now } => (wallet.facts().currency, command::expire_grant(wallet, grant, *now)),
        };
        let posting = decided?;
        let new = posting.is_some();
        if let (Some(posting), Some(currency)) = (posting, currency) {
            wallet.post(time, currency, &posting);
            let event = event.get_or_insert_with(|| WalletEvent { wallet: id.clone(), currency, postings: Vec::new() });
            event.postings.push(posting);
        }
        let charged = intent.leg().and_then(|leg| match wallet.leg(leg) {
            LegState::Closed(closed) => Some(closed.charged),
            LegState::Open(_) | LegState::Unknown => None,
        });
        Ok(Posted { new, charged, facts: wallet.facts_at(time), grants: wallet.grants().collect() })
    });
    (outcomes.collect(), event)
}

fn to_event(id: &WalletId, prev_seq: u64, time: Timestamp, event: &WalletEvent) -> Event {
    let body = json(event);
    Event {
        id: EventId::of(&["wallet", id.as_str(), &prev_seq.to_string(), &body]),
        subject: Subject::Wallet(id.clone()),
        about: id.to_string(),
        source: "billing".to_owned(),
        time,
        extra: Vec::new(),
        data: Bytes::from(body),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
