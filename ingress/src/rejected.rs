//! Who was turned away, and why: a small bounded list, newest last. It holds no body: what failed the signature is
//! nobody's data.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The list forgets the oldest beyond this.
const KEPT_MAX: usize = 200;

/// Header values are cut to this many characters.
const SHOWN_CHARS_MAX: usize = 128;

/// A request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    pub at: Timestamp,
    /// Address of the caller, as the listener saw it.
    pub peer: String,
    pub path: String,
    /// The application key it claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Short and stable: `signature`, `age`, `too_large`, …
    pub code: String,
    /// What was wrong and what to do.
    pub reason: String,
}

/// The shared list.
#[derive(Debug, Clone, Default)]
pub struct Rejections(Arc<Mutex<VecDeque<Rejected>>>);

impl Rejections {
    pub(crate) fn push(&self, mut rejected: Rejected) {
        rejected.path.truncate(rejected.path.floor_char_boundary(SHOWN_CHARS_MAX));
        tracing::warn!(
            code = rejected.code,
            reason = rejected.reason,
            peer = rejected.peer,
            path = rejected.path,
            "callback rejected"
        );
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == KEPT_MAX {
            list.pop_front();
        }
        list.push_back(rejected);
    }

    /// A copy, oldest first.
    pub fn list(&self) -> Vec<Rejected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
