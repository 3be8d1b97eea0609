//! Secrets: as they stand in the configuration, or in files of their own.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::NamedTempFile;

use super::fault::Fault;

/// Bytes of a token or secret we make ourselves.
const RANDOM_BYTES: usize = 32;

/// Where a secret stands.
#[derive(Clone)]
pub(crate) enum Secret {
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// One of two settings, `x` and `x_file`.
    pub(super) fn either(
        base: &Path,
        place: &str,
        text: Option<String>,
        file: Option<PathBuf>,
    ) -> Result<Option<Self>, Fault> {
        match (text, file) {
            (Some(_), Some(_)) => Err(Fault::setting(place, "it is given twice, as text and as a file", "keep one")),
            (Some(text), None) => Ok(Some(Self::Text(text))),
            (None, Some(file)) => Ok(Some(Self::File(base.join(file)))),
            (None, None) => Ok(None),
        }
    }

    /// The secret without blanks around it, or what is wrong and what to do.
    pub(crate) fn read(&self) -> Result<String, (String, String)> {
        let text = match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::File(path) => fs::read_to_string(path)
                .map_err(|cause| (format!("cannot read {}: {cause}", path.display()), "write the file".to_owned()))?
                .trim()
                .to_owned(),
        };
        if text.is_empty() { Err(("it is empty".to_owned(), "write the secret".to_owned())) } else { Ok(text) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// A new token: letters, digits, `-` and `_`.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn random_token() -> io::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random()?))
}

/// A new application secret, as the dashboard shows one.
///
/// # Errors
/// As [`random_token`].
pub(crate) fn random_secret() -> io::Result<String> {
    Ok(STANDARD.encode(random()?))
}

/// A new application key, in the form of Sinch's.
///
/// # Errors
/// As [`random_token`].
pub(crate) fn random_key() -> io::Result<String> {
    let hex: String = random()?.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

fn random() -> io::Result<[u8; RANDOM_BYTES]> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Writes a file only its owner can read, whole or not at all; one that exists stays as it is.
///
/// # Errors
/// When it exists, or cannot be written.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}
