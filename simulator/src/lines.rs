//! The calls on the line that the application placed, as others see them: who behaves how, who is where, and what is
//! ordered of whom.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::svaml::Action;
use proto::{CallId, Svaml};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::callout::Callout;
use crate::line::Line;
use crate::orders;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::report::{Step, What};
use crate::script::{Callee, Endpoint, Input};

/// Calls that are on the line at the same time.
const LINES_MAX: usize = 1_000;
/// Placed calls that are remembered, and what is remembered of one.
const PLACED_MAX: usize = 10_000;
const STEPS_MAX: usize = 1_000;
/// What may be ordered of a call before it does the first of it.
const ORDERS_MAX: usize = 16;

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
    /// The account cannot pay for it.
    NoCredit,
    /// It is not taken, for no reason that is told.
    Fails,
    /// It is not taken, and may be later.
    Down,
}

/// What the application asked for, and what became of it so far.
#[derive(Debug, Clone)]
pub struct PlacedCall {
    pub call: CallId,
    /// Empty where the answer to the ICE says whom to call.
    pub to: String,
    pub custom: String,
    /// The whole body.
    pub asked: Value,
    pub steps: Vec<Step>,
}

/// The calls on the line, and who is called how.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<Board>);

#[derive(Debug)]
struct Board {
    second: Duration,
    callees: HashMap<String, CalleeScript>,
    /// Whoever has no script of their own.
    everybody: CalleeScript,
    open: HashMap<CallId, Open>,
    placed: Vec<PlacedCall>,
    /// Where calls begin; none while nobody serves.
    begin: Option<mpsc::Sender<Line>>,
}

/// A call on the line.
#[derive(Debug)]
struct Open {
    cli: String,
    in_app: bool,
    place: Place,
    orders: mpsc::Sender<Svaml>,
}

/// Where a call is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Nobody has answered yet.
    Ringing,
    Connected,
    Parked,
    Conference(Seat),
}

/// A participant's place in a conference.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    id: String,
    since: Instant,
    muted: bool,
    on_hold: bool,
}

/// What is done to a participant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seating {
    Muted(bool),
    OnHold(bool),
}

