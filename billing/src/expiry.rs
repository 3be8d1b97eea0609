//! Grants that expire: which, and when, as the wallets' events say.

use std::collections::BTreeSet;

use bus::{Bus, Recorded, Unavailable};
use jiff::{SignedDuration, Timestamp};
use money::{Posting, PostingId, Share, WalletEvent};
use proto::event::json;
use proto::{Filter, Stream, Subject, WalletId};
use serde::{Deserialize, Serialize};

/// A grant, by when it expires.
pub(crate) type Due = (Timestamp, WalletId, PostingId);

/// Grants in memory at most: those that expire next.
const DUE_MAX: usize = if cfg!(test) { 3 } else { 100_000 };

/// Where they are kept, so that a start need not read all that was ever posted.
pub(crate) const KEPT: &str = "grants-that-expire";

/// How often they are kept, at most.
const KEEP_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// The grants that may have something left, as far as memory allows. What is kept of them is made from the log, which
/// is read again where it is missing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expiries {
    last_seq: u64,
    due: BTreeSet<Due>,
    /// Some are left out, the first of them this. When its time has come, the log is read for them again.
    left_out_from: Option<Due>,
    #[serde(skip)]
    kept_at: Option<Timestamp>,
    /// As of which sequence.
    #[serde(skip)]
    kept: u64,
}

impl Expiries {
    /// As they were last kept, by whichever process.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, Unavailable> {
        let end = bus.last_seq(&Filter::All(Stream::Wallets)).await?;
        let kept = bus.document(KEPT).await?;
        let kept = kept.and_then(|document| serde_json::from_slice::<Self>(&document.bytes).ok());
        // Of a log that was longer: not this one.
        let kept = kept.filter(|kept| kept.last_seq <= end).unwrap_or_default();
        Ok(Self { kept: kept.last_seq, ..kept })
    }

    /// Keeps them now and then. Where that fails, a start reads more of the log.
    pub(crate) async fn keep(&mut self, bus: &Bus, now: Timestamp) {
        let pause = self.kept_at.is_some_and(|at| now.duration_since(at) < KEEP_EVERY);
        if pause || self.kept == self.last_seq {
            return;
        }
        self.kept_at = Some(now);
        match bus.put_document(KEPT, json(self).into()).await {
            Ok(_) => self.kept = self.last_seq,
            Err(error) => tracing::warn!(%error, "the grants that expire are not kept"),
        }
    }

    /// Reads what is new in the log. What is no wallet's event is for those to say who fold the wallet.
    pub(crate) async fn catch_up(&mut self, bus: &Bus, now: Timestamp) -> Result<(), Unavailable> {
        let room = self.due.len() <= DUE_MAX / 2;
        if let Some(from) = self.left_out_from.take_if(|from| room && from.0 <= now) {
            let so_far = self.last_seq;
            let read = self.read(bus, 0, |seq, due| seq > so_far || *due >= from).await;
            if read.is_err() {
                self.left_out_from = Some(from);
                return read;
            }
        }
        self.read(bus, self.last_seq, |_, _| true).await
    }

    async fn read(&mut self, bus: &Bus, after_seq: u64, wanted: impl Fn(u64, &Due) -> bool) -> Result<(), Unavailable> {
        let mut events = bus.events(&Filter::All(Stream::Wallets), after_seq);
        while let Some(Recorded { seq, event }) = events.next().await? {
            if let Subject::Wallet(id) = event.subject
                && let Ok(posted) = serde_json::from_slice::<WalletEvent>(&event.data)
            {
                let gained = posted.postings.iter().flat_map(gains).map(|(at, grant)| (at, id.clone(), grant));
                gained.filter(|due| wanted(seq, due)).for_each(|due| self.insert(due));
            }
            self.last_seq = seq.max(self.last_seq);
        }
        self.last_seq = events.passed_seq().max(self.last_seq);
        Ok(())
    }

    fn insert(&mut self, due: Due) {
        if self.left_out_from.as_ref().is_some_and(|from| due >= *from) {
            return;
        }
        self.due.insert(due);
        if self.due.len() > DUE_MAX {
            self.left_out_from = self.due.pop_last();
        }
    }

    /// Those that have expired by now.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Due> {
        self.due.iter().take_while(|(at, _, _)| *at <= now).cloned().collect()
    }

    /// Nothing is left of it. Should it get something back, the log says so.
    pub(crate) fn done(&mut self, due: &Due) {
        self.due.remove(due);
    }
}

