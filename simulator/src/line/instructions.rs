//! Instructions to a placed call, obeyed one after the other before the action.

use proto::Kind;
use proto::svaml::Instruction;

use super::{Interrupted, Line};
use crate::bodies::Notice;
use crate::prompt::{self, Heard};
use crate::recording::Recording;
use crate::report::What;
use crate::rules;

impl Line {
    pub(super) async fn instruction(&mut self, instruction: Instruction) -> Result<(), Interrupted> {
        match instruction {
            Instruction::Say { text, .. } => self.hear(Heard::speech(&text)).await,
            Instruction::PlayFiles { ids, .. } => {
                for heard in ids.iter().flat_map(|ids| prompt::parts(ids)) {
                    self.hear(heard).await?;
                }
                Ok(())
            }
            Instruction::SendDtmf { value } => self.tones(value).await,
            Instruction::SetCookie { key, value } => {
                rules::keep(&mut self.facts.cookies, &key, &value);
                self.note(What::Cookie { key, value });
                Ok(())
            }
            // The platform placed the call, so its own side is up.
            Instruction::Answer => Ok(()),
            Instruction::StartRecording { options } => {
                self.stop_recording().await;
                self.note(What::RecordingStarted);
                self.recording = Some(Recording::new(options, self.now()));
                Ok(())
            }
            Instruction::StopRecording => {
                self.stop_recording().await;
                Ok(())
            }
        }
    }

    pub(super) async fn hear(&mut self, heard: Heard) -> Result<(), Interrupted> {
        self.note(What::Heard { text: heard.text });
        self.pass(heard.length_ms).await
    }

    pub(super) async fn tones(&mut self, digits: String) -> Result<(), Interrupted> {
        let length_ms = prompt::tones_ms(&digits);
        self.note(What::Tones { digits });
        self.pass(length_ms).await
    }

    pub(super) async fn stop_recording(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        self.note(What::RecordingStopped);
        if recording.is_told_of() {
            self.tell(Kind::Notify, self.facts.notify(&Notice::RecordingFinished)).await;
            recording.stored(&self.facts, self.at_ms, &mut self.later);
        }
    }
}
