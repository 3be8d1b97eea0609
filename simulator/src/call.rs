//! The life of one call: ICE, what the answers say, DICE.
//!
//! Whatever can end the call early is an [`Ending`] on the error side, so that `?` reads as "if the call still lives".

use std::collections::VecDeque;
use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use proto::svaml::Action;
use proto::{Kind, Svaml};

use crate::bodies::{CallFacts, MenuResult, MenuResultKind};
use crate::conference::Conference;
use crate::dial::Dial;
use crate::later::Later;
use crate::menu;
use crate::platform::{Exchange, Platform};
use crate::prompt::Heard;
use crate::recording::Recording;
use crate::report::{CallReport, CallResult, Ending, Reason, Step, What};
use crate::script::{CallScript, Input, Party};
use crate::timeline::Timeline;

/// A call in which the callback server keeps asking for menus nobody answers must end some time.
const ANSWERS_MAX: u32 = 100;
/// No connection lasts longer.
pub(crate) const CALL_MAX_SECS: u32 = 14_400;
/// However often it is connected anew, nobody stays on the line longer.
const LIFE_MAX_SECS: u32 = 86_400;
const ERROR_PROMPT: &str = "We are sorry, an error has occurred.";

pub(crate) struct Call<'a> {
    pub(crate) line: Timeline<'a>,
    pub(crate) script: CallScript,
    pub(crate) facts: CallFacts,
    platform: &'a Platform,
    pub(crate) exchange: &'a Exchange,
    came_in_at: Timestamp,
    inputs: VecDeque<Input>,
    /// First answer of any kind, from which the DICE counts: menu time is in it.
    answered_at_ms: Option<u64>,
    /// Somebody or something is at the other end.
    pub(crate) connected: bool,
    /// The last connection asked for no ACE and no DICE.
    pub(crate) suppressed: bool,
    /// What the platform tells when its time comes.
    pub(crate) later: Later,
    pub(crate) recording: Option<Recording>,
    /// The one the caller is in.
    pub(crate) conference: Option<Conference>,
    pub(crate) in_conference: VecDeque<Input>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        platform: &'a Platform,
        mut script: CallScript,
        facts: CallFacts,
        on_step: &'a mut (dyn FnMut(&Step) + Send),
    ) -> Self {
        Self {
            line: Timeline::new(on_step),
            inputs: std::mem::take(&mut script.inputs).into(),
            in_conference: std::mem::take(&mut script.in_conference).into(),
            script,
            facts,
            platform,
            exchange: platform.exchange(),
            came_in_at: (platform.exchange().now)(),
            answered_at_ms: None,
            connected: false,
            suppressed: false,
            later: Later::default(),
            recording: None,
            conference: None,
        }
    }

    pub(crate) async fn play(mut self) -> CallReport {
        self.platform.began(&self.facts, self.came_in_at);
        let Err(ending) = self.live().await;
        let duration_secs = self.duration_secs(ending);
        self.line.note(What::Ended { ending, duration_secs });
        self.platform.ended(&self.facts, self.now(), ending, duration_secs);
        self.line.lift_all();
        self.stop_detection().await;
        if !self.suppressed {
            let body = self.facts.dice(self.now(), ending, duration_secs);
            self.tell(Kind::Dice, body).await;
        }
        // A recording is finished only after its call.
        self.stop_recording().await;
        self.tell_rest().await;
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
                self.hear(Heard::speech(ERROR_PROMPT)).await?;
                Err(self.ending(Reason::CallbackError))
            }
        }
    }

    async fn action(&mut self, action: Action) -> Result<Svaml, Ending> {
        match action {
            Action::Hangup => Err(self.ending(Reason::ManagerHangup)),
            Action::Continue if self.connected => self.talk().await,
            // Before anybody is connected, to go on means what it means to a call nobody interfered with.
            Action::Continue => self.dial(Dial::as_dialled(&self.facts.to)).await,
            Action::ConnectPstn(connect) => self.dial(Dial::pstn(connect, &self.facts)).await,
            Action::ConnectSip(connect) => self.dial(Dial::sip(connect, &self.facts)).await,
            Action::ConnectMxp(connect) => {
                let dial = Dial::mxp(connect, &mut self.facts);
                self.dial(dial).await
            }
            Action::ConnectConf(connect) => self.join(connect).await,
            Action::ConnectStream(connect) => self.stream(connect).await,
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

    /// The inbound leg is answered, unless it is already.
    pub(crate) fn pick_up(&mut self) {
        if self.answered_at_ms.is_none() {
            self.answered_by("the platform");
        }
    }

    /// A party picks up. The call counts from the first.
    pub(crate) fn answered_by(&mut self, by: &str) {
        let answered_at_ms = *self.answered_at_ms.get_or_insert(self.line.at_ms());
        let life_ms = u64::from(LIFE_MAX_SECS) * 1_000;
        self.line.ceiling(answered_at_ms.saturating_add(life_ms), self.ending(Reason::Timeout));
        self.line.note(What::Answered { by: by.to_owned() });
    }

    /// From here on the script's hang-up and the longest duration count, from the connection. A duration used up is
    /// told as TIMEOUT: of the known reasons the one that documents give to time limits.
    pub(crate) fn connect(&mut self, to: &str, connected_at_ms: u64, max_secs: u32) {
        self.connected = true;
        self.conference = None;
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

    /// The call goes on until something ends it; in a conference the caller may press keys that ask for something.
    pub(crate) async fn talk(&mut self) -> Result<Svaml, Ending> {
        if let Some(conference) = self.conference.clone()
            && let Some(answer) = self.confer(&conference).await?
        {
            return Ok(answer);
        }
        self.wait(u64::from(CALL_MAX_SECS) * 1_000).await?;
        Err(self.ending(Reason::Timeout))
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
