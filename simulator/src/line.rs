//! A call that the application placed: it rings, is answered and ends in real time, because who placed it may hang up,
//! change it, or place another, meanwhile. How long one of its seconds takes can be set, so that nobody has to wait.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::svaml::{Action, Instruction, Park, RunMenu};
use proto::{CallId, Kind, Svaml};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::bodies::{CallFacts, MenuResultKind};
use crate::call::CALL_MAX_SECS;
use crate::callout::{Callout, Joined, Room};
use crate::dial::Dial;
use crate::later::Later;
use crate::lines::{CalleeScript, Lines, Place};
use crate::menu;
use crate::platform::Platform;
use crate::prompt::{self, Heard};
use crate::recording::Recording;
use crate::report::{CallResult, Ending, Reason, Step, What};
use crate::script::Input;
use crate::timeline::Timeline;

mod instructions;
mod put;
mod ring;

/// A call that is asked for menus without end must end some time.
const ANSWERS_MAX: u32 = 100;
/// The longest a call is parked.
const PARK_MAX_SECS: u32 = 600;

/// One call, as itself.
#[derive(Debug)]
pub(crate) struct Line {
    platform: Platform,
    facts: CallFacts,
    callout: Callout,
    /// Its place among those that are remembered.
    number: Option<usize>,
    /// Whoever was called last.
    callee: CalleeScript,
    inputs: VecDeque<Input>,
    second: Duration,
    ordered: mpsc::Receiver<Svaml>,
    began_at: Timestamp,
    at_ms: u64,
    answered_at_ms: Option<u64>,
    limits: Vec<(u64, Ending)>,
    /// What ends it whomever it is connected to.
    ceiling: Option<(u64, Ending)>,
    stay: Stay,
    recording: Option<Recording>,
    later: Later,
    /// The last connection asked for no ACE and no DICE.
    suppressed: bool,
}

/// Where the call stays when nobody says otherwise.
#[derive(Debug)]
enum Stay {
    /// Nobody was called yet.
    Outside,
    /// What whoever answers is still to hear.
    Hearing(VecDeque<Heard>),
    In(Room),
    Parked {
        until_ms: u64,
    },
    /// Whoever was called is there, until they hang up.
    Talking,
}

/// Why a call does no longer what it did.
#[derive(Debug)]
pub(crate) enum Interrupted {
    Over(Ending),
    /// Who placed it wants something else.
    Ordered(Box<Svaml>),
}

impl From<Ending> for Interrupted {
    fn from(ending: Ending) -> Self {
        Self::Over(ending)
    }
}

impl Line {
    pub(crate) fn new(
        platform: Platform,
        facts: CallFacts,
        callout: Callout,
        second: Duration,
        ordered: mpsc::Receiver<Svaml>,
        number: Option<usize>,
    ) -> Self {
        Self {
            began_at: (platform.exchange().now)(),
            platform,
            facts,
            callout,
            number,
            callee: CalleeScript::default(),
            inputs: VecDeque::new(),
            second,
            ordered,
            at_ms: 0,
            answered_at_ms: None,
            limits: Vec::new(),
            ceiling: None,
            stay: Stay::Outside,
            recording: None,
            later: Later::default(),
            suppressed: false,
        }
    }

