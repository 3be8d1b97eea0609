//! The rating filters as a process: rows in, results out, in a directory without any configuration.
#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

const COST: &str = include_str!("../../money/fixtures/rating/cost.jsonl");
const GRANT: &str = include_str!("../../money/fixtures/rating/grant.jsonl");
const PREFIX: &str = include_str!("../../money/fixtures/rating/prefix.jsonl");

/// Each row's answer is read before the next row is written: a filter keeps nothing back.
fn filter(which: &str, rows: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("directory");
    let mut process = Command::new(env!("CARGO_BIN_EXE_callbus"))
        .args(["deck", which])
        .current_dir(directory.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let mut input = process.stdin.take().expect("stdin");
    let mut output = BufReader::new(process.stdout.take().expect("stdout")).lines();
    let answers = rows.lines().map(|row| {
        writeln!(input, "{row}").expect("written");
        let line = output.next().expect("an answer").expect("text");
        serde_json::from_str(&line).expect("JSON")
    });
    let answers = answers.collect();
    drop(input);
    assert!(process.wait().expect("ended").success());
    answers
}

fn holds(which: &str, rows: &str, fields: &[&str]) {
    for (row, answer) in rows.lines().zip(filter(which, rows)) {
        let row: Value = serde_json::from_str(row).expect("JSON");
        assert_eq!(answer["id"], row["id"]);
        for field in fields {
            assert_eq!(answer.get(field), row["expect"].get(field), "{} {field}", row["id"]);
        }
    }
}

#[test]
fn every_row_comes_to_what_it_expects() {
    holds("rate", COST, &["cost", "billed_s", "total"]);
    holds("grant", GRANT, &["max_duration_s", "hold", "grants", "left"]);
    holds("match", PREFIX, &["prefix"]);
}
