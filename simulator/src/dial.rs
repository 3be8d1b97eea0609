//! Ringing at a callee, and what the callee does.

use proto::svaml::{ConnectMxp, ConnectPstn, ConnectSip, RecordingOptions};
use proto::{Kind, Svaml};

use crate::bodies::{Amd, AmdStatus, CallFacts, Notice};
use crate::call::Call;
use crate::report::{CallResult, Ending, Leg, Reason, What};
use crate::script::{Callee, Endpoint};

/// How long it rings when the answer does not say.
const RING_MAX_SECS: u32 = 60;
/// How soon a busy or unreachable callee is known.
pub(crate) const REJECTED_AFTER_MS: u64 = 1_000;
/// A cookie whose key begins so is a header of the SIP leg too.
const SIP_COOKIE: &str = "X-";
/// How long detection listens.
pub(crate) const DETECTION_SECS: u32 = 4;

/// An outbound leg to set up.
pub(crate) struct Dial {
    pub(crate) leg: Leg,
    pub(crate) route: Route,
    pub(crate) ring_max_secs: u32,
    pub(crate) max_secs: u32,
    pub(crate) suppress: bool,
    pub(crate) detection: Detection,
    pub(crate) tones: Option<String>,
    pub(crate) record: Option<RecordingOptions>,
}

/// Over what it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Pstn,
    Sip,
    /// In-app: no ACE.
    Mxp,
}

/// Answering machine detection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detection {
    Off,
    /// The ACE waits for the verdict.
    BeforeAce,
    /// The verdict is a notify.
    Meanwhile,
}

impl Dial {
    fn of(leg: Leg, route: Route, max_secs: Option<u32>) -> Self {
        Self {
            leg,
            route,
            ring_max_secs: RING_MAX_SECS,
            max_secs: max_secs.unwrap_or(u32::MAX),
            suppress: false,
            detection: Detection::Off,
            tones: None,
            record: None,
        }
    }

    /// Where the call would have gone had nobody interfered.
    pub(crate) fn as_dialled(to: &Endpoint) -> Self {
        let (to, route) = match to {
            Endpoint::Did(number) | Endpoint::Number(number) => (number, Route::Pstn),
            Endpoint::Username(user) => (user, Route::Mxp),
            Endpoint::Sip(address) => (address, Route::Sip),
        };
        Self::of(Leg { to: to.clone(), ..Leg::default() }, route, None)
    }

    pub(crate) fn pstn(connect: ConnectPstn, facts: &CallFacts) -> Self {
        let detection = match connect.amd {
            Some(amd) if amd.enabled && amd.asynchronous == Some(true) => Detection::Meanwhile,
            Some(amd) if amd.enabled => Detection::BeforeAce,
            Some(_) | None => Detection::Off,
        };
        let leg = Leg {
            to: connect.number.unwrap_or_else(|| dialled(&facts.to)),
            cli: connect.cli,
            ring_tone: connect.indications,
            ..Leg::default()
        };
        Self {
            ring_max_secs: connect.dial_timeout.unwrap_or(RING_MAX_SECS),
            suppress: connect.suppress_callbacks.unwrap_or(false),
            detection,
            tones: connect.dtmf,
            ..Self::of(leg, Route::Pstn, connect.max_duration)
        }
    }

    /// `moh` is what the caller would hear if the callee put the call on hold, which callees here do not.
    pub(crate) fn sip(connect: ConnectSip, facts: &CallFacts) -> Self {
        let mut headers = connect.call_headers;
        headers.extend(facts.cookies.iter().filter(|cookie| cookie.key.starts_with(SIP_COOKIE)).cloned());
        let leg = Leg {
            to: connect.destination.endpoint,
            cli: connect.cli,
            transport: Some(connect.transport.map_or_else(|| "UDP".to_owned(), |name| name.to_ascii_uppercase())),
            headers,
            ..Leg::default()
        };
        Self {
            suppress: connect.suppress_callbacks.unwrap_or(false),
            ..Self::of(leg, Route::Sip, connect.max_duration)
        }
    }

