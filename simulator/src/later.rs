//! What the platform tells when its time comes: verdicts of detection, recordings that are stored.

use crate::bodies::{Amd, AmdStatus, Notice};
use crate::call::Call;
use crate::report::{Ending, What};

/// Notices to come, in the order of the call's time.
#[derive(Debug, Default)]
pub(crate) struct Later(Vec<(u64, Notice)>);

impl Later {
    pub(crate) fn add(&mut self, at_ms: u64, notice: Notice) {
        let place = self.0.partition_point(|(at, _)| *at <= at_ms);
        self.0.insert(place, (at_ms, notice));
    }

    /// The first, if it comes no later than this.
    pub(crate) fn next_until(&mut self, at_ms: u64) -> Option<(u64, Notice)> {
        self.0.first().is_some_and(|(at, _)| *at <= at_ms).then(|| self.0.remove(0))
    }
}

impl Call<'_> {
    /// Lets time pass, and tells what comes due meanwhile.
    pub(crate) async fn wait(&mut self, ms: u64) -> Result<(), Ending> {
        let end_ms = self.line.at_ms().saturating_add(ms);
        while let Some((at_ms, notice)) = self.later.next_until(end_ms) {
            if let Err(ending) = self.line.pass_until(at_ms) {
                self.later.add(at_ms, notice);
                return Err(ending);
            }
            self.tell_due(&notice).await;
        }
        self.line.pass_until(end_ms)
    }

    /// Tells what came due while prompts were played.
    pub(crate) async fn catch_up(&mut self) {
        while let Some((_, notice)) = self.later.next_until(self.line.at_ms()) {
            self.tell_due(&notice).await;
        }
    }

    /// The call has ended: detection with it, while a recording is stored after its call.
    pub(crate) async fn stop_detection(&mut self) {
        self.catch_up().await;
        let ended_ms = self.line.at_ms();
        for (at_ms, notice) in std::mem::take(&mut self.later).0 {
            match notice {
                Notice::Amd(amd) => {
                    let missed_secs = at_ms.saturating_sub(ended_ms).div_ceil(1_000);
                    let duration = amd.duration.saturating_sub(missed_secs.try_into().unwrap_or(u32::MAX));
                    self.notify(&Notice::Amd(Amd { status: AmdStatus::Hangup, reason: "n/a", duration })).await;
                }
                Notice::AmdBeep(_) => {}
                Notice::RecordingFinished
                | Notice::RecordingAvailable { .. }
                | Notice::TranscriptionAvailable { .. }
                | Notice::CallingError { .. } => self.later.add(at_ms, notice),
            }
        }
    }

    /// Tells the rest, each in its time.
    pub(crate) async fn tell_rest(&mut self) {
        while let Some((at_ms, notice)) = self.later.next_until(u64::MAX) {
            // Nothing limits a call that has ended.
            if self.line.pass_until(at_ms).is_ok() {
                self.notify(&notice).await;
            }
        }
    }

    async fn tell_due(&mut self, notice: &Notice) {
        if matches!(notice, Notice::AmdBeep(_)) {
            self.line.note(What::Beep);
        }
        self.notify(notice).await;
    }
}
