//! The one secret of the API.

use std::fmt;

use sha2::{Digest, Sha256};

/// Shorter ones can be guessed.
const CHARS_MIN: usize = 16;

/// A bearer token, kept as its digest: a comparison of digests takes the same time for every guess of every length.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// Text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API token is not {CHARS_MIN} or more visible ASCII characters")]
pub struct BadToken;

impl Token {
    /// # Errors
    /// When it is shorter than 16 characters, or could not stand in a header.
    pub fn new(text: &str) -> Result<Self, BadToken> {
        if text.len() >= CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(Sha256::digest(text).into()))
        } else {
            Err(BadToken)
        }
    }

    pub(crate) fn admits(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.iter().zip(presented).fold(0, |differing, (ours, theirs)| differing | (ours ^ theirs)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_only_itself() {
        let token = Token::new("0123456789abcdef").expect("token");
        assert!(token.admits("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef "] {
            assert!(!token.admits(other), "{other:?}");
        }
        assert_eq!(Token::new("short").err(), Some(BadToken));
        assert_eq!(Token::new("0123456789 abcdef").err(), Some(BadToken));
    }
}
