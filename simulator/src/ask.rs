//! Putting a callback to the callback server: copies, the fallback URL, and what counts as an answer.

use bytes::Bytes;
use proto::{Kind, Svaml};
use reqwest::Url;

use crate::bodies::Notice;
use crate::call::Call;
use crate::http::{NoReply, SignWith};
use crate::report::{Outcome, What};
use crate::rules;

/// Illegal SVAML.
pub(crate) const ILLEGAL_SVAML: u32 = 40_001;

/// Why there is nothing to obey.
pub(crate) enum Unanswered {
    /// Nothing came, or an error.
    Silence,
    /// SVAML that breaks the rules.
    Illegal,
}

impl Call<'_> {
    /// Asks for something that can be obeyed.
    pub(crate) async fn ask(&mut self, kind: Kind, body: Bytes) -> Option<Svaml> {
        self.put(kind, body, false).await.ok().flatten()
    }

    /// Tells what may be answered with SVAML, and as well with a plain 200.
    pub(crate) async fn ask_or_tell(&mut self, kind: Kind, body: Bytes) -> Result<Option<Svaml>, Unanswered> {
        self.put(kind, body, true).await
    }

    /// Asks the primary URL, then the fallback.
    async fn put(&mut self, kind: Kind, body: Bytes, plain_will_do: bool) -> Result<Option<Svaml>, Unanswered> {
        self.catch_up().await;
        let mut illegal = None;
        for url in self.urls(true) {
            let Outcome::Replied { status, body } = self.deliver(kind, &url, body.clone()).await else { continue };
            if !(200..300).contains(&status) {
                continue;
            }
            if plain_will_do && rules::says_nothing(&body) {
                return Ok(None);
            }
            match self.facts.read(kind, &body) {
                Ok(svaml) => {
                    self.line.note(What::Answer { svaml: svaml.clone() });
                    return Ok(Some(svaml));
                }
                Err(why) => {
                    self.line.note(What::BadAnswer { why: why.clone() });
                    illegal = Some(why);
                }
            }
        }
        let Some(message) = illegal else { return Err(Unanswered::Silence) };
        self.notify(&Notice::CallingError { code: ILLEGAL_SVAML, message }).await;
        Err(Unanswered::Illegal)
    }

    /// Sends what needs no answer but a 200.
    pub(crate) async fn tell(&mut self, kind: Kind, body: Bytes) {
        // A notify that is not taken is discarded; only other callbacks have a second URL.
        for url in self.urls(kind != Kind::Notify) {
            if let Outcome::Replied { status: 200..300, .. } = self.deliver(kind, &url, body.clone()).await {
                return;
            }
        }
    }

    pub(crate) async fn notify(&mut self, notice: &Notice) {
        self.tell(Kind::Notify, self.facts.notify(notice)).await;
    }

    fn urls(&self, with_fallback: bool) -> Vec<Url> {
        self.exchange.callback_urls().in_turn(with_fallback)
    }

    /// One callback, with its copies if the script wants any. What comes back first counts.
    async fn deliver(&mut self, kind: Kind, url: &Url, body: Bytes) -> Outcome {
        let first = self.deliver_once(kind, url, body.clone(), 0).await;
        for copy in 1..=self.script.duplicate {
            self.deliver_once(kind, url, body.clone(), copy).await;
        }
        first
    }

    async fn deliver_once(&mut self, kind: Kind, url: &Url, body: Bytes, copy: u32) -> Outcome {
        let sent_at = (self.exchange.now)();
        let reply = match self.script.lost.contains(&kind) {
            true => Err(NoReply::Timeout),
            false => self.exchange.http.post(url, body.clone(), &SignWith::default()).await,
        };
        let latency = (self.exchange.now)().duration_since(sent_at);
        let outcome = match reply {
            Ok(reply) => Outcome::Replied { status: reply.status, body: text(&reply.body) },
            Err(error) => Outcome::Failed { why: error.to_string() },
        };
        self.line.note(What::Callback {
            kind,
            url: url.to_string(),
            copy,
            body: text(&body),
            latency_micros: latency.as_micros().try_into().unwrap_or_default(),
            outcome: outcome.clone(),
        });
        outcome
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
