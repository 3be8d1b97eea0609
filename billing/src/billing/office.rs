//! What is done for all groups together: orders and questions are answered, admission is told what it missed, grants
//! expire.

use std::sync::Arc;

use bus::{Bus, Cache, Clock, ServeSpec, Unavailable};
use tokio_util::sync::CancellationToken;

use super::{BillingError, sweep_ticks};
use crate::admission::Admission;
use crate::enquiry::Enquiries;
use crate::expiry::Expiries;
use crate::group;
use crate::ledger::{Intent, Ledger, NotPosted};
use crate::{order, rebuild, verify};

/// Orders and questions answered at the same time.
const ORDERS_MAX: usize = 64;

/// What all groups share.
#[derive(Debug, Clone)]
pub(super) struct Office {
    pub(super) bus: Bus,
    pub(super) admission: Admission,
    pub(super) cache: Cache,
    pub(super) clock: Clock,
    pub(super) ledger: Arc<Ledger>,
    /// None: nobody is asked how a call ended.
    pub(super) enquiries: Option<Arc<Enquiries>>,
}

impl Office {
    /// Answers those who want something posted, or to know.
    pub(super) async fn serve(self, stop: CancellationToken) -> Result<(), BillingError> {
        let till = ServeSpec {
            name: "billing".to_owned(),
            group: "billing".to_owned(),
            subjects: vec![order::SUBJECT.to_owned(), verify::SUBJECT.to_owned(), rebuild::SUBJECT.to_owned()],
            concurrency_max: ORDERS_MAX,
        };
        let bus = self.bus.clone();
        let answer = move |asked: bus::Asked| {
            let Self { bus, admission, clock, ledger, .. } = self.clone();
            async move {
                match asked.subject.as_str() {
                    verify::SUBJECT => verify::take(&bus, &admission, &asked.data).await,
                    rebuild::SUBJECT => rebuild::take(&bus, &admission, &clock, &asked.data).await,
                    _ => order::take(&ledger, &asked.data).await,
                }
            }
        };
        Ok(bus.serve(till, answer, stop).await?)
    }

    /// What is to be done for all wallets, whoever works: tells admission what it missed, takes grants whose time is
    /// over and keeps snapshots.
    pub(super) async fn tend(self, groups: u8, stop: CancellationToken) -> Result<(), BillingError> {
        let (mut ticks, mut expiries) = (sweep_ticks(), None);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.ledger.catch_up_admission().await;
            self.ledger.tidy().await;
            if let Err(why) = self.expire_grants(&mut expiries).await {
                tracing::warn!(why, "grants expire later");
            }
            match group::ONE.in_force(&self.bus).await {
                Ok(in_force) if in_force.of != groups => {
                    return Err(BillingError::Groups { groups, in_force: in_force.of });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the number of groups is looked up later"),
            }
        }
        Ok(())
    }

    /// Takes what is left of grants whose time is over. What holds stand on is tried again. Those who stand by do it
    /// too: without calls the broker lets nobody work, and the expected sequence makes it happen once.
    async fn expire_grants(&self, expiries: &mut Option<Expiries>) -> Result<(), String> {
        let unreachable = |error: Unavailable| error.to_string();
        let expiries = match expiries {
            Some(expiries) => expiries,
            None => expiries.insert(Expiries::open(&self.bus).await.map_err(unreachable)?),
        };
        let now = self.clock.now();
        expiries.catch_up(&self.bus, now).await.map_err(unreachable)?;
        for due in expiries.due(now) {
            let (_, wallet, grant) = &due;
            match self.ledger.post(wallet, Intent::ExpireGrant { grant: grant.clone(), now }).await {
                Ok(posted) if posted.grants.iter().any(|lot| lot.grant == *grant) => {}
                Ok(_) => expiries.done(&due),
                Err(NotPosted::Unavailable(why)) => return Err(why),
                Err(why @ (NotPosted::Refused(_) | NotPosted::Unreadable(_))) => {
                    tracing::error!(%why, %wallet, "a grant is not expired");
                    expiries.done(&due);
                }
            }
        }
        expiries.keep(&self.bus, now).await;
        Ok(())
    }
}
