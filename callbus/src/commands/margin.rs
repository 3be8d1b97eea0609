//! `callbus margin`: what calls were charged, less what the platform charges us for them.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context;
use bus::Clock;
use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use proto::{AppName, Settled};
use rust_decimal::Decimal;
use serde::Serialize;

use super::cdrs::{self, Cdr, Cdrs};
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::output::Output;
use crate::roles::open_to_read;

/// What belongs together. Amounts of several currencies are never added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Group {
    /// The call's end, in UTC.
    day: Date,
    app: AppName,
    /// The digits that chose the price; empty where nothing was charged.
    prefix: String,
    currency: Option<String>,
    debit_currency: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Sums {
    calls: u64,
    revenue: Decimal,
    debit: Decimal,
    /// Calls of which the platform told no debit, and what they were charged: no part of the other sums.
    without_debit: u64,
    revenue_without_debit: Decimal,
}

#[derive(Debug, Serialize)]
struct Row {
    group: Group,
    sums: Sums,
    /// None where the currencies differ.
    margin: Option<Decimal>,
}

/// # Errors
/// When the log cannot be read.
pub(crate) async fn run(
    config: &Config,
    environment: &Environment,
    output: Output,
    since: SignedDuration,
) -> Result<(), Failure> {
    let bus = open_to_read(config, environment).await?;
    let since = Clock::System.now().checked_sub(since).context("--since")?;
    let rows = rows(&cdrs::since(&bus, since, &HashSet::new()).await?);
    if output.json {
        output.json(&rows);
        return Ok(());
    }
    let row = |row: &Row| {
        let Row { group, sums, margin } = row;
        let [currency, debit_currency] =
            [&group.currency, &group.debit_currency].map(|c| c.clone().unwrap_or_default());
        let amount =
            |amount: Decimal, currency: &str| format!("{} {currency}", amount.normalize()).trim_end().to_owned();
        let apart = match sums.without_debit {
            0 => String::new(),
            calls => format!("{calls} ({})", amount(sums.revenue_without_debit, &currency)),
        };
        [
            group.day.to_string(),
            group.app.to_string(),
            group.prefix.clone(),
            sums.calls.to_string(),
            amount(sums.revenue, &currency),
            amount(sums.debit, &debit_currency),
            margin.map(|margin| amount(margin, &currency)).unwrap_or_default(),
            apart,
        ]
    };
    let headings = ["DAY (UTC)", "APP", "PREFIX", "CALLS", "REVENUE", "DEBIT", "MARGIN", "WITHOUT DEBIT"];
    output.table(headings, rows.iter().map(row).collect());
    Ok(())
}

fn rows(cdrs: &Cdrs) -> Vec<Row> {
    let mut groups: BTreeMap<Group, Sums> = BTreeMap::new();
    for cdr in cdrs.values() {
        take(&mut groups, cdr);
    }
    let row = |(group, sums): (Group, Sums)| {
        let same = group.currency.is_none() || group.debit_currency.is_none() || group.currency == group.debit_currency;
        let margin = same.then_some(sums.revenue - sums.debit);
        Row { group, sums, margin }
    };
    groups.into_iter().map(row).collect()
}

/// Adds one call. Of its legs only one was charged, so that one names the prefix and the currency.
fn take(groups: &mut BTreeMap<Group, Sums>, Cdr { at, settled }: &Cdr) {
    let Settled { app, legs, ended_at, supplier_cost, .. } = settled;
    let charged = legs.iter().find(|leg| !leg.cost.is_zero()).or(legs.last());
    if charged.is_none() && supplier_cost.is_none() {
        return;
    }
    let revenue = charged.map(|leg| leg.cost).unwrap_or_default();
    let currency = charged.map(|leg| leg.currency.clone());
    // Sinch leaves the currency out where it charges nothing, and nothing is of any currency.
    let debit_currency = match supplier_cost {
        Some(cost) => cost.currency.clone().or_else(|| currency.clone().filter(|_| cost.amount.is_zero())),
        None => currency.clone(),
    };
    let group = Group {
        day: ended_at.unwrap_or(*at).to_zoned(TimeZone::UTC).date(),
        app: app.clone(),
        prefix: charged.map(|leg| leg.prefix.clone()).unwrap_or_default(),
        currency,
        debit_currency,
    };
    let sums = groups.entry(group).or_default();
    match supplier_cost {
        Some(cost) => {
            sums.calls += 1;
            sums.revenue += revenue;
            sums.debit += cost.amount;
        }
        None => {
            sums.without_debit += 1;
            sums.revenue_without_debit += revenue;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_are_of_one_currency_and_calls_without_a_debit_stand_apart() {
        let mut cdrs = Cdrs::new();
        let at: jiff::Timestamp = "2026-01-02T12:00:00Z".parse().expect("a time");
        let leg = "a".repeat(64);
        for (call, cost, debit) in [
            ("a", "0.6", json!({ "amount": "0.2", "currency": "EUR" })),
            ("b", "0.4", json!({ "amount": "0.1", "currency": "EUR" })),
            ("c", "0.5", json!({ "amount": "0.1", "currency": "USD" })),
            ("d", "0.3", json!(null)),
            ("e", "0", json!({ "amount": "0" })),
        ] {
            let settled = json!({ "call": call, "app": "acme", "duration_secs": 1, "supplier_cost": debit, "legs": [{
                "leg": leg, "wallet": "w", "currency": "EUR", "deck": "d", "deck_version": "1", "prefix": "46",
                "held": "1", "granted_secs": 60, "billed_secs": 30, "cost": cost }] });
            let settled: Settled = serde_json::from_value(settled).expect("a CDR");
            cdrs.insert((settled.app.clone(), settled.call.clone()), Cdr { at, settled });
        }
        let rows = rows(&cdrs);
        let shown: Vec<_> = rows
            .iter()
            .map(|Row { sums, margin, .. }| {
                let amounts = [sums.revenue, sums.debit, sums.revenue_without_debit].map(|a| a.normalize().to_string());
                (sums.calls, sums.without_debit, amounts, margin.map(|margin| margin.normalize().to_string()))
            })
            .collect();
        let texts = |texts: [&str; 3]| texts.map(str::to_owned);
        assert_eq!(
            shown,
            [(3, 1, texts(["1", "0.3", "0.3"]), Some("0.7".to_owned())), (1, 0, texts(["0.5", "0.1", "0"]), None)]
        );
    }
}