/// Who is in a conference.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) call: CallId,
    pub(crate) cli: String,
    pub(crate) duration_secs: u64,
    pub(crate) muted: bool,
    pub(crate) on_hold: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self(Mutex::new(Board {
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
        let script = callout.script();
        let mut facts = self.facts(&script);
        let mut board = self.exchange().lines.lock();
        if board.open.len() >= LINES_MAX {
            return None;
        }
        // Another run may have chosen the same.
        while board.open.contains_key(&facts.call) {
            facts = self.facts(&script);
        }
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let call = facts.call.clone();
        let in_app = matches!(callout.to, Some(Endpoint::Username(_)));
        let open = Open { cli: callout.cli.clone(), in_app, place: Place::Ringing, orders };
        let placed = PlacedCall {
            call: call.clone(),
            to: callout.to.as_ref().map(|to| to.endpoint().1.to_owned()).unwrap_or_default(),
            custom: callout.custom.clone().unwrap_or_default(),
            asked,
            steps: Vec::new(),
        };
        let number = (board.placed.len() < PLACED_MAX).then_some(board.placed.len());
        let line = Line::new(self.clone(), facts, callout, board.second, ordered, number);
        board.begin.as_ref()?.try_send(line).ok()?;
        board.open.insert(call.clone(), open);
        if number.is_some() {
            board.placed.push(placed);
        }
        Some(call)
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls can be placed.
    pub(crate) fn serve(&self) -> mpsc::Receiver<Line> {
        let (begin, begun) = mpsc::channel(LINES_MAX);
        self.lock().begin = Some(begin);
        begun
    }

    /// What is to become of a callout.
    pub(crate) fn reply(&self, callout: &Callout) -> CalloutReply {
        self.script(callout.to.as_ref().map(|to| to.endpoint().1).unwrap_or_default()).reply
    }

    pub(crate) fn script(&self, callee: &str) -> CalleeScript {
        let board = self.lock();
        board.callees.get(callee).unwrap_or(&board.everybody).clone()
    }

    /// Keeps what happened in the call of this number.
    pub(crate) fn note(&self, number: Option<usize>, at_ms: u64, what: What) {
        let mut board = self.lock();
        if let Some(placed) = number.and_then(|number| board.placed.get_mut(number))
            && placed.steps.len() < STEPS_MAX
        {
            placed.steps.push(Step { at_ms, what });
        }
    }

    /// # Errors
    /// When there is no such call on the line.
    pub(crate) fn on_line(&self, call: &str) -> Result<CallId, Problem> {
        let call = CallId::new(call).map_err(|_| Problem::NotFound("Call"))?;
        if self.lock().open.contains_key(&call) { Ok(call) } else { Err(Problem::NotFound("Call")) }
    }

    /// Has the call do something, in place of what it does.
    ///
    /// # Errors
    /// When there is no such call, or it may not do that where it is.
    pub(crate) fn order(&self, call: &str, svaml: Svaml) -> Result<(), Problem> {
        let call = self.on_line(call)?;
        let board = self.lock();
        let open = board.open.get(&call).ok_or(Problem::NotFound("Call"))?;
        if open.in_app {
            return Err(Problem::Request("only calls over PSTN and SIP can be changed".to_owned()));
        }
        orders::legal(&svaml, &open.place).map_err(Problem::Request)?;
        open.orders.try_send(svaml).map_err(|_| Problem::Down)
    }

    /// # Errors
    /// When there is no such call.
    pub(crate) fn hang_up(&self, call: &CallId) -> Result<(), Problem> {
        let board = self.lock();
        let open = board.open.get(call).ok_or(Problem::NotFound("Call"))?;
        open.orders.try_send(Svaml::only(Action::Hangup)).map_err(|_| Problem::Down)
    }

    /// Who is in a conference now.
    pub(crate) fn participants(&self, conference: &str) -> Vec<Participant> {
        let board = self.lock();
        let seated = |(call, open): (&CallId, &Open)| match &open.place {
            Place::Conference(seat) if seat.id == conference => Some(Participant {
                call: call.clone(),
                cli: open.cli.clone(),
                duration_secs: board.seconds(seat.since.elapsed()),
                muted: seat.muted,
                on_hold: seat.on_hold,
            }),
            Place::Conference(_) | Place::Ringing | Place::Connected | Place::Parked => None,
        };
        board.open.iter().filter_map(seated).collect()
    }

    /// # Errors
    /// When the call is in no such conference.
    pub(crate) fn seat(&self, call: &CallId, conference: &str, seating: Seating) -> Result<(), Problem> {
        let mut board = self.lock();
        let open = board.open.get_mut(call).ok_or(Problem::NotFound("Call"))?;
        let Place::Conference(seat) = &mut open.place else { return Err(Problem::NotFound("Call")) };
        if seat.id != conference {
            return Err(Problem::NotFound("Call"));
        }
        match seating {
            Seating::Muted(muted) => seat.muted = muted,
            Seating::OnHold(on_hold) => seat.on_hold = on_hold,
        }
        Ok(())
    }

    /// The call is there now. One that sits in this conference already keeps its seat.
    pub(crate) fn moved(&self, call: &CallId, place: Place) {
        let mut board = self.lock();
        let Some(open) = board.open.get_mut(call) else { return };
        if let (Place::Conference(seat), Place::Conference(new)) = (&open.place, &place)
            && seat.id == new.id
        {
            return;
        }
        open.place = place;
    }

    pub(crate) fn over(&self, call: &CallId) {
        self.lock().open.remove(call);
    }
}

impl Board {
    /// The call time that is as long as this.
    fn seconds(&self, time: Duration) -> u64 {
        u64::try_from(time.as_micros() / self.second.as_micros().max(1)).unwrap_or(u64::MAX)
    }
}

impl Place {
    pub(crate) fn conference(id: &str) -> Self {
        Self::Conference(Seat { id: id.to_owned(), since: Instant::now(), muted: false, on_hold: false })
    }
}
