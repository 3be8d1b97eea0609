//! Reading for those who fold: events only, and how far the log was read.

use std::fmt;

use futures::StreamExt;
use futures::stream::BoxStream;

use crate::bus::Recorded;
use crate::error::{ReadError, Unavailable};

/// The events of [`Bus::events`](crate::Bus::events), and where the reading stands.
pub struct Events {
    recorded: BoxStream<'static, Result<Recorded, ReadError>>,
    passed_seq: u64,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("passed_seq", &self.passed_seq).finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(recorded: BoxStream<'static, Result<Recorded, ReadError>>, after_seq: u64) -> Self {
        Self { recorded, passed_seq: after_seq }
    }

    /// The next event; `None` where the log ended when the reading began.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub async fn next(&mut self) -> Result<Option<Recorded>, Unavailable> {
        while let Some(next) = self.recorded.next().await {
            match next {
                Ok(recorded) => {
                    self.passed_seq = recorded.seq;
                    return Ok(Some(recorded));
                }
                Err(ReadError::NotAnEvent { seq, .. }) => self.passed_seq = seq,
                Err(ReadError::Unavailable(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The sequence of the last thing that was read, be it an event or not: the next reading begins after it.
    pub fn passed_seq(&self) -> u64 {
        self.passed_seq
    }
}
