//! A deck written and read back is the same deck; and what changes from one version to the next.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::Timestamp;
use money::{ChangeKind, Deck, DeckDiff, Sheet};
use proptest::prelude::*;

fn deck(lines: &str) -> Deck {
    let header = "prefix,destination,connect_fee,rate,increments,rounding,currency,from\n";
    Deck::from_csv("retail", format!("{header}{lines}").as_bytes()).unwrap()
}

fn noon() -> Timestamp {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

#[test]
fn a_written_deck_has_the_columns_it_needs() {
    let plain = deck("447,\"UK, mobile\",0.1,0.05,30/6,up4,EUR,\n44,UK,,0.02,60/60,up4,EUR,\n");
    assert_eq!(
        String::from_utf8(plain.to_csv()).unwrap(),
        "prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency\n\
         44,UK,0,0.02,60,60/60,up4,EUR\n\
         447,\"UK, mobile\",0.1,0.05,60,30/6,up4,EUR\n"
    );
    let evenings = deck("44,UK,,0.02,60/1,up4,EUR,\n44,UK,,0.01,1/1,up4,EUR,18:00\n");
    let written = String::from_utf8(evenings.to_csv()).unwrap();
    assert!(written.ends_with("44,UK,0,0.01,60,1/1,up4,EUR,,,,,18:00:00,,,,,,,\n"), "{written}");
}

#[test]
fn a_diff_says_what_becomes_of_every_prefix() {
    let old = deck(
        "1,US,,0.01,1/1,up4,EUR,\n33,France,,0.03,60/60,up4,EUR,\n44,UK,,0.02,60/60,up4,EUR,\n\
         45,DK,,0.03,1/1,up4,EUR,\n46,SE,,0,1/1,up4,EUR,\n47,NO,0.1,0.2,1/1,up4,EUR,\n",
    );
    let new = deck(
        "1,US,,0.01,1/1,up4,EUR,\n33,France,,0.03,60/1,up4,EUR,\n44,UK,,0.025,60/60,up4,EUR,\n\
         45,DK,,0.02,1/1,up4,EUR,\n46,SE,,0.01,1/1,up4,EUR,\n441,UK London,,0.01,1/1,up4,EUR,\n",
    );
    let diff = DeckDiff::between(&old, &new, noon());
    let told: Vec<_> = diff
        .changes
        .iter()
        .map(|change| {
            let percent = change.percent.map(|percent| percent.to_string());
            (change.prefix.as_str(), change.change, change.old_cost.as_deref(), change.new_cost.as_deref(), percent)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("33", ChangeKind::Otherwise, Some("0.03"), Some("0.03"), Some("0".to_owned())),
            ("44", ChangeKind::Dearer, Some("0.02"), Some("0.025"), Some("25".to_owned())),
            ("441", ChangeKind::Added, None, Some("0.01"), None),
            ("45", ChangeKind::Cheaper, Some("0.03"), Some("0.02"), Some("-33.33".to_owned())),
            ("46", ChangeKind::Dearer, Some("0"), Some("0.01"), None),
            ("47", ChangeKind::Removed, Some("0.3"), None, None),
        ]
    );
    assert_eq!((diff.same, diff.count(ChangeKind::Dearer)), (1, 2));
}

#[test]
fn prices_with_other_units_are_compared_exactly() {
    let header = "prefix,rate,unit_s,currency\n";
    let of = |line: &str| Deck::from_csv("retail", format!("{header}{line}").as_bytes()).unwrap();
    let (minute, seven) = (of("1,0.6,60,EUR\n"), of("1,0.07,7,EUR\n"));
    let diff = DeckDiff::between(&minute, &seven, noon());
    assert_eq!((diff.changes[0].change, diff.changes[0].new_cost.as_deref()), (ChangeKind::Otherwise, Some("0.6")));
    let dearer = DeckDiff::between(&minute, &of("1,0.070000001,7,EUR\n"), noon());
    assert_eq!(dearer.changes[0].change, ChangeKind::Dearer);
}

prop_compose! {
    /// The lines of one prefix: base terms in one or two tiers, and perhaps a period.
    fn any_prefix()(
        destination in "[ -~åß\u{2003}]{0,12}",
        fees in ("0|0\\.[0-9]{1,6}", "0|0\\.[0-9]{1,6}"),
        rates in ("[0-9]{1,2}\\.[0-9]{1,9}", "[0-9]{1,4}"),
        unit in 1_u32..120,
        (first, next) in (1_u32..90, 1_u32..90),
        tier in proptest::option::of(1_u32..4),
        period in proptest::option::of(("(1-5|6;7|)", "(12|1;3|)", "(24-26|)", 0_u32..24, 0_i32..3)),
        limits in ("(add|minimum)", "(0|0\\.1)", "(|5 free|7\\.5 disconnect)", 0_u32..40, 0_u32..9),
        rounding in "(up|down|half_up|half_even)[0-6]",
        zone in "(UTC|Europe/Stockholm)",
    ) -> Vec<Vec<String>> {
        let (mode, min, max, included, no_charge) = limits;
        let line = |fee: &str, rate: &str, increments: (u32, u32), start: u32, period: &Option<(String, String, String, u32, i32)>| {
            let (days, months, month_days, hour, weight) = period.clone().unwrap_or_default();
            let of_period = |text: String| if period.is_some() { text } else { String::new() };
            vec![
                destination.clone(), fee.to_owned(), rate.to_owned(), unit.to_string(),
                format!("{}/{}", increments.0, increments.1), rounding.clone(), "EUR".to_owned(), start.to_string(),
                days, months, month_days, of_period(format!("{hour:02}:30")), of_period(weight.to_string()),
                zone.clone(), mode.clone(), min.clone(), max.clone(), included.to_string(), no_charge.to_string(),
            ]
        };
        let mut lines = vec![line(&fees.0, &rates.0, (first, next), 0, &None)];
        if let Some(times) = tier {
            lines.push(line(&fees.0, &rates.1, (next, next), first + next * times, &None));
        }
        if period.is_some() {
            lines.push(line(&fees.1, &rates.1, (next, first), 0, &period));
        }
        lines
    }
}

fn any_csv() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::btree_map("[1-9][0-9]{0,14}", any_prefix(), 1..12).prop_map(|prefixes| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = "prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency,start_s,weekdays,months,month_days,\
            from,weight,time_zone,connect_fee_mode,min_cost,max_cost,included_s,no_charge_s";
        writer.write_record(header.split(',')).unwrap();
        for (prefix, lines) in &prefixes {
            for line in lines {
                writer.write_record(std::iter::once(prefix).chain(line)).unwrap();
            }
        }
        writer.into_inner().unwrap()
    })
}

