//! A deck of 200,000 prefixes: import, look-up, memory. `cargo bench -p money`.
//!
//! Wanted: imported in 5 s, a look-up in 1 µs, 64 MiB of memory.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::fmt::Write;

use divan::{AllocProfiler, Bencher, black_box};
use jiff::Timestamp;
use money::{Deck, DeckDiff, Sheet};
use proto::PhoneNumber;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const PREFIXES: u64 = 200_000;

fn main() {
    divan::main();
}

/// The sheet of a carrier: 900 places, 350 prices, prefixes of 8 digits.
fn sheet() -> String {
    let mut text = "Prefix,Destination,Connect fee,Rate,Interval,Currency\n".to_owned();
    for n in 0..PREFIXES {
        let (prefix, place) = (10_000_000 + n * 37, n % 900);
        writeln!(text, "{prefix},Place {place},0,{}.0{},60/6,EUR", n % 7, n % 50).expect("written");
    }
    text
}

fn deck() -> Deck {
    Deck::from_sheet("bench", sheet().as_bytes(), &Sheet::default()).expect("deck").0
}

/// "max alloc" is what the import needs at its peak, beside the file; what stays is in `hold`.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn import_sheet(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(sheet)
        .bench_refs(|text| Deck::from_sheet("bench", text.as_bytes(), &Sheet::default()).expect("deck"));
}

/// As a worker does it.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn import_canonical(bencher: Bencher<'_, '_>) {
    let csv = deck().to_csv();
    bencher.bench(|| Deck::from_csv("bench", black_box(&csv)).expect("deck"));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn export(bencher: Bencher<'_, '_>) {
    let deck = deck();
    bencher.bench(|| deck.to_csv());
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn diff(bencher: Bencher<'_, '_>) {
    let (old, new) = (deck(), deck());
    bencher.bench(|| DeckDiff::between(&old, &new, Timestamp::UNIX_EPOCH));
}

/// What the deck holds: "max alloc" of a copy.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn hold(bencher: Bencher<'_, '_>) {
    let deck = deck();
    bencher.bench(|| deck.clone());
}

#[divan::bench(sample_count = 1_000, sample_size = 1_000)]
fn look_up_15_digits(bencher: Bencher<'_, '_>) {
    let deck = deck();
    let number = PhoneNumber::parse("+100000371234567").expect("number");
    bencher.bench(|| deck.lookup(black_box(&number)).is_some());
}
