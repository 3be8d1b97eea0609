//! Recording: on until it is stopped or the call ends, then stored, then written out.

use jiff::Timestamp;
use proto::svaml::RecordingOptions;

use crate::bodies::{CallFacts, Notice};
use crate::call::Call;
use crate::later::Later;
use crate::report::What;

/// From the end of a recording until its file lies at the destination.
const STORED_AFTER_MS: u64 = 5_000;
/// From the end of a recording until its transcript does; the documents speak of minutes.
const TRANSCRIBED_AFTER_MS: u64 = 120_000;
const FORMAT_DEFAULT: &str = "mp3";

/// A recording that is on.
#[derive(Debug)]
pub(crate) struct Recording {
    options: RecordingOptions,
    started_at: Timestamp,
}

impl Call<'_> {
    /// Nothing public says what a second start does; here it ends the first recording.
    pub(crate) async fn start_recording(&mut self, options: Option<RecordingOptions>) {
        self.stop_recording().await;
        self.line.note(What::RecordingStarted);
        self.recording = Some(Recording::new(options, self.now()));
    }

    pub(crate) async fn stop_recording(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        self.line.note(What::RecordingStopped);
        if recording.is_told_of() {
            self.notify(&Notice::RecordingFinished).await;
            recording.stored(&self.facts, self.line.at_ms(), &mut self.later);
        }
    }
}

impl Recording {
    pub(crate) fn new(options: Option<RecordingOptions>, started_at: Timestamp) -> Self {
        Self { options: options.unwrap_or_default(), started_at }
    }

    pub(crate) fn is_told_of(&self) -> bool {
        self.options.notification_events != Some(false)
    }

    /// What will be told of a recording that has stopped. Without a destination there is no place to speak of.
    pub(crate) fn stored(&self, facts: &CallFacts, stopped_ms: u64, later: &mut Later) {
        let Some(destination) = self.destination(facts) else { return };
        let file = format!("{destination}.{}", self.format());
        if self.options.transcription_options.as_ref().is_some_and(|options| options.enabled) {
            let destination = format!("{destination}.json");
            later.add(stopped_ms.saturating_add(TRANSCRIBED_AFTER_MS), Notice::TranscriptionAvailable { destination });
        }
        later.add(stopped_ms.saturating_add(STORED_AFTER_MS), Notice::RecordingAvailable { destination: file });
    }

    fn format(&self) -> &str {
        self.options.format.as_deref().unwrap_or(FORMAT_DEFAULT)
    }

    /// Where the recording lies, without its ending. The platform names the file unless the destination does.
    fn destination(&self, facts: &CallFacts) -> Option<String> {
        let url = self.options.destination_url.as_deref()?;
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        let named = path.rsplit_once('/').and_then(|(_, last)| last.rsplit_once('.'));
        Some(match named {
            Some((_, ending)) => url[..url.len() - ending.len() - 1].to_owned(),
            None => {
                let started = self.started_at.strftime("%Y%m%d%H%M%S");
                format!("{}/{started}_{}_{}", url.trim_end_matches('/'), facts.app_key, facts.call)
            }
        })
    }
}
