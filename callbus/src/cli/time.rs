//! Times on the command line, as people write them.

use clap::Args;

/// A time that something lies in.
#[derive(Debug, Args)]
pub(crate) struct Between {
    /// A day in UTC or a time; from the beginning without it.
    #[arg(long, value_name = "TIME", value_parser = begin_of_day)]
    pub since: Option<jiff::Timestamp>,
    /// A day in UTC, to its end, or a time; to now without it.
    #[arg(long, value_name = "TIME", value_parser = end_of_day)]
    pub until: Option<jiff::Timestamp>,
}

/// A time, or the begin of a day in UTC.
pub(super) fn begin_of_day(text: &str) -> Result<jiff::Timestamp, String> {
    let day = |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let begin = text.parse().ok().and_then(day).map(|midnight| midnight.timestamp());
    let time = if text.contains('T') { text.parse().ok() } else { begin };
    time.ok_or_else(|| "write a day such as 2026-12-31 or a time such as 2026-12-31T12:00:00Z".to_owned())
}

/// A time, or the end of a day in UTC.
pub(super) fn end_of_day(text: &str) -> Result<jiff::Timestamp, String> {
    let day = |date: jiff::civil::Date| date.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let end = text.parse().ok().and_then(day).map(|midnight| midnight.timestamp());
    let time = if text.contains('T') { text.parse().ok() } else { end };
    time.ok_or_else(|| "write a day such as 2026-12-31 or a time such as 2026-12-31T12:00:00Z".to_owned())
}

/// A stretch of time: days and weeks too.
pub(super) fn how_long(text: &str) -> Result<jiff::SignedDuration, String> {
    let span = text.parse::<jiff::Span>().ok();
    let time = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    time.filter(jiff::SignedDuration::is_positive).ok_or_else(|| "write a time such as 24h, 7d or 2w".to_owned())
}

pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| time.try_into().ok());
    time.filter(|time: &std::time::Duration| !time.is_zero()).ok_or_else(|| "write a time such as 10s or 1m".to_owned())
}

pub(super) fn whole_seconds(text: &str) -> Result<u32, String> {
    let secs = match text.parse::<u32>() {
        Ok(secs) => Some(secs),
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|time| u32::try_from(time.as_secs()).ok()),
    };
    secs.ok_or_else(|| "write a time such as 63s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_to_its_end() {
        for (text, end) in [("2026-12-31", "2027-01-01T00:00:00Z"), ("2026-12-31T12:00:00Z", "2026-12-31T12:00:00Z")] {
            assert_eq!(end_of_day(text), end.parse().map_err(|_| String::new()), "{text}");
        }
        assert_eq!(begin_of_day("2026-12-31"), "2026-12-31T00:00:00Z".parse().map_err(|_| String::new()));
        assert!(["", "tomorrow", "2026-02-30"].into_iter().all(|text| end_of_day(text).is_err()));
    }

    #[test]
    fn a_stretch_of_time_may_be_days() {
        let hours = |hours| Ok(jiff::SignedDuration::from_hours(hours));
        assert_eq!(["24h", "7d", "2w"].map(how_long), [hours(24), hours(168), hours(336)]);
        assert!(["", "yesterday", "-7d"].into_iter().all(|text| how_long(text).is_err()));
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(["63", "63s", "2m"].map(whole_seconds), [Ok(63), Ok(63), Ok(120)]);
        assert!(["-1s", "soon", ""].into_iter().all(|text| whole_seconds(text).is_err()));
    }
}
