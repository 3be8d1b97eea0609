//! docs/rating.md says what is so: its price lists load, and its calls cost and are granted what its tables show.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use money::{Answer, Deck, DeckFormat, Micros, Sheet, cost, grant};
use proto::PhoneNumber;

const PAGE: &str = include_str!("../../docs/rating.md");

/// The price lists of the page, each with the text up to the next.
fn examples() -> Vec<(Deck, &'static str)> {
    let blocks = PAGE.split("```csv\n").skip(1);
    let read = blocks.map(|block| {
        let (csv, rest) = block.split_once("```").unwrap();
        (Deck::from_csv("page", csv.as_bytes()).unwrap_or_else(|errors| panic!("{errors}")), rest)
    });
    read.collect()
}

/// The cells of every table with this header.
fn rows<const N: usize>(text: &str, header: [&str; N]) -> Vec<[String; N]> {
    let header = format!("| {} |", header.join(" | "));
    let tables = text.split(&header).skip(1);
    let lines = tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    lines.map(|line| cells(line).try_into().unwrap()).collect()
}

#[test]
fn calls_cost_what_the_page_shows() {
    let mut tried = 0;
    for (deck, text) in examples() {
        for row in rows(text, ["number", "answered", "seconds", "billed", "cost"]) {
            let number = PhoneNumber::parse(&row[0]).unwrap();
            let price = deck.lookup(&number).unwrap().price;
            let got = cost(price, row[2].parse().unwrap(), row[1].parse().unwrap()).unwrap();
            assert_eq!([got.billed_secs.to_string(), got.amount.to_string()], row[3..], "{row:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 21);
}

#[test]
fn credit_lasts_as_long_as_the_page_shows() {
    let mut tried = 0;
    for (deck, text) in examples() {
        for row in rows(text, ["number", "from", "rings", "credit", "cap", "granted", "hold"]) {
            let number = PhoneNumber::parse(&row[0]).unwrap();
            let price = deck.lookup(&number).unwrap().price;
            let answer = Answer { from: row[1].parse().unwrap(), ring_secs: row[2].parse().unwrap() };
            let got = grant(price, Micros::parse(&row[3]).unwrap(), row[4].parse().unwrap(), answer);
            let (secs, hold) = got.map_or((0, Micros::ZERO), |grant| (grant.secs, grant.hold));
            assert_eq!([secs.to_string(), hold.to_string()], row[5..], "{row:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 9);
}

#[test]
fn a_sheet_is_the_price_list_below_it() {
    let mut tried = 0;
    for block in PAGE.split("```csv sheet\n").skip(1) {
        let (sheet, rest) = block.split_once("```").unwrap();
        let (ours, _) = rest.split_once("```csv\n").unwrap().1.split_once("```").unwrap();
        let sheet = Deck::from_sheet("page", sheet.as_bytes(), &Sheet::default());
        let (deck, _) = sheet.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(String::from_utf8(deck.to_csv()).unwrap(), ours);
        tried += 1;
    }
    assert_eq!(tried, 1);
}

#[test]
fn the_formats_are_the_ones_that_are_read() {
    let formats = rows(PAGE, ["format", "sheets with such columns"]);
    let names: Vec<&str> = formats.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names, DeckFormat::ALL.map(DeckFormat::as_str));
    for [name, columns] in &formats {
        let Some(header) = columns.split('`').nth(1).filter(|header| header.contains(',')) else { continue };
        let said =
            Sheet { format: name.trim_matches('`').parse().ok(), currency: "EUR".parse().ok(), in_force_at: None };
        let header = header.trim_end_matches(", …");
        let error = Deck::from_sheet("page", header.as_bytes(), &said).unwrap_err().to_string();
        assert!(error.contains("no prefixes below the header"), "{name}: {error}");
    }
}

#[test]
fn the_columns_are_the_ones_that_are_read() {
    let columns = rows(PAGE, ["column", "means", "empty or missing"]);
    let names: Vec<&str> = columns.iter().map(|row| row[0].trim_matches('`')).collect();
    let unknown = Deck::from_csv("page", b"prefix,rate,currency,nonsense\n").unwrap_err().to_string();
    let known = unknown.split_once("known are ").unwrap().1;
    assert_eq!(names, known.split(", ").collect::<Vec<_>>());
    for [name, _, default] in &columns {
        let name = name.trim_matches('`');
        let Some(default) = default.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else { continue };
        let with = format!("prefix,rate,currency,{name}\n1,1,EUR,{default}\n");
        let without = Deck::from_csv("page", b"prefix,rate,currency\n1,1,EUR\n").unwrap();
        if ["from", "weight"].contains(&name) {
            continue; // These make a line that of a period.
        }
        let with = Deck::from_csv("page", with.as_bytes()).unwrap();
        assert_eq!(with.identity(), without.identity(), "{name}");
    }
}
