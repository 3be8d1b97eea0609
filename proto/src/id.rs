//! Names and derived ids. An id is computed from what it identifies, so a retry is the same id.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::kind::Kind;
use crate::placed::LegOf;

/// A name that may not stand where it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub struct BadName {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("$comment" = $rule))]
        pub struct $name(String);

        impl $name {
            /// The only door: checks the rule of the type.
            ///
            /// # Errors
            /// When the text breaks the rule, which the error states.
            pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(BadName { what: $what, text: text.chars().take(80).collect(), rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The platform's id of a call: opaque text, one for all callbacks of a call.
    CallId, "call id", "1 to 256 bytes without control characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

name!(
    /// The application key under which Sinch signs (usually a GUID, compared without regard to case).
    AppKey, "application key", "1 to 128 visible ASCII characters without ':'",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
);

name!(
    /// Our own short name of an application, as it stands in the configuration and in subjects.
    AppName, "app name", "1 to 64 letters, digits, '-' or '_'",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

name!(
    /// Who pays.
    WalletId, "wallet", "1 to 128 bytes without control characters, braces or blanks at the ends",
    |text| (1..=128).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || c == '{' || c == '}')
);

name!(
    /// A list that policies ask with `x in lists.<name>`.
    ListName, "list", "1 to 64 letters, digits or '_', beginning with a letter",
    |text| text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
);

name!(
    /// A price list, as apps call it.
    DeckName, "name of a price list", "1 to 64 letters, digits, '-' or '_'",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

name!(
    /// A callback profile: a region and a random UUID.
    ProfileId, "id of a callback profile", "a region of 2 to 8 capital letters, '_' and a UUID: SG_8b1d…",
    |text| text.split_once('_').is_some_and(|(region, uuid)| {
        (2..=8).contains(&region.len())
            && region.bytes().all(|b| b.is_ascii_uppercase())
            && uuid.len() == 36
            && uuid.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            })
    })
);

name!(
    /// Whom events are delivered to, as operators call it.
    DestinationName, "name of a destination", "1 to 64 letters, digits, '-' or '_'",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

impl AppKey {
    /// The form under which keys are compared.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    Ok(Self(text))
                } else {
                    Err(BadName {
                        what: stringify!($name),
                        text: text.chars().take(80).collect(),
                        rule: "64 lower-case hexadecimal digits",
                    })
                }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

digest!(
    /// `ce-id` of an event, also its `Nats-Msg-Id`: the same event always has the same id.
    EventId
);

digest!(
    /// What one decision is about: (app, call, kind), plus Sinch's timestamp for ACE and PIE and the menu result for
    /// PIE. The same key gets the same answer.
    DecisionKey
);

/// One authorised stretch of a call, named by the decision key of the callback that authorised it.
pub type Leg = DecisionKey;

impl EventId {
    /// Id of a received callback: app key and raw body. Path and `x-timestamp` stay out, so that the same callback at a
    /// second ingress is the same event.
    pub fn of_callback(key: &AppKey, body: &[u8]) -> Self {
        Self(hex_digest(&[key.folded().as_bytes(), body]))
    }

    /// Id of a decision: its key and the bytes of the answer. Two different answers that both left are two events.
    pub fn of_decided(key: &DecisionKey, answer: &[u8]) -> Self {
        Self(hex_digest(&[b"decided", key.as_str().as_bytes(), &Sha256::digest(answer)]))
    }

    /// Id of an event we make ourselves, from the parts that name it.
    pub fn of(parts: &[&str]) -> Self {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        Self(hex_digest(&parts))
    }
}

impl DecisionKey {
    /// `timestamp` is Sinch's own, as text (ACE, PIE); `menu_result` the raw JSON of `menuResult` (PIE).
    pub fn of(app: &AppName, call: &CallId, kind: Kind, timestamp: &str, menu_result: &[u8]) -> Self {
        let (timestamp, menu_result) = match kind {
            Kind::Ace => (timestamp, &[][..]),
            Kind::Pie => (timestamp, menu_result),
            Kind::Ice
            | Kind::Dice
            | Kind::Notify
            | Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => ("", &[][..]),
        };
        Self(hex_digest(&[
            b"decision",
            app.as_str().as_bytes(),
            call.as_str().as_bytes(),
            kind.as_str().as_bytes(),
            timestamp.as_bytes(),
            &Sha256::digest(menu_result),
        ]))
    }
}

impl DecisionKey {
    /// Names a leg of a call that we place, which no callback authorises.
    pub fn of_placed(app: &AppName, of: &LegOf) -> Self {
        let LegOf { call, side, attempt } = of;
        Self(hex_digest(&[
            b"placed",
            app.as_str().as_bytes(),
            call.as_str().as_bytes(),
            side.as_str().as_bytes(),
            &[*attempt],
        ]))
    }

    /// The digest itself, for whoever keeps many.
    pub fn to_bytes(&self) -> [u8; 32] {
        let digit = |byte: u8| if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(self.0.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(hex(bytes))
    }

    /// Where a decision is remembered under its key, for whoever shares the memory.
    pub fn memory_key(&self) -> String {
        format!("decision:{self}")
    }
}

/// SHA-256 over length-prefixed parts, so that no two lists of parts run together.
fn hex_digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}
