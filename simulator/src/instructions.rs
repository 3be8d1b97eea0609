//! Instructions, obeyed one after the other before the action.

use proto::svaml::Instruction;

use crate::call::Call;
use crate::prompt::{self, Heard};
use crate::report::{Ending, What};
use crate::rules;

impl Call<'_> {
    pub(crate) async fn instructions(&mut self, instructions: Vec<Instruction>) -> Result<(), Ending> {
        for instruction in instructions {
            match instruction {
                Instruction::Say { text, .. } => self.hear(Heard::speech(&text)).await?,
                Instruction::PlayFiles { ids, .. } => {
                    for part in ids.iter().flat_map(|id| prompt::parts(id)) {
                        self.hear(part).await?;
                    }
                }
                Instruction::SendDtmf { value } => self.tones(value).await?,
                Instruction::SetCookie { key, value } => {
                    rules::keep(&mut self.facts.cookies, &key, &value);
                    self.line.note(What::Cookie { key, value });
                }
                Instruction::Answer => self.pick_up(),
                Instruction::StartRecording { options } => self.start_recording(options).await,
                Instruction::StopRecording => self.stop_recording().await,
            }
        }
        Ok(())
    }

    pub(crate) async fn tones(&mut self, digits: String) -> Result<(), Ending> {
        let length_ms = prompt::tones_ms(&digits);
        self.line.note(What::Tones { digits });
        self.wait(length_ms).await
    }
}
