//! How Sinch signs a callback, and how we tell.
//!
//! ```text
//! Authorization: application <key>:<signature>
//! signature    = base64(HMAC-SHA256(base64-decode(secret), string))
//! string       = METHOD \n Content-MD5 \n Content-Type \n x-timestamp:<value> \n Path
//! ```

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::id::AppKey;

/// Secrets are pasted from dashboards: with or without padding.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An application secret, kept as a ready key schedule (deriving it per callback would cost a third of the check).
#[derive(Clone)]
pub struct AppSecret(Hmac<Sha256>);

/// A secret that is not base64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the application secret is not base64: copy it from the dashboard as it stands")]
pub struct BadSecret;

impl AppSecret {
    /// # Errors
    /// When the text is not base64, or empty.
    pub fn from_base64(text: &str) -> Result<Self, BadSecret> {
        let key = FORGIVING.decode(text.trim()).map_err(|_| BadSecret)?;
        if key.is_empty() {
            return Err(BadSecret);
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| BadSecret)
    }

    /// The signature of a request, base64.
    pub fn sign(&self, request: &SignedParts<'_>) -> String {
        STANDARD.encode(self.mac(request).finalize().into_bytes())
    }

    /// Compares in constant time.
    fn verifies(&self, request: &SignedParts<'_>, signature: &[u8]) -> bool {
        self.mac(request).verify_slice(signature).is_ok()
    }

    fn mac(&self, request: &SignedParts<'_>) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(request.method.as_bytes());
        mac.update(b"\n");
        if !request.body.is_empty() {
            mac.update(STANDARD.encode(Md5::digest(request.body)).as_bytes());
        }
        mac.update(b"\n");
        mac.update(request.content_type);
        mac.update(b"\nx-timestamp:");
        mac.update(request.timestamp);
        mac.update(b"\n");
        mac.update(request.path.as_bytes());
        mac
    }
}

impl fmt::Debug for AppSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppSecret(…)")
    }
}

/// What a signature covers: everything exactly as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct SignedParts<'a> {
    pub method: &'a str,
    pub content_type: &'a [u8],
    /// Value of the `x-timestamp` header.
    pub timestamp: &'a [u8],
    /// Undecoded, without the query.
    pub path: &'a str,
    pub body: &'a [u8],
}

/// The `Authorization` header of a signed request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    pub key: AppKey,
    pub signature: Vec<u8>,
}

impl Authorization {
    /// Reads `application <key>:<signature>`; the scheme word in any case.
    ///
    /// # Errors
    /// [`Refused::Scheme`] for anything else.
    pub fn parse(header: &str) -> Result<Self, Refused> {
        let (scheme, credentials) = header.trim().split_once(' ').ok_or(Refused::Scheme)?;
        if !scheme.eq_ignore_ascii_case("application") {
            return Err(Refused::Scheme);
        }
        let (key, signature) = credentials.trim().split_once(':').ok_or(Refused::Scheme)?;
        Ok(Self {
            key: AppKey::new(key).map_err(|_| Refused::Scheme)?,
            signature: STANDARD.decode(signature).map_err(|_| Refused::Signature)?,
        })
    }

    /// The header value for a request we sign ourselves.
    pub fn header(key: &AppKey, signature: &str) -> String {
        format!("application {key}:{signature}")
    }
}

/// Why a request did not pass the door. The caller hears only 401; the list of rejected callbacks keeps the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    #[error("the Authorization header is missing")]
    NoAuthorization,
    #[error("the Authorization header is not \"application <key>:<signature>\"")]
    Scheme,
    #[error("the application key is not one of ours: is the app in the configuration?")]
    UnknownKey,
    #[error("the x-timestamp header is missing")]
    NoTimestamp,
    #[error("the x-timestamp header is not an ISO 8601 time")]
    BadTimestamp,
    #[error("the signature does not match: wrong secret, or a proxy changed body, content type or path")]
    Signature,
    #[error("the x-timestamp is too far from our clock: an old recording, or a clock that is wrong")]
    Age,
    #[error("the applicationKey of the body is not the one that signed it")]
    WrongApp,
}

impl Refused {
    /// Short and stable, for metrics and lists.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoAuthorization => "no_authorization",
            Self::Scheme => "scheme",
            Self::UnknownKey => "unknown_key",
            Self::NoTimestamp => "no_timestamp",
            Self::BadTimestamp => "bad_timestamp",
            Self::Signature => "signature",
            Self::Age => "age",
            Self::WrongApp => "wrong_app",
        }
    }
}

/// Bytes that passed the door. Only these can be read as a callback.
#[derive(Debug, Clone)]
pub struct Verified(Bytes);

