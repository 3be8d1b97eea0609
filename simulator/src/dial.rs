//! Ringing at a callee, and what the callee does.

use proto::svaml::{ConnectMxp, ConnectPstn, ConnectSip};
use proto::{Kind, Svaml};

use crate::bodies::{Amd, AmdStatus};
use crate::call::Call;
use crate::report::{CallResult, Ending, Reason, What};
use crate::script::{CallScript, Callee};

/// How long it rings when the answer does not say.
const RING_MAX_SECS: u32 = 60;
/// How soon a busy or unreachable callee is known.
const REJECTED_AFTER_MS: u64 = 1_000;
/// How long detection listens.
const DETECTION_SECS: u32 = 4;

/// An outbound leg to set up.
pub(crate) struct Dial {
    to: String,
    route: Route,
    ring_max_secs: u32,
    max_secs: u32,
    suppress: bool,
    detection: Detection,
    tones: Option<String>,
}

/// Over what it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Pstn,
    Sip,
    /// In-app: no ACE.
    Mxp,
}

/// Answering machine detection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detection {
    Off,
    /// The ACE waits for the verdict.
    BeforeAce,
    /// The verdict is a notify.
    Meanwhile,
}

impl Dial {
    pub(crate) fn pstn(connect: ConnectPstn, script: &CallScript) -> Self {
        let detection = match connect.amd {
            Some(amd) if amd.enabled && amd.asynchronous == Some(true) => Detection::Meanwhile,
            Some(amd) if amd.enabled => Detection::BeforeAce,
            Some(_) | None => Detection::Off,
        };
        Self {
            to: connect.number.unwrap_or_else(|| script.to.text().to_owned()),
            route: Route::Pstn,
            ring_max_secs: connect.dial_timeout.unwrap_or(RING_MAX_SECS),
            max_secs: connect.max_duration.unwrap_or(u32::MAX),
            suppress: connect.suppress_callbacks.unwrap_or(false),
            detection,
            tones: connect.dtmf,
        }
    }

    pub(crate) fn sip(connect: ConnectSip) -> Self {
        Self {
            to: connect.destination.endpoint,
            route: Route::Sip,
            ring_max_secs: RING_MAX_SECS,
            max_secs: connect.max_duration.unwrap_or(u32::MAX),
            suppress: connect.suppress_callbacks.unwrap_or(false),
            detection: Detection::Off,
            tones: None,
        }
    }

    pub(crate) fn mxp(connect: ConnectMxp, script: &CallScript) -> Self {
        Self {
            to: connect.destination.map_or_else(|| script.to.text().to_owned(), |destination| destination.endpoint),
            route: Route::Mxp,
            ring_max_secs: RING_MAX_SECS,
            max_secs: u32::MAX,
            suppress: false,
            detection: Detection::Off,
            tones: None,
        }
    }
}

impl Call<'_> {
    /// Rings, and asks with an ACE what to do once somebody answers.
    pub(crate) async fn dial(&mut self, dial: Dial) -> Result<Svaml, Ending> {
        self.suppressed = dial.suppress;
        self.ring(&dial)?;
        let answered_at_ms = self.line.at_ms();
        self.answered_by(&dial.to);
        let amd = self.detect(dial.detection, dial.max_secs)?;
        self.connect(&dial.to, answered_at_ms, dial.max_secs);
        if let Some(tones) = dial.tones {
            self.tones(tones)?;
        }
        if dial.route == Route::Mxp || dial.suppress {
            return self.talk().await;
        }
        match self.ask(Kind::Ace, self.facts.ace(self.now(), amd)).await {
            Some(answer) => Ok(answer),
            // Without an answer the call is connected anyway.
            None => self.talk().await,
        }
    }

    /// Lets it ring until the callee does something or somebody gives up.
    fn ring(&mut self, dial: &Dial) -> Result<(), Ending> {
        self.line.note(What::Ringing { to: dial.to.clone() });
        self.line.lift_limits();
        let from_now = self.line.at_ms();
        let after = |secs: u32| from_now.saturating_add(u64::from(secs) * 1_000);
        self.line.limit(after(dial.ring_max_secs), rang_out(dial.route));
        if let Some(patience_secs) = self.script.patience_secs {
            let gave_up = Ending { result: CallResult::NoAnswer, reason: Reason::Cancel };
            self.line.limit(after(patience_secs), gave_up);
        }
        match self.script.callee {
            Callee::Answers { after_secs } | Callee::Machine { after_secs } => {
                self.line.pass(u64::from(after_secs) * 1_000)
            }
            Callee::Busy => {
                self.line.pass(REJECTED_AFTER_MS)?;
                Err(Ending { result: CallResult::Busy, reason: Reason::NotApplicable })
            }
            Callee::NoAnswer => self.line.pass(u64::MAX),
            Callee::Fails => {
                self.line.pass(REJECTED_AFTER_MS)?;
                Err(Ending { result: CallResult::Failed, reason: Reason::Congestion })
            }
        }
    }

    /// What the ACE says of the detection. A call that ends before the verdict has `hangup` for one.
    fn detect(&mut self, detection: Detection, max_secs: u32) -> Result<Option<Amd>, Ending> {
        let listens_secs = DETECTION_SECS.min(self.script.hangup.after_secs).min(max_secs);
        let (status, reason) = match self.script.callee {
            Callee::Machine { .. } => (AmdStatus::Machine, "longgreeting"),
            Callee::Answers { .. } => (AmdStatus::Human, "n/a"),
            Callee::Busy | Callee::NoAnswer | Callee::Fails => (AmdStatus::NotSure, "n/a"),
        };
        let (status, reason) =
            if listens_secs < DETECTION_SECS { (AmdStatus::Hangup, "n/a") } else { (status, reason) };
        let verdict = Amd { status, reason, duration: listens_secs };
        let listens_ms = u64::from(listens_secs) * 1_000;
        match detection {
            Detection::Off => Ok(None),
            Detection::BeforeAce => {
                self.line.lift_limits();
                self.line.pass(listens_ms)?;
                Ok(Some(verdict))
            }
            Detection::Meanwhile => {
                self.verdict_due = Some((self.line.at_ms().saturating_add(listens_ms), verdict));
                Ok(Some(Amd { status: AmdStatus::InProgress, reason: "n/a", duration: 0 }))
            }
        }
    }
}

/// The documents give these two for `dialTimeout`.
fn rang_out(route: Route) -> Ending {
    match route {
        Route::Pstn | Route::Sip => Ending { result: CallResult::NoAnswer, reason: Reason::Timeout },
        Route::Mxp => Ending { result: CallResult::Busy, reason: Reason::NotApplicable },
    }
}