    /// The headers given stand in the place of the caller's, also in the DICE.
    pub(crate) fn mxp(connect: ConnectMxp, facts: &mut CallFacts) -> Self {
        if !connect.call_headers.is_empty() {
            facts.call_headers = connect.call_headers;
        }
        let leg = Leg {
            to: connect.destination.map_or_else(|| dialled(&facts.to), |destination| destination.endpoint),
            headers: facts.call_headers.clone(),
            ..Leg::default()
        };
        let record = connect.record.unwrap_or(false).then(|| connect.recording_options.unwrap_or_default());
        Self { record, ..Self::of(leg, Route::Mxp, None) }
    }
}

fn dialled(to: &Endpoint) -> String {
    match to {
        Endpoint::Did(text) | Endpoint::Number(text) | Endpoint::Username(text) | Endpoint::Sip(text) => text.clone(),
    }
}

impl Call<'_> {
    /// Rings, and asks with an ACE what to do once somebody answers.
    pub(crate) async fn dial(&mut self, dial: Dial) -> Result<Svaml, Ending> {
        self.suppressed = dial.suppress;
        self.ring(&dial)?;
        let answered_at_ms = self.line.at_ms();
        self.answered_by(&dial.leg.to);
        let amd = self.detect(dial.detection, dial.max_secs)?;
        self.connect(&dial.leg.to, answered_at_ms, dial.max_secs);
        if let Some(options) = dial.record {
            self.start_recording(Some(options)).await;
        }
        if let Some(tones) = dial.tones {
            self.tones(tones).await?;
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
        self.line.note(What::Ringing(dial.leg.clone()));
        self.line.lift_limits();
        let from_now = self.line.at_ms();
        let after = |secs: u32| from_now.saturating_add(u64::from(secs) * 1_000);
        self.line.limit(after(dial.ring_max_secs), dial.route.rang_out());
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
                Err(BUSY)
            }
            Callee::NoAnswer => self.line.pass(u64::MAX),
            Callee::Fails => {
                self.line.pass(REJECTED_AFTER_MS)?;
                Err(dial.route.unreachable())
            }
        }
    }

    /// What the ACE says of the detection. A call that ends before the verdict has `hangup` for one.
    fn detect(&mut self, detection: Detection, max_secs: u32) -> Result<Option<Amd>, Ending> {
        let listens_secs = DETECTION_SECS.min(self.script.hangup.after_secs).min(max_secs);
        let (status, reason) = told_apart(self.script.callee);
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
                let answered_at_ms = self.line.at_ms();
                self.later.add(answered_at_ms.saturating_add(listens_ms), Notice::Amd(verdict));
                if let (AmdStatus::Machine, Some(secs)) = (status, self.script.beep_after_secs) {
                    // A beep before the verdict is the verdict's.
                    let secs = secs.max(listens_secs);
                    let beep = Amd { status, reason: "beep", duration: secs };
                    self.later.add(answered_at_ms.saturating_add(u64::from(secs) * 1_000), Notice::AmdBeep(beep));
                }
                Ok(Some(Amd { status: AmdStatus::InProgress, reason: "n/a", duration: 0 }))
            }
        }
    }
}

/// What detection makes of whoever answers.
pub(crate) fn told_apart(callee: Callee) -> (AmdStatus, &'static str) {
    match callee {
        Callee::Machine { .. } => (AmdStatus::Machine, "longgreeting"),
        Callee::Answers { .. } => (AmdStatus::Human, "n/a"),
        Callee::Busy | Callee::NoAnswer | Callee::Fails => (AmdStatus::NotSure, "n/a"),
    }
}

pub(crate) const BUSY: Ending = Ending { result: CallResult::Busy, reason: Reason::NotApplicable };

impl Route {
    /// The documents give these two for `dialTimeout`.
    pub(crate) fn rang_out(self) -> Ending {
        match self {
            Self::Pstn | Self::Sip => Ending { result: CallResult::NoAnswer, reason: Reason::Timeout },
            Self::Mxp => Ending { result: CallResult::Busy, reason: Reason::NotApplicable },
        }
    }

    /// Nobody can be reached there.
    pub(crate) fn unreachable(self) -> Ending {
        let reason = if self == Self::Mxp { Reason::UserNotFound } else { Reason::Congestion };
        Ending { result: CallResult::Failed, reason }
    }
}