impl Verified {
    /// Checks signature, then age. Nothing of the body is parsed before.
    ///
    /// `secrets` are the app's current and former ones. `max_age` bounds the distance of `x-timestamp` from `now`,
    /// either way; Sinch gives no number, so it is the server's own policy.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        body: Bytes,
        request: &SignedParts<'_>,
        authorization: &Authorization,
        secrets: &[AppSecret],
        now: Timestamp,
        max_age: Option<SignedDuration>,
    ) -> Result<Self, Refused> {
        let parts = SignedParts { body: &body, ..*request };
        if !secrets.iter().any(|secret| secret.verifies(&parts, &authorization.signature)) {
            return Err(Refused::Signature);
        }
        if let Some(max_age) = max_age {
            let at = std::str::from_utf8(request.timestamp).ok().and_then(|text| text.parse::<Timestamp>().ok());
            if now.duration_since(at.ok_or(Refused::BadTimestamp)?).abs() > max_age {
                return Err(Refused::Age);
            }
        }
        Ok(Self(body))
    }

    /// Lets bytes pass without a check: where the configuration says so, and for what the log already holds.
    pub fn unchecked(body: Bytes) -> Self {
        Self(body)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(secret: &str, method: &str, content_type: &str, timestamp: &str, path: &str, body: &str) -> String {
        AppSecret::from_base64(secret).expect("secret").sign(&SignedParts {
            method,
            content_type: content_type.as_bytes(),
            timestamp: timestamp.as_bytes(),
            path,
            body: body.as_bytes(),
        })
    }

    /// The worked examples of Sinch's documents and SDK tests, recomputed elsewhere.
    #[test]
    fn worked_examples() {
        let body = r#"{"event":"ace","callid":"822aa4b7-05b4-4d83-87c7-1f835ee0b6f6_257","timestamp":"2014-09-24T10:59:41Z","version":1}"#;
        assert_eq!(
            signature(
                "BeIukql3pTKJ8RGL5zo0DA==",
                "POST",
                "application/json",
                "2014-09-24T10:59:41Z",
                "/sinch/callback/ace",
                body
            ),
            "Tg6fMyo8mj9pYfWQ9ssbx3Tc1BNC87IEygAfLbJqZb4="
        );
        assert_eq!(
            signature(
                "JViE5vDor0Sw3WllZka15Q==",
                "POST",
                "application/json",
                "2014-06-04T13:41:58Z",
                "/v1/sms/+46700000000",
                r#"{"message":"Hello world"}"#
            ),
            "qDXMwzfaxCRS849c/2R0hg0nphgdHciTo7OdM6MsdnM="
        );
    }

    fn authorization(signature: &str) -> Authorization {
        Authorization::parse(&format!("Application some-key:{signature}")).expect("header")
    }

    #[test]
    fn one_changed_byte_anywhere_is_refused() {
        let secret = AppSecret::from_base64("BeIukql3pTKJ8RGL5zo0DA==").expect("secret");
        let other = AppSecret::from_base64("JViE5vDor0Sw3WllZka15Q==").expect("secret");
        let now: Timestamp = "2014-09-24T11:00:00Z".parse().expect("time");
        let good = SignedParts {
            method: "POST",
            content_type: b"application/json",
            timestamp: b"2014-09-24T10:59:41Z",
            path: "/p",
            body: b"{}",
        };
        let signed = authorization(&secret.sign(&good));
        let check = |parts: &SignedParts<'_>, secrets: &[AppSecret]| {
            Verified::check(
                Bytes::copy_from_slice(parts.body),
                parts,
                &signed,
                secrets,
                now,
                Some(SignedDuration::from_mins(5)),
            )
            .err()
        };
        assert_eq!(check(&good, std::slice::from_ref(&secret)), None);
        assert_eq!(check(&good, &[other.clone(), secret.clone()]), None, "a former secret still passes");
        for bad in [
            SignedParts { method: "PUT", ..good },
            SignedParts { content_type: b"application/json; charset=utf-8", ..good },
            SignedParts { timestamp: b"2014-09-24T10:59:42Z", ..good },
            SignedParts { path: "/p/", ..good },
            SignedParts { body: b"{ }", ..good },
        ] {
            assert_eq!(check(&bad, std::slice::from_ref(&secret)), Some(Refused::Signature));
        }
        assert_eq!(check(&good, &[other]), Some(Refused::Signature));
    }

    #[test]
    fn age_counts_both_ways_and_only_after_the_signature() {
        let secret = [AppSecret::from_base64("c2VjcmV0").expect("secret")];
        let check = |timestamp: &str, now: &str| {
            let parts = SignedParts {
                method: "POST",
                content_type: b"",
                timestamp: timestamp.as_bytes(),
                path: "/",
                body: b"{}",
            };
            let signed = authorization(&secret[0].sign(&parts));
            Verified::check(
                Bytes::from_static(b"{}"),
                &parts,
                &signed,
                &secret,
                now.parse().expect("time"),
                Some(SignedDuration::from_mins(5)),
            )
            .err()
        };
        assert_eq!(check("2024-01-01T12:00:00.1234567Z", "2024-01-01T12:05:00Z"), None);
        assert_eq!(check("2024-01-01T12:00:00Z", "2024-01-01T12:05:01Z"), Some(Refused::Age));
        assert_eq!(check("2024-01-01T12:05:01Z", "2024-01-01T12:00:00Z"), Some(Refused::Age));
        assert_eq!(check("yesterday", "2024-01-01T12:00:00Z"), Some(Refused::BadTimestamp));
    }

    #[test]
    fn headers_in_every_odd_form() {
        assert_eq!(Authorization::parse("APPLICATION k:AAAA").expect("read").key.as_str(), "k");
        for header in
            ["", "application", "application k", "Basic a2V5OnNlY3JldA==", "application :AAAA", "bearer k:AAAA"]
        {
            assert_eq!(Authorization::parse(header), Err(Refused::Scheme), "{header:?}");
        }
        assert_eq!(Authorization::parse("application k:***"), Err(Refused::Signature));
    }
}
