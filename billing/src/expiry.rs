//! Grants that expire: which, and when, as the wallets' events say.

use std::collections::BTreeSet;

use bus::{Bus, ReadError, Unavailable};
use futures::StreamExt;
use jiff::Timestamp;
use money::{Posting, PostingId, Share, WalletEvent};
use proto::{Filter, Stream, Subject, WalletId};

/// A grant, by when it expires.
pub(crate) type Due = (Timestamp, WalletId, PostingId);

/// The grants that may have something left. It grows with them, not with the history.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    read_to: u64,
    due: BTreeSet<Due>,
}

impl Expiries {
    /// Reads what is new in the log.
    pub(crate) async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        let mut recorded = bus.read(&Filter::All(Stream::Wallets), self.read_to);
        while let Some(next) = recorded.next().await {
            let next = match next {
                Ok(next) => next,
                // Whoever folds the wallet says so.
                Err(ReadError::NotAnEvent { seq, .. }) => {
                    self.read_to = self.read_to.max(seq);
                    continue;
                }
                Err(ReadError::Unavailable(error)) => return Err(error),
            };
            self.read_to = next.seq;
            if let Subject::Wallet(id) = next.event.subject
                && let Ok(event) = serde_json::from_slice::<WalletEvent>(&next.event.data)
            {
                self.due.extend(event.postings.iter().flat_map(gains).map(|(at, grant)| (at, id.clone(), grant)));
            }
        }
        Ok(())
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
