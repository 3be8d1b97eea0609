//! How the calls stand, for who asks over REST.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use proto::CallId;

use crate::bodies::CallFacts;
use crate::platform::Platform;
use crate::report::Ending;

/// Calls that can be asked about; the oldest are forgotten.
const CALLS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Register(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    /// The body of the answer to who asks.
    info: HashMap<CallId, Bytes>,
    by_age: VecDeque<CallId>,
}

impl Register {
    fn set(&self, call: &CallId, info: Bytes) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.info.insert(call.clone(), info).is_none() {
            calls.by_age.push_back(call.clone());
        }
        if calls.by_age.len() > CALLS_MAX
            && let Some(oldest) = calls.by_age.pop_front()
        {
            calls.info.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, call: &str) -> Option<Bytes> {
        let call = CallId::new(call).ok()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).info.get(&call).cloned()
    }
}

impl Platform {
    /// Who asks about the call hears that it goes on. Calls that are played tell so by themselves.
    pub fn began(&self, facts: &CallFacts, at: Timestamp) {
        self.exchange().register.set(&facts.call, facts.info(at, None, None));
    }

    /// Who asks about the call hears how it ended.
    pub fn ended(&self, facts: &CallFacts, at: Timestamp, ending: Ending, duration_secs: Option<u32>) {
        self.exchange().register.set(&facts.call, facts.info(at, Some(ending), duration_secs));
    }
}
