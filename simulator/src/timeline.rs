//! The call's own time: it jumps from one happening to the next, and no further than what ends the call.

use crate::prompt::Heard;
use crate::report::{Ending, Step, What};

pub(crate) struct Timeline<'a> {
    at_ms: u64,
    /// What would end the call, and when.
    limits: Vec<(u64, Ending)>,
    /// What ends it whatever else is lifted.
    ceiling: Option<(u64, Ending)>,
    steps: Vec<Step>,
    on_step: &'a mut (dyn FnMut(&Step) + Send),
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(on_step: &'a mut (dyn FnMut(&Step) + Send)) -> Self {
        Self { at_ms: 0, limits: Vec::new(), ceiling: None, steps: Vec::new(), on_step }
    }

    pub(crate) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    pub(crate) fn note(&mut self, what: What) {
        let step = Step { at_ms: self.at_ms, what };
        (self.on_step)(&step);
        self.steps.push(step);
    }

    /// The call ends at this time at the latest.
    pub(crate) fn limit(&mut self, at_ms: u64, ending: Ending) {
        self.limits.push((at_ms, ending));
    }

    pub(crate) fn lift_limits(&mut self) {
        self.limits.clear();
    }

    /// The call ends at this time at the latest, and no new connection lifts that.
    pub(crate) fn ceiling(&mut self, at_ms: u64, ending: Ending) {
        self.ceiling.get_or_insert((at_ms, ending));
    }

    /// Nothing can end the call any more: it has ended.
    pub(crate) fn lift_all(&mut self) {
        self.lift_limits();
        self.ceiling = None;
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The ending, when the call ends before that; time then stands at the end.
    pub(crate) fn pass(&mut self, ms: u64) -> Result<(), Ending> {
        let target = self.at_ms.saturating_add(ms);
        match self.limits.iter().chain(&self.ceiling).min_by_key(|(at, _)| *at) {
            Some(&(at, ending)) if at <= target => {
                self.at_ms = at.max(self.at_ms);
                Err(ending)
            }
            Some(_) | None => {
                self.at_ms = target;
                Ok(())
            }
        }
    }

    /// Lets time pass up to a moment, which may be over already.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub(crate) fn pass_until(&mut self, at_ms: u64) -> Result<(), Ending> {
        self.pass(at_ms.saturating_sub(self.at_ms))
    }

    /// Plays a prompt to the caller, as far as the call lets it.
    pub(crate) fn hear(&mut self, heard: Heard) -> Result<(), Ending> {
        self.note(What::Heard { text: heard.text });
        self.pass(heard.length_ms)
    }

    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}
