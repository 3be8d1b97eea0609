//! What a template may name, and what it stands for.

use std::borrow::Cow;

use proto::{CallFacts, Moment, Side};

macro_rules! names {
    ($($variant:ident $text:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Name {
            $($variant,)*
        }

        impl Name {
            const ALL: [Self; NAMES.len()] = [$(Self::$variant,)*];

            pub(super) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        /// All names, as templates write them.
        pub(super) const NAMES: &[&str] = &[$($text,)*];
    };
}

names! {
    Caller "caller",
    Callee "callee",
    CallId "call_id",
    Event "event",
    Status "status",
    Direction "direction",
    StartedAt "started_at",
    AnsweredAt "answered_at",
    EndedAt "ended_at",
    Duration "duration",
    BilledSeconds "billed_seconds",
    Cost "cost",
    Currency "currency",
    Reason "reason",
    Result "result",
    Custom "custom",
    RecordingUrl "recording_url",
    Leg "leg",
}

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }
}

/// What is told: a moment of a call.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    pub call: &'a str,
    pub moment: Moment,
    pub facts: &'a CallFacts,
}

impl Scene<'_> {
    /// Empty where it is not known (yet). Times are RFC 3339 in UTC, durations whole seconds.
    pub(super) fn value(&self, name: Name) -> Cow<'_, str> {
        fn text(value: Option<&impl ToString>) -> Cow<'static, str> {
            value.map(ToString::to_string).unwrap_or_default().into()
        }
        let facts = self.facts;
        match name {
            Name::Caller => facts.caller.as_str().into(),
            Name::Callee => facts.callee.as_str().into(),
            Name::CallId => self.call.into(),
            Name::Event => self.moment.as_str().into(),
            Name::Status => facts.status.as_str().into(),
            Name::Direction => facts.direction.as_str().into(),
            Name::StartedAt => text(facts.started_at.as_ref()),
            Name::AnsweredAt => text(facts.answered_at.as_ref()),
            Name::EndedAt => text(facts.ended_at.as_ref()),
            Name::Duration => text(facts.duration_secs.as_ref()),
            Name::BilledSeconds => text(facts.billed_secs.as_ref()),
            Name::Cost => text(facts.cost.as_ref()),
            Name::Currency => text(facts.currency.as_ref()),
            Name::Reason => text(facts.reason.as_ref()),
            Name::Result => text(facts.result.as_ref()),
            Name::Custom => facts.custom.as_str().into(),
            Name::RecordingUrl => text(facts.recording_url.as_ref()),
            Name::Leg => match facts.leg {
                Some(Side::From) => "from".into(),
                Some(Side::To) => "to".into(),
                None => "".into(),
            },
        }
    }
}
