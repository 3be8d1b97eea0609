//! Decks: all or nothing, every bad line named; versions; size.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use money::Deck;
use proto::PhoneNumber;

const HEADER: &str = "prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency\n";

fn load(lines: &str) -> Deck {
    Deck::from_csv("retail", format!("{HEADER}{lines}").as_bytes()).unwrap()
}

fn errors(csv: impl AsRef<[u8]>) -> String {
    Deck::from_csv("retail", csv.as_ref()).unwrap_err().to_string()
}

#[test]
fn a_row_says_what_it_costs() {
    let deck = load("+44,\"UK, proper\",0.1,0.02,60,60/6,half_even2,EUR\n");
    let number = PhoneNumber::parse("+441632960000").unwrap();
    let row = deck.lookup(&number).unwrap();
    assert_eq!((row.prefix, row.destination), ("44", "UK, proper"));
    let json = serde_json::to_string(&**row.price).unwrap();
    assert_eq!(
        json,
        r#"{"currency":"EUR","connect_fee":"0.1","tiers":[{"start_secs":0,"rate":"0.02","unit_secs":60,"increment_secs":60},{"start_secs":60,"rate":"0.02","unit_secs":60,"increment_secs":6}],"rounding":"half_even2"}"#
    );
}

#[test]
fn missing_and_empty_columns_have_defaults() {
    let short = Deck::from_csv("retail", b"\xef\xbb\xbfcurrency,rate,prefix\nEUR,0.02,44\n").unwrap();
    let empty = load("44,,,0.02,,,,EUR\n");
    let full = load("44,,0,0.020,60,1/1,up4,EUR\n");
    assert_eq!(short.identity(), full.identity());
    assert_eq!(empty.identity(), full.identity());
}

#[test]
fn the_version_is_the_content_and_nothing_else() {
    let deck = load("44,UK,0,0.02,60,60/6,up4,EUR\n1,US,0,0.01,60,6/6,up4,EUR\n");
    let same = load(" 1 ,US,0.0,0.010,60,6/6,up4,EUR\r\n\r\n+44,UK,0,0.02,60,60/6,up4,EUR");
    let other = load("44,UK,0,0.02,60,60/6,up4,EUR\n1,US,0,0.011,60,6/6,up4,EUR\n");
    assert_eq!(deck.identity(), same.identity());
    assert_ne!(deck.identity().version, other.identity().version);
    assert_eq!(deck.identity().version, "46d0dbd83d0c69ca", "stored in holds, so it may not drift");
}

#[test]
fn a_prefix_may_have_lines_for_tiers_and_periods() {
    let csv = "prefix,connect_fee,rate,increments,start_s,weekdays,from,months,month_days,weight,currency,time_zone,\
            connect_fee_mode,min_cost,max_cost,included_s,no_charge_s,rounding\n\
        46,0.1,0.6,60/60,,,,,,,EUR,Europe/Stockholm,minimum,0.2,9 free,5,3,half_up2\n\
        46,0.1,0.3,1/1,600,,,,,,EUR,Europe/Stockholm,minimum,0.2,9 free,5,3,half_up2\n\
        46,0,0.2,60/6,,1-5,18:00,,,,EUR,Europe/Stockholm,minimum,0.2,9 free,5,3,half_up2\n\
        46,0,0.1,1/1,,,,12,24-26;31,10,EUR,Europe/Stockholm,minimum,0.2,9 free,5,3,half_up2\n\
        47,,0.5,,,,,,,,EUR,,,,1 disconnect,,,\n";
    let deck = Deck::from_csv("retail", csv.as_bytes()).unwrap();
    let number = PhoneNumber::parse("+46701234567").unwrap();
    let json = serde_json::to_value(&**deck.lookup(&number).unwrap().price).unwrap();
    let tier = |start: u32, rate: &str, increment: u32| serde_json::json!({ "start_secs": start, "rate": rate, "unit_secs": 60, "increment_secs": increment });
    assert_eq!(
        json,
        serde_json::json!({
            "currency": "EUR", "connect_fee": "0.1", "connect_fee_mode": "minimum", "rounding": "half_up2",
            "tiers": [tier(0, "0.6", 60), tier(600, "0.3", 1)],
            "periods": [
                { "weekdays": [1, 2, 3, 4, 5], "from": "18:00:00", "connect_fee": "0",
                  "tiers": [tier(0, "0.2", 60), tier(60, "0.2", 6)] },
                { "months": [12], "month_days": [24, 25, 26, 31], "from": "00:00:00", "weight": 10, "connect_fee": "0",
                  "tiers": [tier(0, "0.1", 1)] },
            ],
            "time_zone": "Europe/Stockholm", "min_cost": "0.2", "max_cost": { "amount": "9", "strategy": "free" },
            "included_secs": 5, "no_charge_secs": 3,
        })
    );
    assert_eq!(deck.identity().version, "9fad8462d620d7d4", "stored in holds, so it may not drift");
}

