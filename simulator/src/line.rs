//! A call that the application placed: it rings, is answered and ends in real time, because who placed it may hang up,
//! or place another, meanwhile. How long one of its seconds takes can be set, so that nobody has to wait for it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proto::svaml::{Action, Instruction};
use proto::{CallId, Kind, Svaml};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::bodies::{Amd, CallFacts, MenuResultKind};
use crate::call::CALL_MAX_SECS;
use crate::callout::{Callout, Joined};
use crate::http::SignWith;
use crate::menu;
use crate::platform::Platform;
use crate::prompt::{self, Heard};
use crate::report::{CallResult, Ending, Reason};
use crate::script::{Callee, Input};
use crate::timeline::Timeline;

/// Calls that are on the line at the same time.
pub(crate) const LINES_MAX: usize = 1_000;
/// How long it rings.
const RING_MAX_SECS: u32 = 60;
/// How soon a busy or unreachable callee is known.
const REJECTED_AFTER_MS: u64 = 1_000;
/// A call that is asked for menus without end must end some time.
const ANSWERS_MAX: u32 = 100;
/// Placed calls that are remembered.
const PLACED_MAX: usize = 10_000;

/// What whoever is called does.
#[derive(Debug, Clone)]
pub struct CalleeScript {
    pub callee: Callee,
    /// Hangs up so long after answering.
    pub talks_secs: u32,
    /// What is pressed at each menu prompt, in turn.
    pub inputs: Vec<Input>,
    pub reply: CalloutReply,
}

impl Default for CalleeScript {
    /// Answers after 2 s and hangs up after 20 s.
    fn default() -> Self {
        let callee = Callee::Answers { after_secs: 2 };
        Self { callee, talks_secs: 20, inputs: Vec::new(), reply: CalloutReply::Taken }
    }
}

/// What becomes of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutReply {
    Taken,
    /// It is taken, and who asked for it hears an error.
    TakenUnsaid,
    /// It is taken, and who asked for it hears so after this long.
    TakenSlowly(Duration),
    /// The account may not call there.
    Refused,
    /// It is not taken, and may be later.
    Down,
}

/// What the application asked for.
#[derive(Debug, Clone)]
pub struct PlacedCall {
    pub call: CallId,
    pub to: String,
    pub custom: String,
    /// The whole body.
    pub asked: Value,
}

/// The calls on the line, and who is called how.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<Exchange>);

#[derive(Debug)]
struct Exchange {
    second: Duration,
    callees: HashMap<String, CalleeScript>,
    /// Whoever has no script of their own.
    everybody: CalleeScript,
    open: HashMap<CallId, Open>,
    placed: Vec<PlacedCall>,
    /// Where calls begin; none while nobody serves.
    begin: Option<mpsc::Sender<Line>>,
}

/// A call on the line, as others see it.
#[derive(Debug)]
struct Open {
    conference: Option<String>,
    cli: String,
    joined: bool,
    hang_up: watch::Sender<bool>,
}

/// Who is in a conference.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) call: CallId,
    pub(crate) cli: String,
}

/// One call, as itself.
#[derive(Debug)]
pub(crate) struct Line {
    platform: Platform,
    facts: CallFacts,
    callout: Callout,
    script: CalleeScript,
    inputs: VecDeque<Input>,
    second: Duration,
    hung_up: watch::Receiver<bool>,
    began_at: Timestamp,
    at_ms: u64,
    answered_at_ms: Option<u64>,
    limits: Vec<(u64, Ending)>,
}

impl Default for Lines {
    fn default() -> Self {
        Self(Mutex::new(Exchange {
            second: Duration::from_secs(1),
            callees: HashMap::new(),
            everybody: CalleeScript::default(),
            open: HashMap::new(),
            placed: Vec::new(),
            begin: None,
        }))
    }
}

impl Platform {
    /// How long one second of a placed call takes.
    pub fn pace(&self, second: Duration) {
        self.exchange().lines.lock().second = second;
    }

    /// Who has this number does so from now on.
    pub fn callee(&self, number: &str, script: CalleeScript) {
        self.exchange().lines.lock().callees.insert(number.to_owned(), script);
    }

    /// Whoever else is called does so from now on.
    pub fn everybody(&self, script: CalleeScript) {
        self.exchange().lines.lock().everybody = script;
    }

    /// The calls that were placed so far, refused ones left out.
    pub fn placed(&self) -> Vec<PlacedCall> {
        self.exchange().lines.lock().placed.clone()
    }

