//! Signatures as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.content`, with secrets written `whsec_…`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use outbound::{Method, Request};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// What the standard allows.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Of a secret made here.
const BYTES_MADE: usize = 32;

/// One secret both ends know.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

/// Not a secret of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and base64 of 24 to 64 bytes; leave it out and one is made")]
pub struct BadSecret;

impl SigningSecret {
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; BYTES_MADE];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let bytes = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        bytes.filter(|bytes| BYTES.contains(&bytes.len())).map(Self).ok_or(BadSecret)
    }

    /// As the receiver is told it, once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// One word of the header `webhook-signature`.
    fn sign(&self, id: &str, timestamp_secs: i64, content: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key");
        mac.update(format!("{id}.{timestamp_secs}.").as_bytes());
        mac.update(content);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Signs a request as it is, at a time: a POST by its body; a GET, which has none, by what it asks for. `id` is the
/// delivery's, the same on every attempt.
pub(crate) fn sign<'a>(
    request: &mut Request,
    keys: impl Iterator<Item = &'a SigningSecret>,
    id: &str,
    attempt: u32,
    now: Timestamp,
) {
    let timestamp_secs = now.as_second();
    let content = if request.method == Method::GET {
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Bytes::from(format!("GET {}{query}", request.url.path()))
    } else {
        request.body.clone()
    };
    let signatures: Vec<String> = keys.map(|key| key.sign(id, timestamp_secs, &content)).collect();
    let mut say = |name: &str, value: String| request.headers.push((name.to_owned(), value));
    say("webhook-id", id.to_owned());
    say("webhook-timestamp", timestamp_secs.to_string());
    say("webhook-attempt", attempt.to_string());
    if !signatures.is_empty() {
        say("webhook-signature", signatures.join(" "));
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_standard_says() {
        // The example of standardwebhooks.com, as its libraries test it.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(SigningSecret::parse(&secret.reveal()), Ok(secret));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%"] {
            assert_eq!(SigningSecret::parse(text), Err(BadSecret), "{text}");
        }
    }
}
