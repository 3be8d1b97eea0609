//! Tokens by OAuth 2.0's client credentials: one for all who need the same, fetched again before it runs out, and once when
//! it is refused.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use outbound::{Method, Outbound, Request, check_url};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::session::Session;

/// Credentials that tokens are kept of.
const KEPT_MAX: usize = 4096;
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// It stands in a header.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Where the answer does not say how long it is good.
const GOOD_FOR_SECS: u32 = 300;
const GOOD_FOR_SECS_MAX: u32 = 24 * 3600;
/// It is fetched again so long before it runs out; at half its time if that is short.
const AHEAD_SECS: u32 = 60;
/// Whoever did not give one is not asked again for this long.
const FAILED_FOR: SignedDuration = SignedDuration::from_secs(5);

/// Who we are to whom gives tokens.
#[derive(Clone)]
pub(crate) struct Client {
    /// Name of the secret, which is used for nothing else and never again.
    pub name: String,
    pub token_url: String,
    pub id: String,
    pub secret: String,
    pub scope: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The tokens in use. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Arc<Mutex<HashMap<String, Arc<Slot>>>>);

/// A token, or why there is none for the moment.
pub(crate) type Given = Arc<Result<String, String>>;

type Slot = Session<Result<String, String>>;

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u32>,
}

impl Tokens {
    /// A token other than the one that was refused, if one was; or why there is none.
    pub(crate) async fn get(
        &self,
        outbound: &Outbound,
        client: &Client,
        refused: Option<&Given>,
        now: Timestamp,
    ) -> Given {
        let make = || async {
            let (token, good_for) = match fetch(outbound, client).await {
                Ok((token, good_for)) => (Ok(token), good_for),
                Err(why) => (Err(why), FAILED_FOR),
            };
            Ok((token, now.checked_add(good_for).unwrap_or(now)))
        };
        let Ok(given) = self.slot(&client.name).get::<_, Infallible>(refused, now, make).await;
        given
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX && !kept.contains_key(name) {
            kept.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(kept.entry(name.to_owned()).or_default())
    }
}

async fn fetch(outbound: &Outbound, client: &Client) -> Result<(String, SignedDuration), String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let url = check_url(&client.token_url).map_err(|error| format!("get a token: {error}"))?;
    let scope = client.scope.as_deref().map(|scope| format!("&scope={}", encoded(scope))).unwrap_or_default();
    let headers = [
        ("authorization", basic(&encoded(&client.id), &encoded(&client.secret))),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("accept", "application/json".to_owned()),
    ];
    let request = Request {
        method: Method::POST,
        url,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: Bytes::from(format!("grant_type=client_credentials{scope}")),
        timeout: ANSWERED_WITHIN,
        body_bytes_max: Some(ANSWER_BYTES_MAX),
    };
    let reply = outbound.send(request).await.map_err(|error| format!("get a token: {error}"))?;
    if reply.status != 200 {
        return Err(format!("get a token: it answers {}", reply.status));
    }
    let answer: Answer =
        serde_json::from_slice(&reply.body).map_err(|_| "get a token: the answer has none".to_owned())?;
    let token = answer.access_token;
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("get a token: what it gives cannot stand in a header".to_owned());
    }
    let secs = answer.expires_in.unwrap_or(GOOD_FOR_SECS).min(GOOD_FOR_SECS_MAX);
    Ok((token, SignedDuration::from_secs((secs - AHEAD_SECS.min(secs / 2)).into())))
}

/// The header of a user and his password (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
