use bytes::Bytes;
use proto::{DeckPutInForce, Event, EventId, Subject};
use tempfile::TempDir;

use super::*;
use crate::deck_log::{Imported, import};

struct World {
    bus: Bus,
    name: DeckName,
    decks: Decks,
    _directory: TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::embedded(directory.path()).unwrap();
        let name = DeckName::new("standard").unwrap();
        let decks = Decks::load(&bus, ["standard".to_owned()].into_iter(), at("10:00:00")).await.unwrap();
        Self { bus, name, decks, _directory: directory }
    }

    async fn import(&self, rate: &str, from: &str, now: &str) -> Imported {
        import(&self.bus, &self.name, &deck(rate), Some(at(from)), at(now)).await.unwrap()
    }

    async fn look(&self, now: &str) {
        self.decks.refresh(&self.bus, at(now)).await.unwrap();
    }

    fn rate(&self, when: &str) -> Option<String> {
        let number = proto::PhoneNumber::parse("+46701234567").unwrap();
        let deck = self.decks.find("standard", at(when))?;
        Some(deck.lookup(&number)?.price.tiers()[0].rate.to_string())
    }

    fn loaded(&self) -> usize {
        self.decks.loaded.read().unwrap()["standard"].decks.len()
    }
}

fn at(time: &str) -> Timestamp {
    format!("2026-11-30T{time}Z").parse().unwrap()
}

fn csv(rate: &str) -> String {
    format!("prefix,rate,currency\n46,{rate},EUR\n")
}

fn deck(rate: &str) -> Deck {
    Deck::from_csv("standard", csv(rate).as_bytes()).unwrap()
}

#[tokio::test]
async fn a_call_is_rated_by_the_version_in_force_when_it_comes() {
    let world = World::start().await;
    assert_eq!(world.rate("10:00:00"), None);
    world.import("1", "10:00:00", "10:00:00").await;
    world.import("2", "12:00:00", "10:00:01").await;
    world.look("10:00:02").await;
    assert_eq!((world.rate("10:00:02"), world.rate("09:59:59"), world.loaded()), (Some("1".into()), None, 1));
    world.look("11:59:30").await;
    assert_eq!(world.loaded(), 2, "loaded before its time");
    assert_eq!((world.rate("11:59:59"), world.rate("12:00:00")), (Some("1".into()), Some("2".into())));
    world.look("12:00:05").await;
    assert_eq!(world.rate("11:59:59"), Some("1".into()), "for a call that was asked about before");
    world.look("12:00:11").await;
    assert_eq!((world.loaded(), world.rate("12:00:11")), (1, Some("2".into())));
}

#[tokio::test]
async fn a_version_that_cannot_be_read_leaves_the_one_before_it_in_use() {
    let world = World::start().await;
    world.import("1", "10:00:00", "10:00:00").await;
    world.look("10:00:01").await;
    let lost = DeckPutInForce { version: "0123456789abcdef".to_owned(), effective_from: at("11:00:00"), prefixes: 1 };
    let event = Event {
        id: EventId::of(&["lost"]),
        subject: Subject::Deck(world.name.clone()),
        about: String::new(),
        source: "api".to_owned(),
        time: at("10:30:00"),
        extra: Vec::new(),
        data: Bytes::from(serde_json::to_vec(&lost).unwrap()),
    };
    world.bus.append(&event, None).await.unwrap();
    world.look("11:30:00").await;
    assert_eq!(world.rate("11:30:00"), Some("1".into()));
    world.import("3", "11:31:00", "11:31:00").await;
    world.look("11:31:01").await;
    assert_eq!(world.rate("11:31:01"), Some("3".into()));
}

#[tokio::test]
async fn the_document_of_an_earlier_build_is_in_use_until_the_first_import() {
    let world = World::start().await;
    world.bus.put_document(&deck_document("standard"), csv("1").into()).await.unwrap();
    world.look("10:00:00").await;
    assert_eq!(world.rate("09:00:00"), Some("1".into()));
    world.bus.put_document(&deck_document("standard"), csv("2").into()).await.unwrap();
    world.look("10:00:01").await;
    assert_eq!(world.rate("10:00:01"), Some("2".into()));
    world.import("3", "10:00:02", "10:00:02").await;
    world.look("10:00:03").await;
    assert_eq!((world.rate("10:00:01"), world.rate("10:00:03")), (Some("2".into()), Some("3".into())));
}