    /// Begins a call; `None` when there is no line free.
    pub(crate) fn place(&self, callout: Callout, asked: Value) -> Option<CallId> {
        let mut facts = self.facts(&callout.script());
        let mut lines = self.exchange().lines.lock();
        // Another run may have chosen the same.
        while lines.open.contains_key(&facts.call) {
            facts = self.facts(&callout.script());
        }
        let (hang_up, hung_up) = watch::channel(false);
        let script = lines.callees.get(&callout.to).unwrap_or(&lines.everybody).clone();
        let (call, began_at) = (facts.call.clone(), (self.exchange().now)());
        let conference = callout.conference().map(str::to_owned);
        let open = Open { conference, cli: callout.cli.clone(), joined: false, hang_up };
        let placed = PlacedCall {
            call: call.clone(),
            to: callout.to.clone(),
            custom: callout.custom.clone().unwrap_or_default(),
            asked,
        };
        let line = Line {
            platform: self.clone(),
            facts,
            callout,
            inputs: script.inputs.clone().into(),
            script,
            second: lines.second,
            hung_up,
            began_at,
            at_ms: 0,
            answered_at_ms: None,
            limits: Vec::new(),
        };
        lines.begin.as_ref()?.try_send(line).ok()?;
        lines.open.insert(call.clone(), open);
        if lines.placed.len() < PLACED_MAX {
            lines.placed.push(placed);
        }
        Some(call)
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls can be placed.
    pub(crate) fn serve(&self) -> mpsc::Receiver<Line> {
        let (begin, begun) = mpsc::channel(LINES_MAX);
        self.lock().begin = Some(begin);
        begun
    }

    /// What is to become of a callout to this number.
    pub(crate) fn reply(&self, number: &str) -> CalloutReply {
        let lines = self.lock();
        lines.callees.get(number).unwrap_or(&lines.everybody).reply
    }

    /// False when there is no such call on the line.
    pub(crate) fn hang_up(&self, call: &CallId) -> bool {
        self.lock().open.get(call).is_some_and(|open| open.hang_up.send(true).is_ok())
    }

    /// Who is in a conference now.
    pub(crate) fn participants(&self, conference: &str) -> Vec<Participant> {
        let lines = self.lock();
        let inside =
            lines.open.iter().filter(|(_, open)| open.joined && open.conference.as_deref() == Some(conference));
        inside.map(|(call, open)| Participant { call: call.clone(), cli: open.cli.clone() }).collect()
    }

    fn joined(&self, call: &CallId, conference: &str) {
        if let Some(open) = self.lock().open.get_mut(call) {
            (open.joined, open.conference) = (true, Some(conference.to_owned()));
        }
    }

    fn over(&self, call: &CallId) {
        self.lock().open.remove(call);
    }
}

impl Line {
    pub(crate) async fn live(mut self) {
        self.platform.began(&self.facts, self.began_at);
        let Err(ending) = self.talk().await;
        let duration_secs = self.answered_at_ms.map(|answered| self.at_ms.saturating_sub(answered).div_ceil(1_000));
        let duration_secs = duration_secs.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX));
        let lines = &self.platform.exchange().lines;
        lines.over(&self.facts.call);
        self.platform.ended(&self.facts, self.now(), ending, duration_secs);
        if self.callout.enable_dice {
            self.put(self.facts.dice(self.now(), ending, duration_secs)).await;
        }
    }

    async fn talk(&mut self) -> Result<Infallible, Ending> {
        self.ring().await?;
        self.answered_at_ms = Some(self.at_ms);
        let after = |secs: u32| self.at_ms.saturating_add(u64::from(secs) * 1_000);
        self.limits = vec![
            (after(self.script.talks_secs), self.ending(Reason::CalleeHangup)),
            (after(self.callout.max_secs.unwrap_or(CALL_MAX_SECS).min(CALL_MAX_SECS)), self.ending(Reason::Timeout)),
        ];
        let mut answer = match self.callout.enable_ace {
            true => self.ask(Kind::Ace, self.facts.ace(self.now(), None::<Amd>)).await,
            false => None,
        };
        for _ in 0..ANSWERS_MAX {
            // A call that is up goes on where nobody says otherwise.
            let Svaml { instructions, action } = answer.unwrap_or_else(|| Svaml::only(Action::Continue));
            for instruction in instructions {
                self.instruction(&instruction).await?;
            }
            answer = Some(self.action(action).await?);
        }
        Err(self.ending(Reason::GeneralError))
    }

    async fn ring(&mut self) -> Result<(), Ending> {
        if self.callout.cli.is_empty() {
            // Taken, answered with an id, and it never rings.
            self.pass(u64::from(CALL_MAX_SECS) * 1_000).await?;
        }
        let ended = |result, reason| Ending { result, reason };
        self.limits = vec![(u64::from(RING_MAX_SECS) * 1_000, ended(CallResult::NoAnswer, Reason::Timeout))];
        match self.script.callee {
            Callee::Answers { after_secs } | Callee::Machine { after_secs } => {
                self.pass(u64::from(after_secs) * 1_000).await
            }
            Callee::NoAnswer => self.pass(u64::MAX).await,
            Callee::Busy => {
                self.pass(REJECTED_AFTER_MS).await?;
                Err(ended(CallResult::Busy, Reason::NotApplicable))
            }
            Callee::Fails => {
                self.pass(REJECTED_AFTER_MS).await?;
                Err(ended(CallResult::Failed, Reason::Congestion))
            }
        }
    }

    async fn instruction(&mut self, instruction: &Instruction) -> Result<(), Ending> {
        match instruction {
            Instruction::Say { text, .. } => self.pass(Heard::speech(text).length_ms).await,
            Instruction::PlayFiles { ids, .. } => {
                for heard in ids.iter().flat_map(|ids| prompt::parts(ids)) {
                    self.pass(heard.length_ms).await?;
                }
                Ok(())
            }
            Instruction::SendDtmf { .. }
            | Instruction::SetCookie { .. }
            | Instruction::Answer
            | Instruction::StartRecording { .. }
            | Instruction::StopRecording => Ok(()),
        }
    }

    async fn action(&mut self, action: Action) -> Result<Svaml, Ending> {
        match action {
            Action::Hangup => Err(self.ending(Reason::ManagerHangup)),
            Action::Continue => {
                match self.callout.joins.clone() {
                    Joined::Text(text) => self.pass(Heard::speech(&text).length_ms).await?,
                    Joined::Conference(id) => self.confer(&id).await?,
                }
                Err(self.ending(Reason::ManagerHangup))
            }
            Action::ConnectConf(connect) => {
                self.confer(&connect.conference_id).await?;
                Err(self.ending(Reason::ManagerHangup))
            }
            Action::RunMenu(run) => {
                let mut nobody = |_: &crate::report::Step| {};
                let (result, took_ms) = {
                    let mut line = Timeline::new(&mut nobody);
                    let result = menu::run(&run, &mut self.inputs, &mut line);
                    (result, line.at_ms())
                };
                self.pass(took_ms).await?;
                let result = result?;
                let answer = self.ask(Kind::Pie, self.facts.pie(self.now(), &result)).await;
                if result.kind == MenuResultKind::Hangup {
                    return Err(self.ending(Reason::CalleeHangup));
                }
                answer.ok_or_else(|| self.ending(Reason::CallbackError))
            }
            // What else ends at another party is played for calls that come in.
            Action::ConnectPstn(_)
            | Action::ConnectMxp(_)
            | Action::ConnectSip(_)
            | Action::ConnectStream(_)
            | Action::Park(_) => Err(self.ending(Reason::GeneralError)),
        }
    }

    async fn confer(&mut self, conference: &str) -> Result<(), Ending> {
        self.platform.exchange().lines.joined(&self.facts.call, conference);
        self.pass(u64::MAX).await
    }

    /// Lets call time pass, unless the call ends meanwhile.
    async fn pass(&mut self, ms: u64) -> Result<(), Ending> {
        let wanted = self.at_ms.saturating_add(ms);
        let limit = self.limits.iter().min_by_key(|(at, _)| *at).copied().filter(|(at, _)| *at <= wanted);
        let until = limit.map_or(wanted, |(at, _)| at.max(self.at_ms));
        let (began, second) = (Instant::now(), self.second);
        let pause_ms = until.saturating_sub(self.at_ms).min(u64::from(CALL_MAX_SECS) * 1_000);
        let pause = second * u32::try_from(pause_ms).unwrap_or(u32::MAX) / 1_000;
        if timeout(pause, self.hung_up.wait_for(|hung_up| *hung_up)).await.is_ok() {
            let passed_ms = began.elapsed().as_micros() * 1_000 / second.as_micros().max(1);
            self.at_ms = self.at_ms.saturating_add(u64::try_from(passed_ms).unwrap_or(u64::MAX)).min(until);
            return Err(self.ending(Reason::ManagerHangup));
        }
        self.at_ms = until;
        limit.map_or(Ok(()), |(_, ending)| Err(ending))
    }

    fn ending(&self, reason: Reason) -> Ending {
        let result = if self.answered_at_ms.is_some() { CallResult::Answered } else { CallResult::NotApplicable };
        Ending { result, reason }
    }

    fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.at_ms.try_into().unwrap_or_default());
        self.began_at.saturating_add(offset).unwrap_or(self.began_at)
    }

    async fn ask(&self, kind: Kind, body: Bytes) -> Option<Svaml> {
        let answer: Svaml = serde_json::from_slice(&self.put(body).await?).ok()?;
        answer.check(kind).ok().map(|_| answer)
    }

    /// To the primary URL, then to the fallback.
    async fn put(&self, body: Bytes) -> Option<Bytes> {
        let exchange = self.platform.exchange();
        for url in [Some(&exchange.primary), exchange.fallback.as_ref()].into_iter().flatten() {
            if let Ok(reply) = exchange.http.post(url, body.clone(), &SignWith::default()).await
                && (200..300).contains(&reply.status)
            {
                return Some(reply.body);
            }
        }
        None
    }
}
