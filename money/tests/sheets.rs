//! Rate sheets as carriers and other systems write them: each becomes the deck that our own file would be.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use money::{Deck, DeckFormat, Sheet};

const OURS: &str = "prefix,destination,connect_fee,rate,increments,currency,included_s,no_charge_s\n";

fn sheet(text: &str, terms: Sheet) -> (Deck, DeckFormat) {
    Deck::from_sheet("retail", text.as_bytes(), &terms).unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: impl AsRef<[u8]>, terms: Sheet) -> String {
    Deck::from_sheet("retail", text.as_ref(), &terms).unwrap_err().to_string()
}

fn in_eur() -> Sheet {
    Sheet { currency: Some("EUR".parse().unwrap()), ..Sheet::default() }
}

fn at(day: &str) -> Sheet {
    Sheet { in_force_at: Some(format!("{day}T00:00:00Z").parse().unwrap()), ..in_eur() }
}

/// A sheet is the same deck as these lines of our own columns.
#[track_caller]
fn same(text: &str, format: DeckFormat, ours: &str) {
    let (deck, found) = sheet(text, at("2026-06-01"));
    let expected = Deck::from_csv("retail", format!("{OURS}{ours}").as_bytes()).unwrap();
    assert_eq!(String::from_utf8(deck.to_csv()).unwrap(), String::from_utf8(expected.to_csv()).unwrap());
    assert_eq!((deck.identity(), found), (expected.identity(), format));
    let said = Sheet { format: Some(format), ..at("2026-06-01") };
    assert_eq!(sheet(text, said).0.identity(), expected.identity());
}

#[test]
fn the_sheets_of_carriers() {
    let two = "44,UK,0,0.02,60/60,EUR,,\n447,UK Mobile,0,0.05,30/6,EUR,,\n";
    for text in [
        "Prefix,Destination,Rate,Interval\n44,UK,0.02,60/60\n447,UK Mobile,0.05,30/6\n",
        "Code, Country, Rate/min, Interval, Effective date\n44,UK,0.02,60/60,2026-05-01\n447,UK Mobile,0.05,30/6,\n",
        "\u{feff}Dial code;Country;Destination;Price EUR/min;Increment\r\n44;UK;UK;0,02;60\r\n447;UK;Mobile;0,05;30/6\r\n;;;;\r\n",
        "\"Destination\"\t\"Dial Codes\"\t\"Rate (EUR)\"\t\"Billing Increment\"\nUK\t+44\t0.02\t60/60\nUK Mobile\t447\t0.05\t30/6\n",
        "DESTINATION|PREFIX|RATE PER MINUTE|INITIAL INTERVAL|NEXT INTERVAL|CURRENCY\nUK|44|0.02|60|60|EUR\nUK Mobile|447|0.05|30|6|EUR\n",
        "Prefix;Destination;Cost per minute;First Increment;Subsequent Increment;Valid from;Valid to;ISO\n\
            44;UK;0.02;0;60;01.06.2026;31.12.2026;GB\n447;UK Mobile;0.05;30;6;01.01.2020;;GB\n",
    ] {
        same(text, DeckFormat::Carrier, two);
    }
    let (per_second, _) = sheet("Prefix,Rate per second,Setup fee\n44,0.002,0.1\n", in_eur());
    let ours = "prefix,rate,unit_s,connect_fee,currency\n44,0.002,1,0.1,EUR\n";
    assert_eq!(per_second.identity(), Deck::from_csv("retail", ours.as_bytes()).unwrap().identity());
}

