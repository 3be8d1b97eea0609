//! Grants that expire: which, and when, as the wallets' events say.

use std::collections::BTreeSet;

use bus::{Bus, Recorded, Unavailable};
use jiff::Timestamp;
use money::{Posting, PostingId, Share, WalletEvent};
use proto::{Filter, Stream, Subject, WalletId};

/// A grant, by when it expires.
pub(crate) type Due = (Timestamp, WalletId, PostingId);

/// The grants that may have something left. It grows with them, not with the history.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    last_seq: u64,
    due: BTreeSet<Due>,
}

impl Expiries {
    /// Reads what is new in the log. What is no wallet's event is for those to say who fold the wallet.
    pub(crate) async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        let mut events = bus.events(&Filter::All(Stream::Wallets), self.last_seq);
        while let Some(Recorded { seq, event }) = events.next().await? {
            self.last_seq = seq;
            if let Subject::Wallet(id) = event.subject
                && let Ok(posted) = serde_json::from_slice::<WalletEvent>(&event.data)
            {
                self.due.extend(posted.postings.iter().flat_map(gains).map(|(at, grant)| (at, id.clone(), grant)));
            }
        }
        self.last_seq = events.passed_seq();
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