/// What a posting adds to grants that expire.
fn gains(posting: &Posting) -> Vec<(Timestamp, PostingId)> {
    match posting {
        Posting::TopUpPosted(top_up) => {
            let expires_at = top_up.grant.and_then(|terms| terms.expires_at);
            expires_at.map(|at| (at, top_up.id.clone())).into_iter().collect()
        }
        Posting::RefundPosted(refund) => returns(&refund.returned_to),
        Posting::ChargeCorrected(correction) => returns(&correction.returned_to),
        Posting::HoldPlaced(_)
        | Posting::CallCharged(_)
        | Posting::HoldReleased(_)
        | Posting::HoldExpired(_)
        | Posting::WalletChanged(_)
        | Posting::GrantExpired(_) => Vec::new(),
    }
}

fn returns(shares: &[Share]) -> Vec<(Timestamp, PostingId)> {
    shares.iter().filter_map(|share| Some((share.expires_at?, share.grant.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use money::posting::TopUp;
    use money::{GrantKind, GrantTerms, Micros};
    use proto::{Event, EventId};

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + secs).unwrap()
    }

    async fn grant(bus: &Bus, name: &str, expires_at: Timestamp) {
        let (wallet, id) = (WalletId::new("acme").unwrap(), PostingId::new(name).unwrap());
        let terms = GrantTerms { kind: GrantKind::Granted, priority: 1, expires_at: Some(expires_at) };
        let amount = Micros::parse("1").unwrap();
        let top_up = TopUp { id, amount, grant: Some(terms), note: String::new(), by: "test".to_owned() };
        let postings = vec![Posting::TopUpPosted(top_up)];
        let event = WalletEvent { wallet: wallet.clone(), currency: "EUR".parse().unwrap(), postings };
        let event = Event {
            id: EventId::of(&["grant", name]),
            subject: Subject::Wallet(wallet),
            about: "acme".to_owned(),
            source: "billing".to_owned(),
            time: at(0),
            extra: Vec::new(),
            data: json(&event).into(),
        };
        bus.append(&event, None).await.unwrap();
    }

    /// What is due by then, done at once.
    async fn take(expiries: &mut Expiries, bus: &Bus, now: Timestamp) -> Vec<String> {
        expiries.catch_up(bus, now).await.unwrap();
        assert!(expiries.due.len() <= DUE_MAX);
        let due = expiries.due(now);
        due.iter().for_each(|due| expiries.done(due));
        due.into_iter().map(|(_, _, grant)| grant.into()).collect()
    }

    #[tokio::test]
    async fn more_grants_than_memory_holds_expire_in_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::embedded(directory.path()).unwrap();
        for nth in [5, 3, 1, 4, 2, 6, 7] {
            grant(&bus, &nth.to_string(), at(nth * 10)).await;
        }
        // All at once, too.
        for nth in 0..8 {
            grant(&bus, &format!("same-{nth}"), at(90)).await;
        }
        let mut expiries = Expiries::open(&bus).await.unwrap();
        assert_eq!(take(&mut expiries, &bus, at(15)).await, ["1"]);
        expiries.keep(&bus, at(15)).await;
        let mut expiries = Expiries::open(&bus).await.unwrap();
        assert_eq!(expiries.last_seq, 15, "a start goes on where they were kept");
        assert_eq!(take(&mut expiries, &bus, at(35)).await, ["2", "3"]);
        grant(&bus, "late", at(5)).await;
        assert_eq!(take(&mut expiries, &bus, at(45)).await, ["late", "4"]);
        assert_eq!(take(&mut expiries, &bus, at(59)).await, ["5"]);
        let mut rest = Vec::new();
        for _ in 0..6 {
            rest.extend(take(&mut expiries, &bus, at(1_000)).await);
        }
        let same = (0..8).map(|nth| format!("same-{nth}"));
        assert_eq!(rest, ["6".to_owned(), "7".to_owned()].into_iter().chain(same).collect::<Vec<_>>());
    }
}