#[test]
fn the_sheets_of_other_systems() {
    same(
        "Code,Destination,Connection Cost (EUR),Grace Time,Cost / Min (EUR),Initial Increment,Increment,Strip,Prepend\n\
            1,UNITED STATES,0,10,0.5,60,6,0,0\n91,India,0.1,15,0.25,0,60,0,0\n",
        DeckFormat::Astpp,
        "1,UNITED STATES,0,0.5,60/6,EUR,10,\n91,India,0.1,0.25,60/60,EUR,15,\n",
    );
    same(
        "Category,Country,Network,Prefix,Rate,Connection fee,Initial increment,Recurring increment,Reject calls,Next rate,\
            Effective at,Comment\nInternational,Sweden,Tele2 Mobile,4670,0.03,0.0,30,6,false,0.04,2026-12-01T00:00:00Z,\n",
        DeckFormat::Didww,
        "4670,Sweden Tele2 Mobile,0,0.03,30/6,EUR,,\n",
    );
    same(
        "digits,rate,connect_rate,connect_increment,talk_increment,currency,description,prefix,lead_strip,lcr_direction,enabled,\
            date_start,date_end\n\
            4670,0.03,0,30,6,EUR,Sweden,9,0,outbound,true,2020-01-01 00:00:00,2099-12-31 23:59:59\n",
        DeckFormat::Fusionpbx,
        "4670,Sweden,0,0.03,30/6,EUR,,\n",
    );
    same(
        "Destination name,Destination prefix,Per minute rate,Connection charge,Charge period\nSpain,+34,0.02,0.1,60\n",
        DeckFormat::Ivozprovider,
        "34,Spain,0.1,0.02,60/60,EUR,,\n",
    );
    same(
        "prefix,iso_country_code,description,rate_cost,rate_increment,rate_minimum,rate_surcharge,rate_nocharge_time,direction\n\
            46,SE,Sweden,0.02,6,60,0.1,3,outbound\n",
        DeckFormat::Kazoo,
        "46,Sweden,0.1,0.02,60/6,EUR,,3\n",
    );
}

#[test]
fn the_joined_tables_of_cgrates() {
    let text = "#Id,Prefix,DestinationId,ConnectFee,Rate,RateUnit,RateIncrement,GroupIntervalStart,RoundingMethod,RoundingDecimals,\
            MaxCost,MaxCostStrategy\n\
        RT_1,49,DST_DE,0.2,1.2,1m,60s,0s,*middle,4,2.5,*free\nRT_1,49,DST_DE,0.2,1.2,60s,1s,1m,*middle,4,2.5,*free\n";
    let ours = "prefix,destination,connect_fee,rate,increments,rounding,currency,max_cost\n\
        49,DST_DE,0.2,1.2,60/1,half_up4,EUR,2.5 free\n";
    let (deck, format) = sheet(text, in_eur());
    assert_eq!(
        (deck.identity(), format),
        (Deck::from_csv("retail", ours.as_bytes()).unwrap().identity(), DeckFormat::Cgrates)
    );
}

#[test]
fn our_own_columns_need_no_format_and_may_come_from_a_spreadsheet() {
    let (deck, format) = sheet("prefix;rate;currency\n44;0,02;EUR\n", Sheet::default());
    assert_eq!(format, DeckFormat::Callbus);
    assert_eq!(
        deck.to_csv(),
        b"prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency\n44,,0,0.02,60,1/1,up4,EUR\n"
    );
    let (without, _) = sheet("prefix,rate\n44,0.02\n", in_eur());
    assert_eq!(without.identity(), deck.identity());
    assert!(
        Deck::from_csv("retail", b"Prefix,Rate,Currency\n44,0.02,EUR\n").is_err(),
        "a stored deck is in our own format"
    );
}

