//! `callbus deck rate|grant|match`: rating as a filter. A JSON row on each line of stdin, its result on one of stdout.
//!
//! Needs no configuration and no price list: each row brings its own price. One row is in memory at a time, and a row
//! that cannot be taken says why and does not stop the rest.

use std::io::{BufRead, Write};

use jiff::Timestamp;
use money::spec::Spec;
use money::{Answer, Deck, Micros, Nanos, Price, PriceRows, Rounding, Tier, cost, grant};
use proto::PhoneNumber;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rows that say no answer time are answered then: a Tuesday, at noon.
const ANSWERED_AT: Timestamp = Timestamp::constant(1_704_196_800, 0);
/// Longest row.
const ROW_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most calls that ask at once in one row: each of them has a number in the result.
const CONCURRENT_MAX: u32 = 100_000;

/// Which question the rows ask.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filter {
    Rate,
    Grant,
    Match,
}

/// What a row comes to; what was not asked is left out.
#[derive(Default, Serialize)]
struct Line {
    id: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Micros>,
    #[serde(skip_serializing_if = "Option::is_none")]
    billed_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Micros>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<Micros>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Micros>,
    /// Asked for, and perhaps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a row comes to, or a sentence why not.
type Answered = Result<Line, String>;

#[derive(Deserialize)]
struct CostRow {
    spec: Spec,
    duration_s: u32,
    answer_time: Option<Timestamp>,
    calls: Option<u64>,
}

#[derive(Deserialize)]
struct GrantRow {
    spec: Spec,
    available: Micros,
    cap_s: u32,
    answer_time: Option<Timestamp>,
    /// How long it may ring: the answer comes at any second until then.
    ring_s: Option<u32>,
    concurrent: Option<u32>,
}

#[derive(Deserialize)]
struct MatchRow {
    deck: Vec<DeckLine>,
    number: String,
}

#[derive(Deserialize)]
struct DeckLine {
    prefix: String,
}

/// Answers every row, until the input ends or nobody reads the output any more.
///
/// # Errors
/// When the input cannot be read.
pub(crate) fn run(filter: Filter, mut input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let written = serde_json::to_writer(&mut output, &answer(filter, &line)).map_err(std::io::Error::from);
        if written.and_then(|()| output.write_all(b"\n")).is_err() {
            return Ok(());
        }
    }
    // Whoever closed the pipe has read enough.
    let _ = output.flush();
    Ok(())
}

