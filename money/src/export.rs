//! Writing a deck as CSV: what [`Deck::from_csv`] reads back is the same deck, of the same version.

use csv::Writer;

use crate::amount::Micros;
use crate::deck::Deck;
use crate::import::{COLUMNS, COLUMNS_OF_MOST};
use crate::period::Period;
use crate::price::{ConnectFeeMode, MaxCost, MaxCostStrategy, PriceRows, Tier};

/// One line without its prefix and destination: the other columns in their order.
type Terms = [String; COLUMNS.len() - 2];

impl Deck {
    /// The deck as canonical CSV, ordered by prefix, with only the columns of most decks where no price needs more. A price
    /// as [`crate::spec`] may have it, with a fee of a tier or without base terms, has no such form; no deck that was read
    /// from a file has one.
    pub fn to_csv(&self) -> Vec<u8> {
        let lines: Vec<Vec<Terms>> = self.prices().iter().map(|price| lines(price.rows())).collect();
        let plain = |line: &Terms| line.iter().skip(COLUMNS_OF_MOST.saturating_sub(2)).all(String::is_empty);
        let columns = if lines.iter().flatten().all(plain) { COLUMNS_OF_MOST } else { COLUMNS.len() };
        let mut writer = Writer::from_writer(Vec::new());
        // Writing into memory does not fail.
        let _ = writer.write_record(COLUMNS.iter().take(columns));
        for entry in self.entries() {
            for line in lines.get(entry.price).into_iter().flatten() {
                let terms = line.iter().map(String::as_str);
                let fields = [entry.prefix.as_str(), entry.destination].into_iter().chain(terms);
                let _ = writer.write_record(fields.take(columns));
            }
        }
        writer.into_inner().unwrap_or_default()
    }
}

fn lines(rows: &PriceRows) -> Vec<Terms> {
    let base = pairs(&rows.tiers).map(|(tier, next)| line(rows, rows.connect_fee, &tier, next, None));
    let periods = rows.periods.iter().flat_map(|period| {
        pairs(&period.tiers).map(move |(tier, next)| line(rows, period.connect_fee, &tier, next, Some(period)))
    });
    base.chain(periods).collect()
}

/// Each tier with its next increment: a tier that only goes on in another increment stands on the same line.
fn pairs(tiers: &[Tier]) -> impl Iterator<Item = (Tier, u32)> {
    let mut rest = tiers.iter().copied().peekable();
    std::iter::from_fn(move || {
        let tier = rest.next()?;
        let goes_on = |next: &Tier| {
            tier.start_secs.checked_add(tier.increment_secs) == Some(next.start_secs)
                && (tier.rate, tier.unit_secs) == (next.rate, next.unit_secs)
                && tier.increment_secs != next.increment_secs
        };
        let next = rest.next_if(goes_on).map_or(tier.increment_secs, |next| next.increment_secs);
        Some((tier, next))
    })
}

fn line(rows: &PriceRows, connect_fee: Micros, tier: &Tier, next_secs: u32, period: Option<&Period>) -> Terms {
    let unless = |default: bool, text: &dyn ToString| if default { String::new() } else { text.to_string() };
    let of_period = |text: &dyn Fn(&Period) -> String| period.map(text).unwrap_or_default();
    [
        connect_fee.to_string(),
        tier.rate.to_string(),
        tier.unit_secs.to_string(),
        format!("{}/{next_secs}", tier.increment_secs),
        rows.rounding.to_string(),
        rows.currency.to_string(),
        unless(tier.start_secs == 0, &tier.start_secs),
        of_period(&|period| period.weekdays.to_string()),
        of_period(&|period| period.months.to_string()),
        of_period(&|period| period.month_days.to_string()),
        // Always there, since it makes the line one of a period.
        of_period(&|period| period.from.to_string()),
        of_period(&|period| unless(period.weight == 0, &period.weight)),
        unless(rows.time_zone.is_utc(), &rows.time_zone.as_str()),
        match rows.connect_fee_mode {
            ConnectFeeMode::Add => String::new(),
            ConnectFeeMode::Minimum => "minimum".to_owned(),
        },
        unless(rows.min_cost == Micros::ZERO, &rows.min_cost),
        match rows.max_cost {
            None => String::new(),
            Some(MaxCost { amount, strategy: MaxCostStrategy::Free }) => format!("{amount} free"),
            Some(MaxCost { amount, strategy: MaxCostStrategy::Disconnect }) => format!("{amount} disconnect"),
        },
        unless(rows.included_secs == 0, &rows.included_secs),
        unless(rows.no_charge_secs == 0, &rows.no_charge_secs),
    ]
}
