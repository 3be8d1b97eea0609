//! Decimals as sheets write them: `1,234.5`, `1.234,5`, `0,02`. One file writes them one way; what could be read both
//! ways is refused.

use std::borrow::Cow;

/// What stands before the decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decimals {
    /// Our own files: a point, and nothing between thousands.
    Plain,
    Point,
    Comma,
    /// Nothing in the file tells. A point is one.
    Untold,
}

/// Why text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The file writes its decimals otherwise.
    Otherwise,
    /// `1,234` in a file that does not tell.
    Untold,
}

impl Decimals {
    /// What one number tells about its file; `None` for `12`, `1,234` and `1.234`.
    pub(super) fn told_by(text: &str) -> Option<Self> {
        let last = text.rfind(['.', ','])?;
        let (whole, separator) = (text.get(..last)?, text.get(last..last.saturating_add(1))?);
        let (this, other) = if separator == "," { (Self::Comma, Self::Point) } else { (Self::Point, Self::Comma) };
        if whole.contains(separator) {
            return Some(other);
        }
        let groups = text.len().saturating_sub(last) == 4 && !whole.contains(['.', ',']);
        let ambiguous = groups && (1..=3).contains(&whole.len()) && !whole.starts_with('0');
        (!ambiguous).then_some(this)
    }

    /// The number as a plain decimal; text that is no number stays as it is.
    pub(super) fn plain(self, text: &str) -> Result<Cow<'_, str>, Unread> {
        let (decimal, group) = match self {
            Self::Plain => return Ok(text.into()),
            Self::Untold if text.contains(',') => return Err(Unread::Untold),
            Self::Untold | Self::Point => ('.', ','),
            Self::Comma => (',', '.'),
        };
        if !text.contains([decimal, group]) {
            return Ok(text.into());
        }
        let (whole, fraction) = text.split_once(decimal).map_or((text, None), |(whole, rest)| (whole, Some(rest)));
        let mut groups = whole.split(group);
        let first = groups.next().unwrap_or_default();
        let mut plain = first.to_owned();
        for digits in groups {
            if digits.len() != 3 || first.is_empty() || first.len() > 3 {
                return Err(Unread::Otherwise);
            }
            plain.push_str(digits);
        }
        if let Some(fraction) = fraction {
            if fraction.contains([decimal, group]) {
                return Err(Unread::Otherwise);
            }
            plain.push('.');
            plain.push_str(fraction);
        }
        Ok(plain.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_how_its_file_writes_decimals() {
        for (text, told) in [
            ("12", None),
            ("1,234", None),
            ("12.345", None),
            ("0,234", Some(Decimals::Comma)),
            ("0.234", Some(Decimals::Point)),
            (",5", Some(Decimals::Comma)),
            ("1234,567", Some(Decimals::Comma)),
            ("1,5", Some(Decimals::Comma)),
            ("1.2345", Some(Decimals::Point)),
            ("1,234.5", Some(Decimals::Point)),
            ("1.234,567", Some(Decimals::Comma)),
            ("1,234,567", Some(Decimals::Point)),
            ("1.234.567", Some(Decimals::Comma)),
        ] {
            assert_eq!(Decimals::told_by(text), told, "{text}");
        }
    }

    #[test]
    fn numbers_become_plain_or_are_refused() {
        for (decimals, text, plain) in [
            (Decimals::Plain, "1,5", Ok("1,5")),
            (Decimals::Point, "1,234.5", Ok("1234.5")),
            (Decimals::Point, "1,234", Ok("1234")),
            (Decimals::Point, "0.5", Ok("0.5")),
            (Decimals::Comma, "1.234,5", Ok("1234.5")),
            (Decimals::Comma, "0,02", Ok("0.02")),
            (Decimals::Comma, "7", Ok("7")),
            (Decimals::Untold, "1.234", Ok("1.234")),
            (Decimals::Untold, "1,234", Err(Unread::Untold)),
            (Decimals::Comma, "0.25", Err(Unread::Otherwise)),
            (Decimals::Point, "0,25", Err(Unread::Otherwise)),
            (Decimals::Point, "1234,567", Err(Unread::Otherwise)),
            (Decimals::Point, "1.2,345", Err(Unread::Otherwise)),
            (Decimals::Comma, "1,2,3", Err(Unread::Otherwise)),
        ] {
            assert_eq!(decimals.plain(text).as_deref(), plain.as_ref().copied(), "{decimals:?} {text}");
        }
    }
}
