//! Which consumers this process works, from the beginning of that work to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Unavailable;

/// Pause before a beginning that failed is tried again.
const BEGIN_PAUSE: Duration = Duration::from_secs(1);

/// How far a consumer is, and whether this process is the one that works it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// All events of the consumer's filter up to this sequence of the stream are done; 0 for a consumer that has not
    /// begun.
    pub floor: u64,
    /// This very process works the consumer now, and its `begin` has succeeded.
    pub ours: bool,
    /// Some process does. A consumer with nothing to do may be nobody's.
    pub worked: bool,
}

/// The consumers this process works now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Works(Arc<Mutex<Vec<Worked>>>);

/// Work on one consumer; over when dropped.
#[derive(Debug)]
pub(crate) struct Work {
    works: Works,
    worked: Worked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Worked {
    consumer: String,
    /// What the broker calls this process, where there is a broker.
    pin: Option<String>,
}

impl Works {
    pub(crate) fn enter(&self, consumer: &str, pin: Option<&str>) -> Work {
        let worked = Worked { consumer: consumer.to_owned(), pin: pin.map(str::to_owned) };
        self.lock().push(worked.clone());
        Work { works: self.clone(), worked }
    }

    pub(crate) fn has(&self, consumer: &str, pin: Option<&str>) -> bool {
        self.lock().iter().any(|worked| worked.consumer == consumer && worked.pin.as_deref() == pin)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Worked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut works = self.works.lock();
        if let Some(index) = works.iter().position(|worked| *worked == self.worked) {
            works.swap_remove(index);
        }
    }
}

/// Runs `begin` until it succeeds; `false` when `stop` came first.
pub(crate) async fn begun<B, G>(begin: &B, consumer: &str, stop: &CancellationToken) -> bool
where
    B: Fn(CancellationToken) -> G,
    G: Future<Output = Result<(), Unavailable>>,
{
    let beginning = async {
        while let Err(error) = begin(stop.clone()).await {
            tracing::warn!(%error, consumer, "a consumer did not begin; it is tried again, and nothing is handed over");
            tokio::time::sleep(BEGIN_PAUSE).await;
        }
    };
    stop.run_until_cancelled(beginning).await.is_some()
}
