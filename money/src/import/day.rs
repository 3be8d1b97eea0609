//! Days as sheets write them. A day begins at midnight UTC.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// When a day or time of a sheet begins. `1/12/2026` may be either day: it is the later one, so that no price is used
/// before its time.
pub(super) fn begins(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // `%Y` takes two digits as the first century.
    let in_use = |day: &Date| day.year() >= 1000;
    let formats = ["%d.%m.%Y", "%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%b %d, %Y"];
    let day = text
        .parse::<Date>()
        .ok()
        .or_else(|| formats.iter().find_map(|format| Date::strptime(format, text).ok().filter(in_use)))
        .or_else(|| either(text));
    let at = match day {
        // Date accepts a time after the day, and drops it.
        Some(_) if text.contains(':') => text.parse::<DateTime>().ok()?,
        Some(day) => day.into(),
        None => text.parse::<DateTime>().ok()?,
    };
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// `1/12/2026`: the later of both readings.
fn either(text: &str) -> Option<Date> {
    let [first, second, year] = text.split('/').collect::<Vec<_>>().try_into().ok()?;
    let (first, second, year) = (first.parse().ok()?, second.parse().ok()?, year.parse().ok()?);
    let day = |month: i8, day: i8| Date::new(year, month, day).ok().filter(|day| day.year() >= 1000);
    day(first, second).max(day(second, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_the_ways_in_use() {
        for (text, expected) in [
            ("2026-12-01", "2026-12-01T00:00:00Z"),
            ("2026-12-01 08:30:00", "2026-12-01T08:30:00Z"),
            ("2026-12-01T08:30:00+01:00", "2026-12-01T07:30:00Z"),
            ("01.12.2026", "2026-12-01T00:00:00Z"),
            ("1.2.2026", "2026-02-01T00:00:00Z"),
            ("01-Dec-2026", "2026-12-01T00:00:00Z"),
            ("1 Dec 2026", "2026-12-01T00:00:00Z"),
            ("01-Dec-26", "2026-12-01T00:00:00Z"),
            ("8/16/2022", "2022-08-16T00:00:00Z"),
            ("16/8/2022", "2022-08-16T00:00:00Z"),
            ("1/12/2026", "2026-12-01T00:00:00Z"),
        ] {
            assert_eq!(begins(text).map(|at| at.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "soon", "16/16/2022", "1/2/26", "31.02.2026", "2026", "20261"] {
            assert_eq!(begins(text), None, "{text}");
        }
    }
}
