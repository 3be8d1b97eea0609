use ::parquet::data_type::AsBytes;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, RowAccessor};
use bytes::Bytes;
use serde_json::json;

use super::*;

fn cdr(call: &str, cost_micros: Option<i64>) -> Cdr {
    let mut row: Cdr = CDRS.columns.iter().map(|(column, _)| ((*column).to_owned(), Value::Null)).collect();
    let known = json!({
        "ended_at": "2026-01-02T03:04:05.678+00:00", "app": "acme", "call": call, "leg_number": 1, "caller": "+46701234567",
        "callee": "=HYPERLINK(\"http://x\")", "duration_secs": 95, "overrun": false, "unmatched": true, "seq": 7,
        "cost_micros": cost_micros, "currency": "EUR", "price": { "currency": "EUR" },
    });
    row.extend(known.as_object().unwrap().clone());
    row
}

fn file(format: Format, pages: &[Vec<Cdr>]) -> Vec<u8> {
    let mut encoder = Encoder::new(format).unwrap();
    let mut bytes: Vec<u8> = pages.iter().flat_map(|page| encoder.rows(page).unwrap()).collect();
    bytes.extend(encoder.finish().unwrap());
    bytes
}

#[test]
fn csv_has_headings_once_and_no_formulas() {
    let text = String::from_utf8(file(Format::Csv, &[vec![cdr("a", Some(-1))], vec![cdr("b", None)]])).unwrap();
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let headings = csv.headers().unwrap().clone();
    assert!(headings.iter().any(|name| name == "cost") && !headings.iter().any(|name| name.contains("micros")));
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let at = |row: usize, name: &str| &rows[row][headings.iter().position(|heading| heading == name).unwrap()];
    assert_eq!((rows.len(), at(0, "cost"), at(1, "cost")), (2, "-0.000001", ""));
    assert_eq!(at(0, "callee"), "'=HYPERLINK(\"http://x\")");
    assert_eq!((at(0, "caller"), at(0, "ended_at")), ("+46701234567", "2026-01-02T03:04:05.678000Z"));
    assert_eq!(String::from_utf8(file(Format::Csv, &[])).unwrap().lines().count(), 1);
    for (given, cell) in [("@SUM(1)", "'@SUM(1)"), ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"), ("a=b", "a=b")] {
        assert_eq!(harmless(given), cell);
    }
}

#[test]
fn json_is_one_object_a_line() {
    let text = String::from_utf8(file(Format::Json, &[vec![cdr("a", Some(1_900_000)), cdr("b", None)]])).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["cost"], &lines[0]["duration_secs"]), (2, &json!("1.9"), &json!(95)));
    assert_eq!(lines[1].get("cost"), None);
}

#[test]
fn parquet_reads_back() {
    let bytes = file(Format::Parquet, &[vec![cdr("a", Some(1_900_000)), cdr("b", None)], vec![cdr("c", Some(1))]]);
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let schema = reader.metadata().file_metadata().schema();
    assert_eq!((reader.num_row_groups(), schema.get_fields().len()), (2, CDRS.columns.len()));
    let column = |name: &str| schema.get_fields().iter().position(|field| field.name() == name).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let calls: Vec<&String> = rows.iter().map(|row| row.get_string(column("call")).unwrap()).collect();
    assert_eq!(calls, ["a", "b", "c"]);
    let cost = rows[0].get_decimal(column("cost")).unwrap();
    let unscaled = cost.data().as_bytes().iter().fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
    assert_eq!((unscaled, cost.scale()), (1_900_000, 6));
    let field = |row: usize, name: &str| rows[row].get_column_iter().nth(column(name)).unwrap().1.clone();
    assert_eq!(field(1, "cost"), Field::Null);
    assert_eq!(field(0, "ended_at"), Field::TimestampMillis(1_767_323_045_678));
    assert_eq!(field(0, "unmatched"), Field::Bool(true));
}
