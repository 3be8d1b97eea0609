//! Opening hours: `hours.open` is true while one of its spans is, by the clock on the wall of its time zone.
//!
//! A span is two instants, worked out from the wall clock on the day it begins. So an hour that is skipped or repeated
//! when clocks change neither opens nor closes anything twice. Zones come from the table built into the program: a policy
//! means the same on every machine.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::errors::{nearest, quoted};
use crate::reader::Reader;
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["days", "from", "to", "tz", "except"];
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const NAME_MAX_CHARS: usize = 64;
/// Spans of one name.
const SPANS_MAX: usize = 64;
/// Days on which a span does not begin.
const EXCEPT_MAX: usize = 1_000;

/// Opening hours by name.
#[derive(Debug, Default)]
pub(crate) struct Hours(BTreeMap<String, Vec<Span>>);

/// From one time of day to another on some days of the week.
#[derive(Debug)]
struct Span {
    days: [bool; 7],
    from: Time,
    /// Not after `from`: on the day after. Midnight is the end of the day.
    to: Time,
    zone: TimeZone,
    except: Vec<Holiday>,
}

#[derive(Debug)]
enum Holiday {
    Once(Date),
    /// Month and day, every year.
    Yearly(i8, i8),
}

impl Hours {
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Self {
        let mut hours = BTreeMap::new();
        for entry in reader.any_map(node, "hours") {
            let begins = entry.key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
            let word = entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !begins || !word || entry.key.len() > NAME_MAX_CHARS {
                let hint = format!("use at most {NAME_MAX_CHARS} letters, digits and '_', beginning with a letter");
                reader.findings.wrong_hint(entry.at, "not a name for hours", hint);
            }
            let nodes = entry.value.nodes().unwrap_or(std::slice::from_ref(&entry.value));
            if nodes.is_empty() || nodes.len() > SPANS_MAX {
                reader.findings.wrong(entry.value.at, format!("hours want 1 to {SPANS_MAX} spans"));
            }
            let spans = nodes.iter().filter_map(|node| Span::read(reader, node)).collect();
            hours.insert(entry.key.clone(), spans);
        }
        Self(hours)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Only those an expression names; the others need not be worked out for each call.
    pub(crate) fn keep(&mut self, names: &[String]) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Each name, and whether it is open.
    pub(crate) fn at(&self, now: Timestamp) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(move |(name, spans)| (name.as_str(), spans.iter().any(|span| span.holds(now))))
    }
}

impl Span {
    fn holds(&self, now: Timestamp) -> bool {
        let today = self.zone.to_datetime(now).date();
        // A span that goes over midnight belongs to the day it began on.
        [Some(today), today.yesterday().ok()].into_iter().flatten().any(|day| self.holds_from(day, now))
    }

    fn holds_from(&self, day: Date, now: Timestamp) -> bool {
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or_default();
        if !self.days[weekday] || self.except.iter().any(|holiday| holiday.is(day)) {
            return false;
        }
        let last = if self.from < self.to { Some(day) } else { day.tomorrow().ok() };
        let opens = self.zone.to_timestamp(day.to_datetime(self.from));
        let closes = last.map(|last| self.zone.to_timestamp(last.to_datetime(self.to)));
        matches!((opens, closes), (Ok(opens), Some(Ok(closes))) if opens <= now && now < closes)
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let entries = reader.map(node, "hours", KEYS);
        node.entries()?;
        let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let days = match get("days") {
            Some(node) => days(reader, node),
            None => Some([true; 7]),
        };
        let from = get("from").map(|node| time(reader, node, "from"));
        let to = get("to").map(|node| time(reader, node, "to"));
        let (from, to) = match (from, to) {
            (Some(from), Some(to)) => (from, to),
            (None, None) => (Some(Time::midnight()), Some(Time::midnight())),
            (Some(_), None) | (None, Some(_)) => {
                reader.findings.wrong_hint(node.at, "from and to belong together", "leave out both for whole days");
                return None;
            }
        };
        if from.is_some() && from == to && from != Some(Time::midnight()) {
            reader.findings.wrong_hint(node.at, "opens and closes at once", "leave out from and to for whole days");
        }
        let zone = match get("tz") {
            Some(node) => zone(reader, node),
            None => {
                reader.findings.wrong_hint(node.at, "hours want a time zone", "add tz: such as Europe/Stockholm");
                None
            }
        };
        let except = get("except").map(|node| holidays(reader, node)).unwrap_or_default();
        Some(Self { days: days?, from: from?, to: to?, zone: zone?, except })
    }
}

