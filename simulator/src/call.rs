//! The life of one call: ICE, what the answers say, DICE.
//!
//! Whatever can end the call early is an [`Ending`] on the error side, so that `?` reads as "if the call still lives".

use std::collections::VecDeque;
use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use proto::svaml::{Action, ConnectPstn, Instruction, Park};
use proto::{Kind, Svaml};

use crate::bodies::{Amd, CallFacts, MenuResult, MenuResultKind, Notice};
use crate::dial::Dial;
use crate::menu;
use crate::platform::Exchange;
use crate::prompt::{self, Heard};
use crate::report::{CallReport, CallResult, Ending, Reason, Step, What};
use crate::script::{CallScript, Input, Party};
use crate::timeline::Timeline;

/// A call in which the callback server keeps asking for menus nobody answers must end some time.
const ANSWERS_MAX: u32 = 100;
/// No call lasts longer.
const CALL_MAX_SECS: u32 = 14_400;
const PARK_MAX_SECS: u32 = 600;
const TONE_MS: u64 = 250;
const PAUSE_MS: u64 = 500;
const ERROR_PROMPT: &str = "We are sorry, an error has occurred.";

pub(crate) struct Call<'a> {
    pub(crate) line: Timeline<'a>,
    pub(crate) script: CallScript,
    pub(crate) facts: CallFacts,
    pub(crate) exchange: &'a Exchange,
    came_in_at: Timestamp,
    inputs: VecDeque<Input>,
    /// First answer of any kind, from which the DICE counts: menu time is in it.
    answered_at_ms: Option<u64>,
    /// Somebody or something is at the other end.
    pub(crate) connected: bool,
    /// The last connection asked for no ACE and no DICE.
    pub(crate) suppressed: bool,
    /// A verdict of answering machine detection that is still to come.
    pub(crate) verdict_due: Option<(u64, Amd)>,
    /// Recording, and whether its end is to be told.
    recording: Option<bool>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        exchange: &'a Exchange,
        mut script: CallScript,
        facts: CallFacts,
        on_step: &'a mut (dyn FnMut(&Step) + Send),
    ) -> Self {
        Self {
            line: Timeline::new(on_step),
            inputs: std::mem::take(&mut script.inputs).into(),
            script,
            facts,
            exchange,
            came_in_at: (exchange.now)(),
            answered_at_ms: None,
            connected: false,
            suppressed: false,
            verdict_due: None,
            recording: None,
        }
    }

    pub(crate) async fn play(mut self) -> CallReport {
        let Err(ending) = self.live().await;
        let duration_secs = self.duration_secs(ending);
        self.line.note(What::Ended { ending, duration_secs });
        if !self.suppressed {
            let body = self.facts.dice(self.now(), ending, duration_secs);
            self.tell(Kind::Dice, body).await;
        }
        // A recording is finished only after its call.
        self.stop_recording().await;
        CallReport {
            debit: self.facts.debit(duration_secs),
            call: self.facts.call,
            steps: self.line.into_steps(),
            ending,
            duration_secs,
        }
    }

    /// Every answer either ends the call or leads to the next question.
    async fn live(&mut self) -> Result<Infallible, Ending> {
        let mut answer = self.incoming().await?;
        for _ in 0..ANSWERS_MAX {
            self.instructions(answer.instructions).await?;
            answer = self.action(answer.action).await?;
        }
        Err(self.ending(Reason::GeneralError))
    }

    /// Without an answer the caller hears an error and the call ends.
    async fn incoming(&mut self) -> Result<Svaml, Ending> {
        match self.ask(Kind::Ice, self.facts.ice(self.now())).await {
            Some(answer) => Ok(answer),
            None => {
                self.line.hear(Heard::speech(ERROR_PROMPT))?;
                Err(self.ending(Reason::CallbackError))
            }
        }
    }

    async fn instructions(&mut self, instructions: Vec<Instruction>) -> Result<(), Ending> {
        for instruction in instructions {
            match instruction {
                Instruction::Say { text, .. } => self.line.hear(Heard::speech(&text))?,
                Instruction::PlayFiles { ids, .. } => {
                    for part in ids.iter().flat_map(|id| prompt::parts(id)) {
                        self.line.hear(part)?;
                    }
                }
                Instruction::SendDtmf { value } => self.tones(value)?,
                Instruction::SetCookie { key, value } => self.keep_cookie(key, value),
                Instruction::Answer => self.pick_up(),
                Instruction::StartRecording { options } => {
                    self.line.note(What::RecordingStarted);
                    self.recording = Some(options.and_then(|options| options.notification_events).unwrap_or(true));
                }
                Instruction::StopRecording => self.stop_recording().await,
            }
        }
        Ok(())
    }

    async fn action(&mut self, action: Action) -> Result<Svaml, Ending> {
        match action {
            Action::Hangup => Err(self.ending(Reason::ManagerHangup)),
            Action::Continue if self.connected => self.talk().await,
            // Before anybody is connected, to go on means what it means to a call nobody interfered with.
            Action::Continue => self.dial(Dial::pstn(ConnectPstn::default(), &self.script)).await,
            Action::ConnectPstn(connect) => self.dial(Dial::pstn(connect, &self.script)).await,
            Action::ConnectSip(connect) => self.dial(Dial::sip(connect)).await,
            Action::ConnectMxp(connect) => self.dial(Dial::mxp(connect, &self.script)).await,
            Action::ConnectConf(connect) => self.join(&connect.conference_id, CALL_MAX_SECS).await,
            Action::ConnectStream(connect) => {
                self.join(&connect.destination.endpoint, connect.max_duration.unwrap_or(CALL_MAX_SECS)).await
            }
            Action::Park(park) => self.park(park).await,
            Action::RunMenu(run) => {
                self.pick_up();
                let result = menu::run(&run, &mut self.inputs, &mut self.line)?;
                self.prompt_input(result).await
            }
        }
    }

    /// Nothing public says what follows when a PIE is not answered; there is nothing to go on with, so the call ends.
    async fn prompt_input(&mut self, result: MenuResult) -> Result<Svaml, Ending> {
        let answer = self.ask(Kind::Pie, self.facts.pie(self.now(), &result)).await;
        if result.kind == MenuResultKind::Hangup {
            return Err(self.ending(Reason::CallerHangup));
        }
        answer.ok_or_else(|| self.ending(Reason::CallbackError))
    }

    /// Joins what answers at once and sends no ACE: a conference, a stream.
    async fn join(&mut self, target: &str, max_secs: u32) -> Result<Svaml, Ending> {
        self.pick_up();
        self.connect(target, self.line.at_ms(), max_secs);
        self.talk().await
    }

    /// Nothing comes to fetch a parked call here, so it ends as an unanswered wait does.
    async fn park(&mut self, park: Park) -> Result<Svaml, Ending> {
        self.pick_up();
        self.connect("hold", self.line.at_ms(), park.max_duration.unwrap_or(PARK_MAX_SECS));
        for prompts in [park.intro_prompt, park.hold_prompt].into_iter().flatten() {
            for part in prompt::parts(&prompts) {
                self.line.hear(part)?;
            }
        }
        self.talk().await
    }

    /// The inbound leg is answered, unless it is already.
    fn pick_up(&mut self) {
        if self.answered_at_ms.is_none() {
            self.answered_by("the platform");
        }
    }

    /// A party picks up. The call counts from the first.
    pub(crate) fn answered_by(&mut self, by: &str) {
        self.answered_at_ms.get_or_insert(self.line.at_ms());
        self.line.note(What::Answered { by: by.to_owned() });
    }

    /// From here on the script's hang-up and the longest duration count, from the connection. A duration used up is
    /// told as TIMEOUT: of the known reasons the one that documents give to time limits.
    pub(crate) fn connect(&mut self, to: &str, connected_at_ms: u64, max_secs: u32) {
        self.connected = true;
        self.line.note(What::Connected { to: to.to_owned() });
        let after = |secs: u32| connected_at_ms.saturating_add(u64::from(secs) * 1_000);
        let hangup = self.script.hangup;
        let reason = match hangup.by {
            Party::Caller => Reason::CallerHangup,
            Party::Callee => Reason::CalleeHangup,
        };
        self.line.lift_limits();
        self.line.limit(after(max_secs.min(CALL_MAX_SECS)), self.ending(Reason::Timeout));
        self.line.limit(after(hangup.after_secs), self.ending(reason));
    }

    /// Nothing more is asked: the call goes on until something ends it.
    pub(crate) async fn talk(&mut self) -> Result<Svaml, Ending> {
        if let Some((at_ms, amd)) = self.verdict_due.take() {
            self.line.pass(at_ms.saturating_sub(self.line.at_ms()))?;
            self.notify(&Notice::Amd(amd)).await;
        }
        self.line.pass(u64::from(CALL_MAX_SECS) * 1_000)?;
        Err(self.ending(Reason::Timeout))
    }

    pub(crate) fn tones(&mut self, digits: String) -> Result<(), Ending> {
        let length_ms = digits.bytes().map(|key| if key == b'w' { PAUSE_MS } else { TONE_MS }).sum();
        self.line.note(What::Tones { digits });
        self.line.pass(length_ms)
    }

    fn keep_cookie(&mut self, key: String, value: String) {
        self.line.note(What::Cookie { key: key.clone(), value: value.clone() });
        match self.facts.cookies.iter_mut().find(|(known, _)| *known == key) {
            Some((_, kept)) => *kept = value,
            None => self.facts.cookies.push((key, value)),
        }
    }

    async fn stop_recording(&mut self) {
        if let Some(tell) = self.recording.take() {
            self.line.note(What::RecordingStopped);
            if tell {
                self.notify(&Notice::RecordingFinished).await;
            }
        }
    }

    /// The call's time as Sinch would write it.
    pub(crate) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.line.at_ms().try_into().unwrap_or_default());
        self.came_in_at.saturating_add(offset).unwrap_or(self.came_in_at)
    }

    /// How a call ends that somebody ends; whether it was answered follows from the call.
    pub(crate) fn ending(&self, reason: Reason) -> Ending {
        let failed = matches!(reason, Reason::CallbackError | Reason::GeneralError);
        let result = match self.answered_at_ms {
            Some(_) => CallResult::Answered,
            None if failed => CallResult::Failed,
            None => CallResult::NotApplicable,
        };
        Ending { result, reason }
    }

    /// Absent unless answered, also after a menu whose caller then found the callee busy. A second begun
    /// is a second.
    fn duration_secs(&self, ending: Ending) -> Option<u32> {
        let answered_at_ms = self.answered_at_ms.filter(|_| ending.result == CallResult::Answered)?;
        let secs = self.line.at_ms().saturating_sub(answered_at_ms).div_ceil(1_000);
        Some(secs.try_into().unwrap_or(u32::MAX))
    }
}
