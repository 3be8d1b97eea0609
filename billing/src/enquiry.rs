//! Asking the platform how a call ended: nobody told it, or it was told in two ways.
//!
//! What it says becomes an event, `asked`, and only that event moves money: whoever folds the log again comes to the
//! same end. A try that failed is no event until the time is up; then *nothing* is what was said.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use outbound::Platform;
use proto::asked::{Asked, Because, Said};
use proto::event::json;
use proto::signature::AppSecret;
use proto::{AppKey, AppName, CallId, Event, EventId, Kind, Partition, Subject};

/// The platform says something within this of the first try, or what was held is kept or freed without it.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Between two tries; longer each time.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Once it was given up, it is tried again so long after: an outage may be over, and the estimate can be corrected.
const LATER: [SignedDuration; 2] = [SignedDuration::from_mins(10), SignedDuration::from_hours(1)];

/// Whom to ask, and as whom.
#[derive(Debug)]
pub struct Enquiries {
    platform: Platform,
    apps: HashMap<AppName, (AppKey, AppSecret)>,
}

/// How far the asking about one call is.
#[derive(Debug, Default)]
pub(crate) struct Enquiry {
    /// A try is under way, or its answer is not read back from the log yet.
    asking: bool,
    /// When an answer was first wanted.
    wanted_since: Option<Timestamp>,
    tries: i32,
    not_before: Timestamp,
    /// How many of [`LATER`] are behind us.
    later: usize,
}

/// One try.
#[derive(Debug)]
pub(crate) struct Question {
    pub app: AppName,
    pub call: CallId,
    because: Because,
    /// The time is up already: there were too many calls to ask about.
    overdue: bool,
    /// Should it fail, the time is up.
    last: bool,
}

impl Enquiries {
    pub fn new(platform: Platform, apps: HashMap<AppName, (AppKey, AppSecret)>) -> Self {
        Self { platform, apps }
    }

    /// Asks once. `None` when nothing was said, and there is time for another try.
    pub(crate) async fn ask(&self, question: &Question, now: Timestamp) -> Option<Asked> {
        let because = question.because;
        let asked = |said| Asked { because, said, info: None, why: None };
        match self.told(question, now).await {
            Ok(Some(asked)) => Some(asked),
            Ok(None) => Some(asked(Said::NoSuchCall)),
            Err(why) if question.last => Some(Asked { why: Some(why), ..asked(Said::Nothing) }),
            Err(why) => {
                tracing::warn!(why, app = %question.app, "the platform is asked again how a call ended");
                None
            }
        }
    }

    async fn told(&self, question: &Question, now: Timestamp) -> Result<Option<Asked>, String> {
        if question.overdue {
            return Err("too many calls were to be asked about at once".to_owned());
        }
        let Some((key, secret)) = self.apps.get(&question.app) else {
            return Err(format!("the app {} is not in the configuration", question.app));
        };
        let told = self.platform.call(key, secret, &question.call, now).await.map_err(|error| error.to_string())?;
        let Some((info, words)) = told else { return Ok(None) };
        let said = if info.over { Said::Final } else { Said::Ongoing };
        let words = serde_json::from_slice(&words).map_err(|error| error.to_string())?;
        Ok(Some(Asked { because: question.because, said, info: Some(words), why: None }))
    }
}

impl Question {
    /// What was said, for the log.
    pub(crate) fn event(&self, asked: &Asked, now: Timestamp) -> Event {
        let Self { app, call, because, .. } = self;
        Event {
            id: EventId::of(&["asked", app.as_str(), call.as_str(), &json(because), &now.to_string()]),
            subject: Subject::Call { kind: Kind::Asked, app: app.clone(), partition: Partition::of(call) },
            about: call.to_string(),
            source: "billing".to_owned(),
            time: now,
            extra: Vec::new(),
            data: json(asked).into(),
        }
    }
}

impl Enquiry {
    /// The try that is due, if one is and there is `room` for it; it is under way then. `gave_up_at` is when nobody
    /// could say.
    pub(crate) fn begin(
        &mut self,
        (app, call): (&AppName, &CallId),
        because: Because,
        gave_up_at: Option<Timestamp>,
        now: Timestamp,
        room: bool,
    ) -> Option<Question> {
        let passed = |since| now.duration_since(since);
        let (overdue, last) = match gave_up_at {
            Some(gave_up_at) if passed(gave_up_at) < *LATER.get(self.later)? => return None,
            Some(_) => (false, false),
            None => {
                let wanted = passed(*self.wanted_since.get_or_insert(now));
                (wanted >= ASKED_WITHIN && self.tries == 0, wanted + AGAIN_AFTER * (self.tries + 1) >= ASKED_WITHIN)
            }
        };
        if self.asking || now < self.not_before || !room {
            return None;
        }
        self.asking = true;
        Some(Question { app: app.clone(), call: call.clone(), because, overdue, last })
    }

    /// The try came to nothing, or its answer did not come into the log.
    pub(crate) fn failed(&mut self, gave_up: bool, now: Timestamp) {
        self.asking = false;
        if gave_up {
            self.later += 1;
        } else {
            self.tries = (self.tries + 1).min(10);
            self.not_before = now.saturating_add(AGAIN_AFTER * self.tries).unwrap_or(now);
        }
    }

    /// The answer is in the log.
    pub(crate) fn answered(&mut self, gave_up: bool) {
        *self = Self { later: self.later + usize::from(gave_up), ..Self::default() };
    }

    /// Nobody will be asked again.
    pub(crate) fn over(&self) -> bool {
        self.later >= LATER.len()
    }
}