impl Holiday {
    fn is(&self, day: Date) -> bool {
        match self {
            Self::Once(date) => *date == day,
            Self::Yearly(month, date) => (*month, *date) == (day.month(), day.day()),
        }
    }
}

/// `mon-fri`, `sat`, `fri-mon`, or a list of such.
fn days(reader: &mut Reader<'_>, node: &Node) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for node in node.nodes().unwrap_or(std::slice::from_ref(node)) {
        let text = reader.text(node, "days")?.to_ascii_lowercase();
        let index = |name: &str| DAYS.iter().position(|day| *day == name.trim());
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let (Some(first), Some(last)) = (index(first), index(last)) else {
            let hint = "write mon, mon-fri or [mon, wed-fri]; days are mon tue wed thu fri sat sun";
            reader.findings.wrong_hint(node.at, format!("not days of the week: {}", quoted(&text)), hint);
            return None;
        };
        let count = (last + 7 - first) % 7;
        (0..=count).for_each(|step| days[(first + step) % 7] = true);
    }
    Some(days)
}

/// `08:00`; `24:00` is midnight at the end of the day.
fn time(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Time> {
    let text = reader.text(node, what)?;
    let time = match text.split_once(':') {
        Some(("24", "00")) if what == "to" => Some(Time::midnight()),
        Some((hour, minute)) if minute.len() == 2 && (1..=2).contains(&hour.len()) => {
            let part = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i8>().ok()).flatten();
            part(hour).zip(part(minute)).and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok())
        }
        Some(_) | None => None,
    };
    if time.is_none() {
        reader.findings.wrong_hint(node.at, format!("{what} wants a time of day"), "write \"08:00\", up to \"24:00\"");
    }
    time
}

fn zone(reader: &mut Reader<'_>, node: &Node) -> Option<TimeZone> {
    let name = reader.text(node, "tz")?;
    let table = TimeZoneDatabase::bundled();
    let zone = table.get(name).ok();
    if zone.is_none() {
        let names: Vec<_> = table.available().collect();
        let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let initial = |name: &str| name.chars().next().map(|c| c.to_ascii_lowercase());
        let same_city = names.iter().map(|known| known.as_str()).find(|known| city(known) == city(name));
        let alike: Vec<&str> =
            names.iter().map(|known| known.as_str()).filter(|known| initial(known) == initial(name)).collect();
        let hint = match same_city.or_else(|| nearest(name, &alike)) {
            Some(near) => format!("did you mean {near}?"),
            None => "write a name of the IANA table, such as Europe/Stockholm or UTC".to_owned(),
        };
        reader.findings.wrong_hint(node.at, format!("unknown time zone {}", quoted(name)), hint);
    }
    zone
}

fn holidays(reader: &mut Reader<'_>, node: &Node) -> Vec<Holiday> {
    let nodes = reader.list(node, "except");
    if nodes.len() > EXCEPT_MAX {
        reader.findings.wrong(node.at, format!("at most {EXCEPT_MAX} days"));
    }
    let mut holidays = Vec::new();
    for node in nodes {
        let Some(text) = reader.text(node, "except") else { continue };
        let once = || text.parse::<Date>().ok().filter(|_| text.len() == "2026-12-24".len()).map(Holiday::Once);
        // A leap year, so that 02-29 is a day.
        let yearly = || format!("2024-{text}").parse::<Date>().ok().filter(|_| text.len() == "12-24".len());
        match once().or_else(|| yearly().map(|date| Holiday::Yearly(date.month(), date.day()))) {
            Some(holiday) => holidays.push(holiday),
            None => reader.findings.wrong_hint(
                node.at,
                format!("not a day: {}", quoted(text)),
                "write \"2026-12-24\", or \"12-24\" for every year",
            ),
        }
    }
    holidays
}
