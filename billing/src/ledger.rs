//! The ledger: wallets as folds of their events, and the one place that appends to them.
//!
//! Whoever wants something posted adds an [`Intent`] to the wallet's queue. One of the waiting takes the whole queue,
//! decides every posting on the wallet's fold, and appends them as one event that is refused unless the fold is still
//! the newest state. So two writers never post on an old view, and a busy wallet pays one append for many postings.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{AppendError, Bus, Clock, ReadError, Unavailable};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use metrics::counter;
use money::posting::{Change, POSTINGS_MAX, Posting, PostingId, TopUp};
use money::wallet::LegState;
use money::{Applied, Charged, Currency, Ended, Hold, Lot, Micros, Refused, Wallet, WalletEvent, WalletFacts, command};
use proto::event::json;
use proto::{CallId, Event, EventId, Filter, Leg, Stream, Subject, WalletId};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::admission::{Admission, ApplyReply, Position};
use crate::credit::{LOADED_WITHIN, repair};
use crate::history::{self, Folded, NotFolded, PostedEvent};
use crate::snapshot;

/// How often a batch is decided anew because somebody else wrote first.
const CONFLICTS_MAX: u32 = 20;

/// Longest pause before the next try, by lot: of several who post to one wallet none wins every time. It doubles with
/// each conflict, up to this.
const CONFLICT_PAUSE_MAX_MILLIS: u64 = 64;

/// A wallet is taken for one that others post to for so long after a conflict.
const CONTENDED_FOR: Duration = Duration::from_secs(1);

/// Longest pause, by lot, between two batches of such a wallet: who has just written would be first again. What waits
/// meanwhile makes the next batch larger.
const CONTENDED_PAUSE_MAX_MILLIS: u64 = 16;

/// A wallet nobody has posted to for this long is forgotten, and folded again when somebody does.
const IDLE_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Wallets in memory at most, give or take those of one second.
const ACCOUNTS_MAX: usize = 10_000;

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

/// The newest events of all wallets that a start has admission told of again.
const DOUBTED_EVENTS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Ledger {
    bus: Bus,
    admission: Admission,
    clock: Clock,
    accounts: Mutex<HashMap<WalletId, Arc<Account>>>,
    /// Wallets whose newest events may be missing in admission, and until when that may be so.
    behind: Mutex<BTreeMap<WalletId, Instant>>,
}

