//! `cli: auto`: which of our numbers the called one sees.

use std::collections::BTreeMap;

use proto::PhoneNumber;

use crate::reader::Reader;
use crate::yaml::Node;

/// Longest prefix, in digits.
const PREFIX_MAX_DIGITS: usize = 15;

/// Numbers to show by the prefix of the number called; the longest prefix wins.
#[derive(Debug, Default)]
pub(crate) struct CliMap {
    by_prefix: BTreeMap<String, String>,
    otherwise: Option<String>,
}

impl CliMap {
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Self {
        let mut map = Self::default();
        for entry in reader.any_map(node, "cli") {
            let Some(shown) = reader.text(&entry.value, "cli") else { continue };
            let number = PhoneNumber::parse(shown).is_ok_and(|number| number.as_str() == shown);
            if shown != "private" && !number {
                reader.findings.wrong_hint(entry.value.at, "not a number to show", "write an E.164 number or private");
            }
            let prefix = entry.key.strip_prefix('+').unwrap_or(&entry.key);
            if entry.key == "default" {
                map.otherwise = Some(shown.to_owned());
            } else if (1..=PREFIX_MAX_DIGITS).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit()) {
                map.by_prefix.insert(prefix.to_owned(), shown.to_owned());
            } else {
                let what = format!("not a prefix: {}", crate::errors::quoted(&entry.key));
                reader.findings.wrong_hint(entry.at, what, "write \"+46\", or default");
            }
        }
        map
    }

    /// What to show to this number; `None` leaves it to Sinch.
    pub(crate) fn for_number(&self, number: &PhoneNumber) -> Option<&str> {
        let digits = number.digits();
        let longest = (1..=digits.len()).rev().find_map(|len| self.by_prefix.get(&digits[..len]));
        longest.or(self.otherwise.as_ref()).map(String::as_str)
    }
}