/// One line without its end; one that is longer than a row may be is cut, and then no JSON. False at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let read = std::io::Read::take(&mut *input, ROW_BYTES_MAX).read_until(b'\n', line)?;
    if line.last() != Some(&b'\n') && u64::try_from(read).is_ok_and(|read| read == ROW_BYTES_MAX) {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

fn answer(filter: Filter, line: &[u8]) -> Line {
    let row: Value = match serde_json::from_slice(line) {
        Ok(row) => row,
        Err(error) => return Line { error: Some(format!("not a row of JSON: {error}")), ..Line::default() },
    };
    let id = row.get("id").cloned().unwrap_or_default();
    let answered = match filter {
        Filter::Rate => read(row).and_then(rate),
        Filter::Grant => read(row).and_then(granted),
        Filter::Match => read(row).and_then(matched),
    };
    Line { id, ..answered.unwrap_or_else(|error| Line { error: Some(error), ..Line::default() }) }
}

fn read<T: DeserializeOwned>(row: Value) -> Result<T, String> {
    serde_json::from_value(row).map_err(|error| error.to_string())
}

fn rate(row: CostRow) -> Answered {
    let price = Price::try_from(row.spec).map_err(|error| error.to_string())?;
    let at = row.answer_time.unwrap_or(ANSWERED_AT);
    let cost = cost(&price, row.duration_s, at).map_err(|error| error.to_string())?;
    let mut answer = Line { cost: Some(cost.amount), billed_s: Some(cost.billed_secs), ..Line::default() };
    if let Some(calls) = row.calls {
        // Calls are rounded one by one, then added.
        let total = i64::try_from(calls).ok().and_then(|calls| cost.amount.get().checked_mul(calls));
        let total = total.and_then(|total| Micros::new(total).ok()).ok_or("the total of the calls is too large")?;
        answer.total = Some(total);
    }
    Ok(answer)
}

fn granted(row: GrantRow) -> Answered {
    let price = Price::try_from(row.spec).map_err(|error| error.to_string())?;
    let answer = Answer { from: row.answer_time.unwrap_or(ANSWERED_AT), ring_secs: row.ring_s.unwrap_or(0) };
    let ask =
        |available| grant(&price, available, row.cap_s, answer).map_or((0, Micros::ZERO), |it| (it.secs, it.hold));
    let (secs, hold) = ask(row.available);
    let mut result = Line { max_duration_s: Some(secs), hold: Some(hold), ..Line::default() };
    if let Some(concurrent) = row.concurrent {
        if concurrent > CONCURRENT_MAX {
            return Err(format!("more than {CONCURRENT_MAX} concurrent calls"));
        }
        // Each sees what the ones before it left.
        let mut left = row.available;
        let grants = (0..concurrent).map(|_| {
            let (secs, hold) = ask(left);
            left = left.saturating_sub(hold);
            secs
        });
        result.grants = Some(grants.collect());
        result.left = Some(left);
    }
    Ok(result)
}

fn matched(row: MatchRow) -> Answered {
    // Only the prefixes are asked about; a price is what a deck is made of.
    let tier = Tier { start_secs: 0, rate: Nanos::ZERO, unit_secs: 60, increment_secs: 1, fee: Micros::ZERO };
    let currency = "XXX".parse().map_err(|error: money::currency::NotACurrency| error.to_string())?;
    let rows = PriceRows::plain(currency, Micros::ZERO, vec![tier], Rounding::default());
    let price = Price::check(rows).map_err(|error| error.to_string())?;
    let prefixes: Vec<String> = row.deck.iter().map(|line| line.prefix.split_whitespace().collect()).collect();
    let lines = prefixes.iter().map(|prefix| (prefix.as_str(), "", price.clone()));
    let deck = Deck::of_rows("row", lines).map_err(|error| error.to_string())?;
    let number = PhoneNumber::parse_lenient(&row.number).map_err(|error| format!("the number is {error}"))?;
    let prefix = deck.lookup(&number).map(|row| row.prefix.to_owned());
    Ok(Line { prefix: Some(prefix), ..Line::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COST: &str = include_str!("../../../../money/fixtures/rating/cost.jsonl");

    fn filtered(filter: Filter, input: &str) -> Vec<Value> {
        let mut output = Vec::new();
        run(filter, input.as_bytes(), &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_row_that_cannot_be_taken_does_not_stop_the_rest() {
        let good = COST.lines().next().unwrap();
        let rows = format!(
            "{good}\n\nnot json\n{{\"id\":\"a\"}}\n[1]\n{}\n{}\n{good}",
            r#"{"id":7,"duration_s":60,"spec":{"tiers":[{"start_s":0,"rate":0.1,"unit_s":60,"increment_s":60}]}}"#,
            r#"{"id":"gap","duration_s":60,"spec":{"periods":[{"from":"13:00:00","tiers":[{"start_s":0,"rate":"1","unit_s":60,"increment_s":60}]}]}}"#,
        );
        let answers = filtered(Filter::Rate, &rows);
        let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
        assert_eq!(json!(ids), json!(["cg-tod-01", null, "a", null, 7, "gap", "cg-tod-01"]));
        let failed: Vec<bool> = answers.iter().map(|answer| answer.get("error").is_some()).collect();
        assert_eq!(failed, [false, true, true, true, true, true, false]);
        assert_eq!(answers[5]["error"], "the price has no period in force at 2024-01-02T12:00:00Z");
    }

    #[test]
    fn prefixes_and_numbers_may_be_written_as_people_do() {
        let row = |number: &str| {
            json!({ "id": 1, "deck": [{ "prefix": "+44 7" }, { "prefix": "44" }], "number": number }).to_string()
        };
        for (number, prefix) in
            [("+44 7700 900123", json!("447")), ("441632960000", json!("44")), ("+1 (503) 555-1234", json!(null))]
        {
            assert_eq!(filtered(Filter::Match, &row(number)), [json!({ "id": 1, "prefix": prefix })], "{number}");
        }
        assert!(filtered(Filter::Match, &row("12"))[0]["error"].is_string());
    }
}
