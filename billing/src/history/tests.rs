//! Snapshots are used where they are right, and only there.

use bytes::Bytes;
use money::posting::{POSTINGS_MAX, TopUp};
use money::{Micros, Posting, PostingId};
use proto::event::json;
use proto::{Event, Subject};
use tempfile::TempDir;

use super::*;
use crate::Admission;
use crate::admission::MemoryAdmission;
use crate::ledger::{Intent, Ledger};

const EVENTS: usize = 22;

fn id() -> WalletId {
    WalletId::new("busy").unwrap()
}

fn top_up(id: &str) -> TopUp {
    let id = PostingId::new(id).unwrap();
    TopUp { id, amount: Micros::parse("0.01").unwrap(), grant: None, note: String::new(), by: "test".to_owned() }
}

/// A log in which a wallet has a long history.
async fn log() -> (TempDir, Bus) {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::embedded(directory.path()).unwrap();
    for nth in 0..EVENTS {
        let postings = (0..POSTINGS_MAX).map(|n| Posting::TopUpPosted(top_up(&format!("{nth}-{n}")))).collect();
        let event = WalletEvent { wallet: id(), currency: "EUR".parse().unwrap(), postings };
        let event = Event {
            id: EventId::of(&["long", &nth.to_string()]),
            subject: Subject::Wallet(id()),
            about: id().to_string(),
            source: "billing".to_owned(),
            time: Timestamp::UNIX_EPOCH,
            extra: Vec::new(),
            data: Bytes::from(json(&event)),
        };
        bus.append(&event, None).await.unwrap();
    }
    (directory, bus)
}

/// Posts something, so that the ledger folds the wallet, and keeps what snapshots are due.
async fn post(bus: &Bus, name: &str) {
    let ledger = Ledger::new(bus.clone(), Admission::Memory(MemoryAdmission::default()), bus::Clock::System);
    let intent = Intent::TopUp { currency: "EUR".parse().unwrap(), top_up: top_up(name) };
    assert!(ledger.post(&id(), intent).await.unwrap().new);
    ledger.tidy().await;
}

async fn unread(bus: &Bus) -> usize {
    let folded = Folded::of(bus, &id()).await.unwrap();
    assert_eq!(folded.wallet, Folded::from_the_beginning(bus, &id()).await.unwrap().wallet);
    folded.unkept
}

#[tokio::test]
async fn a_long_history_is_read_from_its_snapshot() {
    let (_directory, bus) = log().await;
    assert_eq!(unread(&bus).await, EVENTS * POSTINGS_MAX, "there is no snapshot yet");
    post(&bus, "first").await;
    assert_eq!(unread(&bus).await, 0);
    post(&bus, "second").await;
    assert_eq!(unread(&bus).await, 1, "the next snapshot is not due");
}

#[tokio::test]
async fn a_snapshot_that_is_no_good_is_passed_over() {
    let (_directory, bus) = log().await;
    post(&bus, "first").await;
    let name = "wallet-snapshot.busy";
    let kept = bus.document(name).await.unwrap().unwrap().bytes;
    let text = String::from_utf8(kept.to_vec()).unwrap();
    let another_version = text.replacen("\"version\":1", "\"version\":999", 1);
    let another_wallet = text.replacen("\"wallet\":\"busy\"", "\"wallet\":\"idle\"", 1);
    let cut_off = text[..text.len() / 2].to_owned();
    for (bad, why) in [(another_version, "version"), (another_wallet, "wallet"), (cut_off, "length")] {
        assert_ne!(bad, text, "{why}");
        bus.put_document(name, bad.into()).await.unwrap();
        assert_eq!(unread(&bus).await, EVENTS * POSTINGS_MAX + 1, "{why}");
    }
}

#[tokio::test]
async fn a_snapshot_of_another_log_is_passed_over() {
    let ((_one, bus), (_other, other)) = (log().await, log().await);
    post(&bus, "first").await;
    // The same place, another event: a log that was lost and begun anew.
    post(&other, "another").await;
    let name = "wallet-snapshot.busy";
    let foreign = other.document(name).await.unwrap().unwrap();
    bus.put_document(name, foreign.bytes).await.unwrap();
    assert_eq!(unread(&bus).await, EVENTS * POSTINGS_MAX + 1);
    // And one whose end this log has not reached, as after a restore.
    post(&other, "and-one-more").await;
    let ahead = Folded::of(&other, &id()).await.unwrap();
    snapshot::keep(&bus, &id(), ahead.last.unwrap(), ahead.wallet).await.unwrap();
    assert_eq!(unread(&bus).await, EVENTS * POSTINGS_MAX + 1);
}
