//! Putting the callbacks of a placed call, to whom the callout names for each.

use bytes::Bytes;
use proto::{Kind, Svaml};
use reqwest::Url;

use super::Line;
use crate::ask::{ILLEGAL_SVAML, Unanswered};
use crate::bodies::Notice;
use crate::callout::Asked;
use crate::http::SignWith;
use crate::report::What;
use crate::script::Endpoint;

impl Line {
    /// Asks for something that can be obeyed; `None` where nobody is to be asked.
    pub(super) async fn ask(&mut self, kind: Kind, body: Bytes) -> Result<Option<Svaml>, Unanswered> {
        if let Asked::Inline(svaml) = self.asked(kind) {
            let svaml = Svaml::clone(svaml);
            self.note(What::Answer { svaml: svaml.clone() });
            return Ok(Some(svaml));
        }
        let urls = self.urls(kind);
        if urls.is_empty() {
            return Ok(None);
        }
        let mut illegal = None;
        for url in urls {
            let Some(answer) = self.put(&url, body.clone()).await else { continue };
            match self.facts.read(kind, &String::from_utf8_lossy(&answer)) {
                Ok(svaml) => {
                    self.note(What::Answer { svaml: svaml.clone() });
                    return Ok(Some(svaml));
                }
                Err(why) => {
                    self.note(What::BadAnswer { why: why.clone() });
                    illegal = Some(why);
                }
            }
        }
        let Some(message) = illegal else { return Err(Unanswered::Silence) };
        self.tell(Kind::Notify, self.facts.notify(&Notice::CallingError { code: ILLEGAL_SVAML, message })).await;
        Err(Unanswered::Illegal)
    }

    /// Sends what needs no answer but a 200.
    pub(super) async fn tell(&self, kind: Kind, body: Bytes) {
        for url in self.urls(kind) {
            if self.put(&url, body.clone()).await.is_some() {
                return;
            }
        }
    }

    /// Tells what comes due when the call is over, each in its time.
    pub(super) async fn tell_rest(&mut self) {
        while let Some((due_ms, notice)) = self.later.next_until(u64::MAX) {
            // Nobody can order anything any more, so the time passes.
            let pause_ms = u32::try_from(due_ms.saturating_sub(self.at_ms)).unwrap_or(u32::MAX);
            tokio::time::sleep(self.second * pause_ms / 1_000).await;
            self.at_ms = due_ms.max(self.at_ms);
            self.tell(Kind::Notify, self.facts.notify(&notice)).await;
        }
    }

    /// Of a call to a user of an app nothing is asked or told once it rings.
    fn asked(&self, kind: Kind) -> &Asked {
        match (kind, &self.facts.to) {
            (Kind::Ice, _) => &self.callout.ice,
            (Kind::Ace | Kind::Pie | Kind::Dice, Endpoint::Username(_)) => &Asked::Nobody,
            (Kind::Ace, _) => &self.callout.ace,
            (Kind::Pie, _) => &self.callout.pie,
            (Kind::Dice, _) => &self.callout.dice,
            (
                Kind::Notify
                | Kind::Unknown
                | Kind::Decided
                | Kind::Emitted
                | Kind::Asked
                | Kind::Placed
                | Kind::Dialled
                | Kind::Progressed
                | Kind::Settled,
                _,
            ) => &Asked::Application,
        }
    }

    /// The URLs to be tried in turn. A notify that is not taken is discarded, and a URL of its own has no other.
    fn urls(&self, kind: Kind) -> Vec<Url> {
        match self.asked(kind) {
            Asked::Nobody | Asked::Inline(_) => Vec::new(),
            Asked::At(url) => vec![url.clone()],
            Asked::Application => self.platform.exchange().callback_urls().in_turn(kind != Kind::Notify),
        }
    }

    async fn put(&self, url: &Url, body: Bytes) -> Option<Bytes> {
        let reply = self.platform.exchange().http.post(url, body, &SignWith::default()).await.ok()?;
        (200..300).contains(&reply.status).then_some(reply.body)
    }
}
