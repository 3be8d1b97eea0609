//! Parked: the caller hears the intro once, then the hold prompt again and again.

use proto::Svaml;
use proto::svaml::Park;

use crate::call::{CALL_MAX_SECS, Call};
use crate::prompt::{self, Heard};
use crate::report::{Ending, Reason, What};

/// The longest a call is parked.
const PARK_MAX_SECS: u32 = 600;

impl Call<'_> {
    /// Nobody comes to fetch a parked call here: it ends when its time is up and the last prompt is played out. That is
    /// told as TIMEOUT, as other time limits are.
    pub(crate) async fn park(&mut self, park: Park) -> Result<Svaml, Ending> {
        self.pick_up();
        let parked_ms = self.line.at_ms();
        self.connect("hold", parked_ms, CALL_MAX_SECS);
        let max_secs = park.max_duration.unwrap_or(PARK_MAX_SECS);
        let end_ms = parked_ms.saturating_add(u64::from(max_secs) * 1_000);
        for heard in prompt::parts(park.intro_prompt.as_deref().unwrap_or_default()) {
            self.hear(heard).await?;
        }
        let hold = prompt::parts(park.hold_prompt.as_deref().unwrap_or_default());
        let round_ms: u64 = hold.iter().map(|heard| heard.length_ms).sum();
        if self.line.at_ms() < end_ms && round_ms > 0 {
            for heard in hold {
                self.hear(heard).await?;
            }
            let left_ms = end_ms.saturating_sub(self.line.at_ms());
            if left_ms > 0 {
                self.line.note(What::HoldRepeats);
                self.wait(left_ms.div_ceil(round_ms).saturating_mul(round_ms)).await?;
            }
        }
        self.wait(end_ms.saturating_sub(self.line.at_ms())).await?;
        Err(self.ending(Reason::Timeout))
    }

    /// Plays a prompt, and tells what comes due meanwhile.
    pub(crate) async fn hear(&mut self, heard: Heard) -> Result<(), Ending> {
        self.line.note(What::Heard { text: heard.text });
        self.wait(heard.length_ms).await
    }
}