#[derive(Debug, Default)]
struct Account {
    waiting: Mutex<Vec<Waiting>>,
    /// None until it is folded, and when nobody knows what became of the last append.
    folded: tokio::sync::Mutex<Option<Folded>>,
    used_at: Mutex<Timestamp>,
    /// When somebody else wrote first.
    contended_at: Mutex<Option<Instant>>,
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
        *lock(&account.used_at) = self.clock.now();
        lock(&account.waiting).push(Waiting { intent, reply });
        let mut folded = account.folded.lock().await;
        loop {
            if let Ok(posted) = posted.try_recv() {
                return posted;
            }
            if lock(&account.contended_at).is_some_and(|at| at.elapsed() < CONTENDED_FOR) {
                sleep(by_lot(CONTENDED_PAUSE_MAX_MILLIS)).await;
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
            let outcomes = match self.append(id, &account, &mut folded, &intents).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    *folded = None;
                    intents.iter().map(|_| Err(error.clone())).collect()
                }
            };
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Who asked may have given up; what is posted is posted.
                let _ = reply.send(outcome);
            }
        }
    }

    /// What a call was charged; of several legs only one was.
    pub(crate) async fn charged(&self, id: &WalletId, call: &CallId) -> Result<Option<Charged>, NotPosted> {
        let mut closings = self.closings(id).await?;
        Ok(closings.rfind(|closed| closed.call == *call && closed.amount > Micros::ZERO))
    }

    /// What of a call can be corrected: the charge; where nothing was charged, what its last leg was released with.
    pub(crate) async fn correctable(&self, id: &WalletId, call: &CallId) -> Result<Option<Charged>, NotPosted> {
        let closings: Vec<Charged> = self.closings(id).await?.filter(|closed| closed.call == *call).collect();
        Ok(closings.iter().rfind(|closed| closed.amount > Micros::ZERO).or(closings.last()).cloned())
    }

    /// What a leg was closed with, be it nothing.
    pub(crate) async fn closed(&self, id: &WalletId, leg: &Leg) -> Result<Option<Charged>, NotPosted> {
        Ok(self.closings(id).await?.find(|closed| closed.leg == *leg))
    }

    /// What each leg of a wallet was closed with, as it stands in the log for ever; a wallet forgets it sooner.
    async fn closings(&self, id: &WalletId) -> Result<impl DoubleEndedIterator<Item = Charged> + use<>, NotPosted> {
        let events = history::events(&self.bus, id, 0).await?;
        Ok(events.into_iter().flat_map(|posted| posted.event.postings).filter_map(|posting| Charged::of(&posting)))
    }

    /// Marks the wallets of the newest events: a process that died may not have told admission of them.
    pub(crate) async fn doubt_newest(&self) -> Result<(), Unavailable> {
        let wallets = Filter::All(Stream::Wallets);
        let from = self.bus.last_seq(&wallets).await?.saturating_sub(DOUBTED_EVENTS);
        let mut events = self.bus.events(&wallets, from);
        while let Some(next) = events.next().await? {
            if let Subject::Wallet(id) = next.event.subject {
                self.doubt(&id);
            }
        }
        Ok(())
    }

    /// Tells admission what it missed while it could not be reached.
    pub(crate) async fn catch_up_admission(&self) {
        let behind: Vec<_> = lock(&self.behind).iter().map(|(id, until)| (id.clone(), *until)).collect();
        for (id, until) in behind {
            let now = Instant::now();
            match repair(&self.bus, &self.admission, &id).await {
                Ok(()) if now < until => {}
                Ok(()) => {
                    // Unless it has come into doubt again meanwhile.
                    let mut behind = lock(&self.behind);
                    if behind.get(&id) == Some(&until) {
                        behind.remove(&id);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "admission is behind the log");
                    return;
                }
            }
        }
    }

    /// Keeps the snapshots that are due, and forgets the wallets nobody needs now.
    pub(crate) async fn tidy(&self) {
        let accounts: Vec<_> = lock(&self.accounts).iter().map(|(id, account)| (id.clone(), account.clone())).collect();
        for (id, account) in accounts {
            // Who is in use now is due a second later as well.
            let Some(Folded { wallet, last: Some(event), unkept }) =
                account.folded.try_lock().ok().and_then(|f| f.clone())
            else {
                continue;
            };
            if !snapshot::is_due(&wallet, unkept) {
                continue;
            }
            if let Err(why) = snapshot::keep(&self.bus, &id, event, wallet).await {
                tracing::warn!(why, wallet = %id, "no snapshot is kept");
                return;
            }
            if let Some(folded) = &mut *account.folded.lock().await {
                folded.unkept = folded.unkept.saturating_sub(unkept);
            }
        }
        self.forget(self.clock.now());
    }

    fn forget(&self, now: Timestamp) {
        let mut accounts = lock(&self.accounts);
        let mut used: Vec<Timestamp> = accounts.values().map(|account| *lock(&account.used_at)).collect();
        let mut since = now - IDLE_MAX;
        if let Some(beyond) = used.len().checked_sub(ACCOUNTS_MAX).filter(|beyond| *beyond > 0) {
            used.sort_unstable();
            since = since.max(used[beyond]);
        }
        accounts.retain(|_, account| Arc::strong_count(account) > 1 || *lock(&account.used_at) >= since);
    }

    async fn append(
        &self,
        id: &WalletId,
        account: &Account,
        slot: &mut Option<Folded>,
        intents: &[Intent],
    ) -> Result<Vec<Result<Posted, NotPosted>>, NotPosted> {
        for conflicts in 1..=CONFLICTS_MAX {
            let mut folded = match slot.take() {
                Some(folded) => folded,
                None => {
                    // The newest event may be one whose acknowledgement, or whose writer, was lost: nobody told
                    // admission of it then.
                    self.doubt(id);
                    Folded::of(&self.bus, id).await?
                }
            };
            let time = self.clock.now();
            let mut decided = folded.clone();
            let before = Position::of(&folded.wallet);
            let (outcomes, event) = decide(id, &mut decided.wallet, time, intents);
            let Some(event) = event else {
                // What was posted before is still there, unless the broker has lost it since.
                let known = folded.last.clone();
                folded.catch_up(&self.bus, id).await?;
                let is_as_known = folded.last == known;
                *slot = Some(folded);
                if is_as_known {
                    return Ok(outcomes);
                }
                continue;
            };
            let recorded = to_event(id, before.seq, time, &event);
            match self.bus.append(&recorded, Some(before.seq)).await {
                Ok(appended) if !appended.duplicate => {
                    decided.take(PostedEvent { seq: appended.seq, id: recorded.id, time, event: event.clone() });
                    report_exposure(id, &event, &decided.wallet.facts_at(time));
                    *slot = Some(decided);
                    self.admit(id, &before, appended.seq, time, &event).await;
                    return Ok(outcomes);
                }
                // Somebody else wrote, perhaps ourselves before a lost acknowledgement: decide again on what is there.
                Ok(_) | Err(AppendError::Conflict { .. }) => {
                    *lock(&account.contended_at) = Some(Instant::now());
                    self.doubt(id);
                    let pause = 1_u64.checked_shl(conflicts).unwrap_or(u64::MAX).min(CONFLICT_PAUSE_MAX_MILLIS);
                    sleep(by_lot(pause)).await;
                    folded.catch_up(&self.bus, id).await?;
                    *slot = Some(folded);
                }
                Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => {
                    return Err(NotPosted::Unavailable(error.to_string()));
                }
            }
        }
        Err(NotPosted::Unavailable(format!("post to {id}: others wrote first {CONFLICTS_MAX} times in a row")))
    }

    /// Has admission told again of what the wallet's log holds.
    fn doubt(&self, id: &WalletId) {
        self.doubt_until(id, Instant::now());
    }

    fn doubt_until(&self, id: &WalletId, until: Instant) {
        let mut behind = lock(&self.behind);
        let doubted = behind.entry(id.clone()).or_insert(until);
        *doubted = until.max(*doubted);
    }

    async fn admit(&self, id: &WalletId, before: &Position, seq: u64, time: Timestamp, event: &WalletEvent) {
        let outcome = match self.admission.apply(before, seq, time, event).await {
            // Somebody else told it of this event already, or it knows events that the log has lost.
            Ok(ApplyReply::Done(Applied::Gap { .. } | Applied::Old)) => {
                repair(&self.bus, &self.admission, id).await.map_err(|error| error.to_string())
            }
            Ok(ApplyReply::Done(Applied::Ok)) => Ok(()),
            // Or somebody loads it just now, and has read the log before this event.
            Ok(ApplyReply::NotLoaded) => {
                self.doubt_until(id, Instant::now() + LOADED_WITHIN);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            tracing::warn!(error, "admission will be told again");
            self.doubt(id);
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

/// A decided hold is posted even where the wallet cannot pay for it: the call was let through when nobody knew better.
fn report_exposure(id: &WalletId, event: &WalletEvent, facts: &WalletFacts) {
    let held = event.postings.iter().filter_map(|posting| match posting {
        Posting::HoldPlaced(hold) => Some(hold.amount),
        Posting::TopUpPosted(_)
        | Posting::CallCharged(_)
        | Posting::HoldReleased(_)
        | Posting::HoldExpired(_)
        | Posting::WalletChanged(_)
        | Posting::GrantExpired(_)
        | Posting::RefundPosted(_)
        | Posting::ChargeCorrected(_) => None,
    });
    let held = held.fold(Micros::ZERO, Micros::saturating_add);
    let exposed = held.min(facts.available.negated());
    if exposed > Micros::ZERO {
        counter!("callbus_exposed_holds_total").increment(1);
        tracing::warn!(
            wallet = %id, %exposed, available = %facts.available,
            "a call was let through that the wallet cannot pay for: admission had been lost when it was decided"
        );
    }
}

fn by_lot(millis_max: u64) -> Duration {
    Duration::from_millis(fastrand::u64(0..=millis_max))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
