//! Content hashes, by which revisions of policies and lists are named.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// SHA-256 over length-prefixed parts, so that no two lists of parts run together.
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        self.0.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The first eight bytes as a number.
    pub(crate) fn number(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(self.0.finalize());
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The first 12 digits.
    pub(crate) fn short(self) -> String {
        let mut text = self.hex();
        text.truncate(12);
        text
    }
}