#[test]
fn lines_of_one_prefix_that_contradict_each_other_are_named() {
    let csv = "prefix,rate,currency,from,weekdays,min_cost,start_s,increments\n\
        1,1,EUR,18:00,,,,\n\
        2,1,EUR,,,,,\n2,1,EUR,18:00,1-3,,,\n2,1,EUR,18:00,3-5,,,\n\
        3,1,EUR,,,,,\n3,1,EUR,18:00,,0.5,,\n\
        4,1,EUR,,,,,60/60\n4,1,EUR,,,,90,\n\
        5,1,EUR,,,,,\n6,1,EUR,,,,,\n5,1,EUR,18:00,,,,\n\
        7,1,EUR,25:00,,,,\n7,1,EUR,,8,,,\n";
    assert_eq!(
        errors(csv),
        r#"the deck "retail" was not loaded, 7 of its lines are bad:
  line 2: the prefix has no line without a period, for the time when no period is in force
  line 5: at the same time and weight, its period and an earlier one of the prefix are both in force
  line 7: its min_cost differs from line 6 of the same prefix
  line 8: the tier at 0 s ends at 90 s, within one of its increments of 60 s
  line 12: the prefix "5" stands on line 10 already
  line 13: the from "25:00" is not a time of day such as 18:00
  line 14: the prefix "7" stands on line 13 already"#
    );
}

#[test]
fn every_bad_line_is_named() {
    let lines = "44,UK,0,0.02,60,60/6,up4,EUR\r\n\r\n\
        4x,UK,0,0.02,60,60/6,up4,EUR\n\
        044,UK,0,0.02,60,60/6,up4,EUR\n\
        1234567890123456,UK,0,0.02,60,60/6,up4,EUR\n\
        +44,again,0,0.02,60,60/6,up4,EUR\n\
        45,DK,-1,0.02,60,60/6,up4,EUR\n\
        46,SE,0,2e-2,60,60/6,up4,EUR\n\
        47,NO,0,0.02,0,60/6,up4,EUR\n\
        48,PL,0,0.02,60,60,up4,EUR\n\
        49,DE,0,0.02,60,0/6,up4,EUR\n\
        50,XX,0,0.02,60,60/6,ceil,EUR\n\
        51,PE,0,0.02,60,60/6,up4,euro\n\
        52,MX,0,0.02,60,60/6,up4,MXN\n\
        53,CU,0,0.02,60\n\
        54,AR,0,,60,60/6,up4,EUR\n";
    assert_eq!(
        errors(format!("{HEADER}{lines}")),
        r#"the deck "retail" was not loaded, 14 of its lines are bad:
  line 4: the prefix "4x" is not 1 to 15 digits, the first not 0
  line 5: the prefix "044" is not 1 to 15 digits, the first not 0
  line 6: the prefix "1234567890123456" is not 1 to 15 digits, the first not 0
  line 7: the prefix "+44" stands on line 2 already
  line 8: the connect fee -1 is negative
  line 9: the rate "2e-2" is not a plain decimal number such as 1.25
  line 10: the rate unit of the tier at 0 s is 0 s
  line 11: the increments "60" are not first/next seconds, such as 60/6
  line 12: the increments "0/6" are not first/next seconds, such as 60/6
  line 13: the rounding "ceil" is not a rounding: write up, down, half_up or half_even and 0 to 6 decimals, such as up4
  line 14: the currency "euro" is not a currency: write its three upper-case letters, such as EUR
  line 15: the currency is MXN, but EUR on the lines before: a deck has one currency
  line 16: it has 5 fields, the header has 8
  line 17: the rate "" is not a plain decimal number such as 1.25"#
    );
}

#[test]
fn hostile_files_are_refused_without_loss() {
    assert!(errors("").contains("line 1: the header lacks the column \"prefix\""));
    assert!(errors("prefix,rate\n").contains("lacks the column \"currency\""));
    assert!(errors("prefix,rate,currency,rate\n").contains("names the column \"rate\" twice"));
    assert!(errors("prefix,rate,currency,price\n").contains("the unknown column \"price\"; known are prefix, dest"));
    assert!(errors(b"prefix,rate,currency\n44,\xff,EUR\n").contains("line 2: it is not readable as CSV in UTF-8"));
    assert!(
        errors("prefix,rate,currency\r\n44,1,EUR\r\n\r\n44,2,EUR\r\n")
            .contains("line 4: the prefix \"44\" stands on line 2")
    );
    let open_quote = "prefix,rate,currency,destination\n44,1,EUR,\"UK\n45,1,EUR,DK\n";
    assert!(errors(open_quote).contains("line 2: the destination holds a line break"));
    let many = format!("{HEADER}{}", "bad\n".repeat(150));
    let refused = Deck::from_csv("retail", many.as_bytes()).unwrap_err();
    assert_eq!((refused.lines.len(), refused.count), (100, 150));
    assert!(refused.to_string().ends_with("and 50 more"));
}