    pub(crate) async fn live(mut self) {
        self.platform.began(&self.facts, self.began_at);
        let Err(ending) = self.talk().await;
        let duration_secs = self.answered_at_ms.map(|answered| self.at_ms.saturating_sub(answered).div_ceil(1_000));
        let duration_secs = duration_secs.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX));
        self.note(What::Ended { ending, duration_secs });
        self.lines().over(self.call());
        self.platform.ended(&self.facts, self.now(), ending, duration_secs);
        if !self.suppressed {
            self.tell(Kind::Dice, self.facts.dice(self.now(), ending, duration_secs)).await;
        }
        // A recording is finished only after its call.
        self.stop_recording().await;
        self.tell_rest().await;
    }

    /// Every answer either ends the call or leads to the next question.
    async fn talk(&mut self) -> Result<Infallible, Ending> {
        let ice = self.ask(Kind::Ice, self.facts.ice(self.now())).await;
        let go_on = || Svaml::only(Action::Continue);
        let mut answer = ice.map_err(|_| self.ending(Reason::CallbackError))?.unwrap_or_else(go_on);
        for _ in 0..ANSWERS_MAX {
            answer = self.obey(answer).await?;
        }
        Err(self.ending(Reason::GeneralError))
    }

    /// Does what it is told, and what is ordered meanwhile. To go on is to do what was being done.
    async fn obey(&mut self, svaml: Svaml) -> Result<Svaml, Ending> {
        let Svaml { mut instructions, mut action } = svaml;
        loop {
            match self.act(instructions, &mut action).await {
                Ok(answer) => return Ok(answer),
                Err(Interrupted::Over(ending)) => return Err(ending),
                Err(Interrupted::Ordered(order)) => {
                    self.note(What::Answer { svaml: (*order).clone() });
                    instructions = order.instructions;
                    if order.action != Action::Continue {
                        action = order.action;
                    }
                }
            }
        }
    }

    /// What an action leads to leaves `Continue` in its place: to stay there.
    async fn act(&mut self, instructions: Vec<Instruction>, action: &mut Action) -> Result<Svaml, Interrupted> {
        for instruction in instructions {
            self.instruction(instruction).await?;
        }
        match action {
            Action::Hangup => Err(self.ending(Reason::ManagerHangup).into()),
            Action::Continue => self.stay().await,
            Action::ConnectPstn(connect) => {
                let dial = Dial::pstn(connect.clone(), &self.facts);
                *action = Action::Continue;
                self.dial(dial).await
            }
            Action::ConnectSip(connect) => {
                let dial = Dial::sip(connect.clone(), &self.facts);
                *action = Action::Continue;
                self.dial(dial).await
            }
            Action::ConnectMxp(connect) => {
                let dial = Dial::mxp(connect.clone(), &mut self.facts);
                *action = Action::Continue;
                self.dial(dial).await
            }
            Action::ConnectConf(connect) => {
                let (id, moh) = (connect.conference_id.clone(), connect.moh.clone());
                self.stay = Stay::In(Room { id, greeting: None, moh });
                *action = Action::Continue;
                self.stay().await
            }
            Action::Park(park) => {
                let park = park.clone();
                self.stay = Stay::Parked { until_ms: self.after(park.max_duration.unwrap_or(PARK_MAX_SECS)) };
                *action = Action::Continue;
                self.park(park).await
            }
            Action::RunMenu(run) => {
                let run = run.clone();
                self.menu(&run).await
            }
            // The audio of a stream is played for calls that come in.
            Action::ConnectStream(_) => Err(self.ending(Reason::GeneralError).into()),
        }
    }

    async fn stay(&mut self) -> Result<Svaml, Interrupted> {
        match &mut self.stay {
            Stay::Outside => self.call_destination().await,
            Stay::Hearing(left) => {
                let mut left = std::mem::take(left);
                while let Some(heard) = left.pop_front() {
                    let heard = self.hear(heard).await;
                    self.stay = Stay::Hearing(left.clone());
                    heard?;
                }
                Err(self.ending(Reason::ManagerHangup).into())
            }
            Stay::In(room) => {
                let (greeting, room) = (room.greeting.take(), room.clone());
                self.confer(greeting, room).await
            }
            &mut Stay::Parked { until_ms } => {
                self.moved(Place::Parked);
                self.pass(until_ms.saturating_sub(self.at_ms)).await?;
                Err(self.ending(Reason::Timeout).into())
            }
            Stay::Talking => {
                self.moved(Place::Connected);
                self.pass(u64::MAX).await?;
                Err(self.ending(Reason::Timeout).into())
            }
        }
    }

    async fn confer(&mut self, greeting: Option<String>, room: Room) -> Result<Svaml, Interrupted> {
        if let Some(greeting) = greeting {
            self.hear(Heard::speech(&greeting)).await?;
        }
        // Nobody else is there, so the music is heard.
        if let Some(music) = room.moh.filter(|_| self.lines().participants(&room.id).is_empty()) {
            self.note(What::Heard { text: music });
        }
        self.moved(Place::conference(&room.id));
        self.pass(u64::MAX).await?;
        Err(self.ending(Reason::Timeout).into())
    }

    /// The intro once, then the hold prompt until the time is up.
    async fn park(&mut self, park: Park) -> Result<Svaml, Interrupted> {
        self.moved(Place::Parked);
        for heard in prompt::parts(park.intro_prompt.as_deref().unwrap_or_default()) {
            self.hear(heard).await?;
        }
        for heard in prompt::parts(park.hold_prompt.as_deref().unwrap_or_default()) {
            self.note(What::Heard { text: heard.text });
        }
        self.stay().await
    }

    async fn menu(&mut self, run: &RunMenu) -> Result<Svaml, Interrupted> {
        let mut nobody = |_: &Step| {};
        let (result, took_ms, steps) = {
            let mut line = Timeline::new(&mut nobody);
            let result = menu::run(run, &mut self.inputs, &mut line);
            (result, line.at_ms(), line.into_steps())
        };
        let began_ms = self.at_ms;
        self.pass(took_ms).await?;
        for Step { at_ms, what } in steps {
            self.lines().note(self.number, began_ms.saturating_add(at_ms), what);
        }
        let result = result?;
        let answer = self.ask(Kind::Pie, self.facts.pie(self.now(), &result)).await;
        if result.kind == MenuResultKind::Hangup {
            return Err(self.ending(Reason::CalleeHangup).into());
        }
        match answer {
            Ok(answer) => Ok(answer.unwrap_or_else(|| Svaml::only(Action::Continue))),
            Err(_) => Err(self.ending(Reason::CallbackError).into()),
        }
    }

    /// Lets call time pass and tells what comes due, unless the call ends meanwhile or is told to do something else.
    async fn pass(&mut self, ms: u64) -> Result<(), Interrupted> {
        let wanted = self.at_ms.saturating_add(ms);
        let limit = self.limits.iter().chain(&self.ceiling).min_by_key(|(at, _)| *at);
        let limit = limit.copied().filter(|(at, _)| *at <= wanted);
        let until = limit.map_or(wanted, |(at, _)| at.max(self.at_ms));
        while let Some((due, notice)) = self.later.next_until(until) {
            if let Err(interrupted) = self.sleep_until(due).await {
                self.later.add(due, notice);
                return Err(interrupted);
            }
            self.tell(Kind::Notify, self.facts.notify(&notice)).await;
        }
        self.sleep_until(until).await?;
        limit.map_or(Ok(()), |(_, ending)| Err(ending.into()))
    }

    async fn sleep_until(&mut self, until_ms: u64) -> Result<(), Interrupted> {
        let (began, second) = (Instant::now(), self.second);
        let pause_ms = until_ms.saturating_sub(self.at_ms).min(u64::from(CALL_MAX_SECS) * 1_000);
        let pause = second * u32::try_from(pause_ms).unwrap_or(u32::MAX) / 1_000;
        if let Ok(order) = timeout(pause, self.ordered.recv()).await {
            let passed_ms = began.elapsed().as_micros() * 1_000 / second.as_micros().max(1);
            let now_ms = self.at_ms.saturating_add(u64::try_from(passed_ms).unwrap_or(u64::MAX));
            self.at_ms = now_ms.min(until_ms.max(self.at_ms));
            return Err(match order {
                Some(svaml) if svaml != Svaml::only(Action::Hangup) => Interrupted::Ordered(Box::new(svaml)),
                // Nobody can order anything any more of a call that nobody knows.
                Some(_) | None => self.ending(Reason::ManagerHangup).into(),
            });
        }
        self.at_ms = until_ms.max(self.at_ms);
        Ok(())
    }

    /// The moment so many seconds from now.
    fn after(&self, secs: u32) -> u64 {
        self.at_ms.saturating_add(u64::from(secs) * 1_000)
    }

    fn ending(&self, reason: Reason) -> Ending {
        let result = match (self.answered_at_ms, reason) {
            (Some(_), _) => CallResult::Answered,
            (None, Reason::CallbackError | Reason::GeneralError) => CallResult::Failed,
            (None, _) => CallResult::NotApplicable,
        };
        Ending { result, reason }
    }

    fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.at_ms.try_into().unwrap_or_default());
        self.began_at.saturating_add(offset).unwrap_or(self.began_at)
    }

    fn note(&self, what: What) {
        self.lines().note(self.number, self.at_ms, what);
    }

    fn moved(&self, place: Place) {
        self.lines().moved(self.call(), place);
    }

    fn lines(&self) -> &Lines {
        &self.platform.exchange().lines
    }

    fn call(&self) -> &CallId {
        &self.facts.call
    }
}

impl Joined {
    fn stay(self) -> Stay {
        match self {
            Self::Prompts(heard) => Stay::Hearing(heard.into()),
            Self::Conference(room) => Stay::In(room),
            Self::Nothing => Stay::Talking,
        }
    }
}
