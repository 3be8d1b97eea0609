//! What was written of calls: the fold of the deliveries to a CRM, read when it is first needed.
//!
//! It is bounded: of a call written longer ago than the newest [`CALLS_MAX`] nothing is known, and the CRM itself must say
//! that it has it.

use std::collections::{HashMap, VecDeque};

use bus::{Bus, Unavailable};
use proto::{DeliveryNoted, Filter, Share, Subject, Wrote};
use tokio::sync::Mutex;

use crate::destination::Destination;

/// Calls remembered, of one group.
const CALLS_MAX: usize = 100_000;
/// How far back in `DELIVERIES` is read.
const LOOKED_BACK: u64 = 4_000_000;

/// What one group has written.
#[derive(Debug)]
pub(crate) struct Written {
    group: Share,
    /// `None` until it is first needed.
    calls: Mutex<Option<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    of: HashMap<String, Wrote>,
    /// In the order they were first written.
    line: VecDeque<String>,
}

impl Written {
    pub(crate) fn new(group: Share) -> Self {
        Self { group, calls: Mutex::new(None) }
    }

    /// What stands of a call.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn of(&self, bus: &Bus, to: &Destination, call: &str) -> Result<Option<Wrote>, Unavailable> {
        let mut calls = self.calls.lock().await;
        let calls = match &mut *calls {
            Some(calls) => calls,
            empty => empty.insert(self.read(bus, to).await?),
        };
        Ok(calls.of.get(call).filter(|wrote| wrote.url == to.put.url).cloned())
    }

    pub(super) async fn add(&self, call: &str, wrote: Wrote) {
        if let Some(calls) = &mut *self.calls.lock().await {
            calls.add(call, wrote);
        }
    }

    async fn read(&self, bus: &Bus, to: &Destination) -> Result<Calls, Unavailable> {
        let filter = Filter::Deliveries(to.name.clone());
        // One of the same name, removed since, has nothing to do with this one.
        let from = bus.last_seq(&filter).await?.saturating_sub(LOOKED_BACK).max(to.deliveries_seq);
        let (mut calls, mut events) = (Calls::default(), bus.events(&filter, from));
        while let Some(next) = events.next().await? {
            let Subject::Delivery { partition, .. } = next.event.subject else { continue };
            if !self.group.has(partition) {
                continue;
            }
            if let Ok(DeliveryNoted::Delivered { wrote: Some(wrote), .. }) = serde_json::from_slice(&next.event.data) {
                calls.add(&next.event.about, wrote);
            }
        }
        Ok(calls)
    }
}

impl Calls {
    fn add(&mut self, call: &str, wrote: Wrote) {
        if self.of.insert(call.to_owned(), wrote).is_none() {
            self.line.push_back(call.to_owned());
        }
        if self.line.len() > CALLS_MAX
            && let Some(oldest) = self.line.pop_front()
        {
            self.of.remove(&oldest);
        }
    }
}