#[test]
fn decimals_are_never_guessed() {
    let rates = |rates: &[&str]| {
        let lines: String = (1..).zip(rates).map(|(prefix, rate)| format!("{prefix};{rate}\n")).collect();
        Deck::from_sheet("retail", format!("Prefix;Rate\n{lines}").as_bytes(), &in_eur())
            .map(|(deck, _)| {
                let csv = String::from_utf8(deck.to_csv()).unwrap();
                csv.lines().skip(1).map(|line| line.split(',').nth(3).unwrap().to_owned()).collect::<Vec<_>>()
            })
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(rates(&["1,234", "0,5"]).unwrap(), ["1.234", "0.5"]);
    assert_eq!(rates(&["1,234", "0.5"]).unwrap(), ["1234", "0.5"]);
    assert_eq!(rates(&["1.234,50", "2.000"]).unwrap(), ["1234.5", "2000"]);
    assert_eq!(rates(&["1.234", "2"]).unwrap(), ["1.234", "2"]);
    assert!(rates(&["1,234", "2"]).unwrap_err().contains("line 2: the rate \"1,234\" may be thousands or decimals"));
    assert!(
        rates(&["0,5", "0.7"]).unwrap_err().contains("line 3: the rate \"0.7\" has its decimals written otherwise")
    );
    assert!(rates(&["0,5", "$1"]).unwrap_err().contains("line 3: the rate \"$1\" is not a plain decimal"));
}

#[test]
fn a_price_is_not_used_before_or_after_its_days() {
    let text = "Prefix,Rate,Effective date,End date\n44,1,2026-12-01,\n45,1,,01.06.2026\n46,1,soon,\n47,1,2026-06-01,2026-06-02\n";
    assert_eq!(
        refused(text, at("2026-06-01")),
        r#"the deck "retail" was not loaded, 3 of its lines are bad:
  line 2: its price begins at 2026-12-01T00:00:00Z, and the import is for 2026-06-01T00:00:00Z; import it with --from 2026-12-01T00:00:00Z
  line 3: its price ended at 2026-06-01T00:00:00Z, and the import is for 2026-06-01T00:00:00Z
  line 4: "soon" is not a day such as 2026-12-01"#
    );
}

#[test]
fn what_a_sheet_may_mean_otherwise_is_refused() {
    for (text, terms, reason) in [
        (
            "Prefix,Rate\n44,1\n",
            Sheet::default(),
            "line 1: the header lacks the column \"currency\"; it needs prefix, rate and currency (or --currency)",
        ),
        ("Prefix,Rate,Change\n44,1,\n", in_eur(), "the column \"Change\", which carrier sheets do not have"),
        ("Prefix,Rate (USD)\n44,1\n", in_eur(), "line 1: the currency is USD, but EUR"),
        ("Prefix,Rate,Currency\n44,1,USD\n", in_eur(), "line 2: the currency is USD, but EUR"),
        ("Prefix,New rate\n44,1\n", in_eur(), "the column \"New rate\""),
        ("Prefix,Rate,Price\n44,1,2\n", in_eur(), "names the column \"Price\" twice"),
        ("Prefix,Rate per minute,Rate per second\n44,1,2\n", in_eur(), "names the column \"rate\" twice"),
        ("Destination,Rate\nUK,1\n", in_eur(), "lacks the column \"prefix\""),
        ("Prefix,Rate,Destination\n", in_eur(), "line 1: there are no prefixes below the header"),
        ("Prefix,Rate,Destination\n,,\n", in_eur(), "there are no prefixes"),
        ("Prefix,Rate,Interval\n44,1,1-Jan\n", in_eur(), "line 2: the increments \"1-Jan\" are not first/next seconds"),
        ("Prefix,Rate,Interval\n44,1,60/0\n", in_eur(), "line 2: the increments \"60/0\""),
        (
            "digits,rate,enabled\n44,1,false\n",
            in_eur(),
            "line 2: its enabled is \"false\": the row does not hold for every call",
        ),
        ("digits,rate,connect_rate\n44,1,0.5\n", in_eur(), "line 2: its connect_rate is \"0.5\""),
        ("prefix,rate_cost,direction\n44,1,inbound\n", in_eur(), "its direction is \"inbound\""),
        ("Category,Prefix,Rate\nOrigin based,44,1\n", in_eur(), "its Category is \"Origin based\""),
        ("", in_eur(), "line 1: the header lacks the column \"prefix\""),
    ] {
        let said = refused(text, terms);
        assert!(said.contains(reason), "{text:?}: {said}");
    }
    assert!(refused(b"Prefix,Rate\n44,1\n45,\xff\n", in_eur()).contains("line 3: it is not readable as CSV in UTF-8"));
    let said = Sheet { format: Some(DeckFormat::Kazoo), ..in_eur() };
    assert!(refused("Prefix,Rate\n44,1\n", said).contains("the column \"Rate\", which kazoo sheets do not have"));
}
