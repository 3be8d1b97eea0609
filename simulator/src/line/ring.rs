//! Ringing at whoever is called, and what they do.

use proto::svaml::Action;
use proto::{Kind, Svaml};

use super::{Interrupted, Line};
use crate::bodies::{Amd, AmdStatus, Notice};
use crate::call::CALL_MAX_SECS;
use crate::callout::Joined;
use crate::dial::{self, BUSY, DETECTION_SECS, Detection, Dial, REJECTED_AFTER_MS, Route};
use crate::lines::Place;
use crate::recording::Recording;
use crate::report::{CallResult, Ending, Reason, What};
use crate::script::{Callee, Endpoint};

impl Line {
    /// Calls whom the callout names.
    pub(super) async fn call_destination(&mut self) -> Result<Svaml, Interrupted> {
        let mut dial = Dial::as_dialled(&self.facts.to);
        if !self.callout.cli.is_empty() {
            dial.leg.cli = Some(self.callout.cli.clone());
        } else if dial.route == Route::Pstn {
            // It is taken, answered with an id, and never rings.
            self.pass(u64::from(CALL_MAX_SECS) * 1_000).await?;
            return Err(Ending { result: CallResult::NoAnswer, reason: Reason::Timeout }.into());
        }
        dial.tones = self.callout.dtmf.clone();
        self.dial(dial).await
    }

    /// Rings, and asks with an ACE what to do once somebody answers.
    pub(super) async fn dial(&mut self, dial: Dial) -> Result<Svaml, Interrupted> {
        self.suppressed = dial.suppress;
        self.callee = self.lines().script(&dial.leg.to);
        self.inputs = self.callee.inputs.clone().into();
        self.facts.to = match dial.route {
            Route::Pstn => Endpoint::Number(dial.leg.to.clone()),
            Route::Sip => Endpoint::Sip(dial.leg.to.clone()),
            Route::Mxp => Endpoint::Username(dial.leg.to.clone()),
        };
        self.platform.began(&self.facts, self.began_at);
        self.ring(&dial).await?;
        self.answered(&dial);
        let amd = self.detect(dial.detection).await?;
        if let Some(options) = dial.record {
            self.note(What::RecordingStarted);
            self.recording = Some(Recording::new(Some(options), self.now()));
        }
        if let Some(tones) = dial.tones {
            self.tones(tones).await?;
        }
        let go_on = || Svaml::only(Action::Continue);
        if dial.route == Route::Mxp || dial.suppress {
            return Ok(go_on());
        }
        // Without an answer the call is connected anyway.
        let answer = self.ask(Kind::Ace, self.facts.ace(self.now(), amd)).await;
        Ok(answer.unwrap_or_default().unwrap_or_else(go_on))
    }

    async fn ring(&mut self, dial: &Dial) -> Result<(), Interrupted> {
        self.moved(Place::Ringing);
        self.note(What::Ringing(dial.leg.clone()));
        self.limits = vec![(self.after(dial.ring_max_secs), dial.route.rang_out())];
        match self.callee.callee {
            Callee::Answers { after_secs } | Callee::Machine { after_secs } => {
                self.pass(u64::from(after_secs) * 1_000).await
            }
            Callee::NoAnswer => self.pass(u64::MAX).await,
            Callee::Busy => {
                self.pass(REJECTED_AFTER_MS).await?;
                Err(BUSY.into())
            }
            Callee::Fails => {
                self.pass(REJECTED_AFTER_MS).await?;
                Err(dial.route.unreachable().into())
            }
        }
    }

    /// From here on whoever was called may hang up, and the call lasts so long at most.
    fn answered(&mut self, dial: &Dial) {
        self.note(What::Answered { by: dial.leg.to.clone() });
        if self.answered_at_ms.is_none() {
            self.answered_at_ms = Some(self.at_ms);
            let max_secs = self.callout.max_secs.unwrap_or(CALL_MAX_SECS);
            self.ceiling = Some((self.after(max_secs), self.ending(Reason::Timeout)));
        }
        self.limits = vec![
            (self.after(self.callee.talks_secs), self.ending(Reason::CalleeHangup)),
            (self.after(dial.max_secs.min(CALL_MAX_SECS)), self.ending(Reason::Timeout)),
        ];
        // What the callout is for, whoever answers first gets.
        self.stay = std::mem::replace(&mut self.callout.joins, Joined::Nothing).stay();
        self.moved(Place::Connected);
    }

    /// What the ACE says of the detection.
    async fn detect(&mut self, detection: Detection) -> Result<Option<Amd>, Interrupted> {
        let (status, reason) = dial::told_apart(self.callee.callee);
        let verdict = Amd { status, reason, duration: DETECTION_SECS };
        let listens_ms = u64::from(DETECTION_SECS) * 1_000;
        match detection {
            Detection::Off => Ok(None),
            Detection::BeforeAce => {
                self.pass(listens_ms).await?;
                Ok(Some(verdict))
            }
            Detection::Meanwhile => {
                self.later.add(self.at_ms.saturating_add(listens_ms), Notice::Amd(verdict));
                Ok(Some(Amd { status: AmdStatus::InProgress, reason: "n/a", duration: 0 }))
            }
        }
    }
}