proptest! {
    #[test]
    fn a_deck_survives_being_written(csv in any_csv()) {
        let deck = Deck::from_csv("retail", &csv).map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        let written = deck.to_csv();
        let back = Deck::from_csv("retail", &written).map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        prop_assert_eq!(back.identity(), deck.identity());
        prop_assert_eq!(&back.to_csv(), &written);
        let diff = DeckDiff::between(&deck, &back, noon());
        prop_assert_eq!((diff.changes.len(), diff.same), (0, deck.len()));
    }

    #[test]
    fn other_versions_differ(one in any_csv(), other in any_csv()) {
        let (one, other) = (Deck::from_csv("retail", &one).unwrap(), Deck::from_csv("retail", &other).unwrap());
        let diff = DeckDiff::between(&one, &other, noon());
        prop_assert_eq!(diff.changes.is_empty(), one.identity() == other.identity());
        prop_assert!(diff.changes.is_sorted_by(|one, other| one.prefix < other.prefix));
        prop_assert_eq!(diff.same + diff.changes.len() - diff.count(ChangeKind::Added), one.len());
    }

    #[test]
    fn no_bytes_make_a_sheet_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), head in "(Prefix[,;]Rate\n)?") {
        let sheet = Sheet { currency: "EUR".parse().ok(), ..Sheet::default() };
        let _ = Deck::from_sheet("retail", &[head.as_bytes(), &bytes].concat(), &sheet);
    }
}
