//! The spool: what was recorded reaches the broker, whatever happens to either.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream;
use bus::{Bus, Durability, RecordError, SpoolConfig};
use futures::FutureExt;
use proto::{Event, Kind, Stream};
use tests::nats::Nats;

use super::{callback, eventually, nats_config, read_calls};

fn spool(directory: &Path) -> SpoolConfig {
    SpoolConfig::new(directory, Duration::from_millis(250))
}

async fn open(server: &Nats, directory: &Path) -> Result<Bus> {
    Ok(Bus::nats(nats_config(server, Some(spool(directory)))).await?)
}

fn events(range: std::ops::Range<usize>) -> Result<Vec<Event>> {
    range.map(|n| callback(Kind::Notify, "call", &n.to_string())).collect()
}

async fn arrived(bus: &Bus, count: usize) -> Result<Vec<Event>> {
    let look = async || {
        let read = read_calls(bus).await.unwrap_or_default();
        Ok((read.len() >= count).then_some(read))
    };
    eventually("all have arrived", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_while_the_broker_is_down_arrives_in_order_and_once() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let bus = open(&server, directory.path()).await?;
    let all = events(0..60)?;
    for event in &all[..20] {
        bus.record(vec![event.clone()]).await?;
    }
    arrived(&bus, 20).await?;
    server.kill();
    for event in &all[20..40] {
        let recording = bus.record(vec![event.clone()]);
        tokio::time::timeout(Duration::from_secs(1), recording).await??;
    }
    bus.healthy().map_err(anyhow::Error::msg)?;
    server.restart()?;
    bus.record(all[40..].to_vec()).await?;
    assert_eq!(arrived(&bus, 60).await?, all);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_comes_up_while_the_broker_is_down() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    server.kill();
    let bus = open(&server, directory.path()).await?;
    bus.record(events(0..3)?).await?;
    server.restart()?;
    assert_eq!(arrived(&bus, 3).await?, events(0..3)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_forgot_what_it_acknowledged_gets_it_again() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let bus = open(&server, directory.path()).await?;
    bus.record(events(0..30)?).await?;
    arrived(&bus, 30).await?;
    server.lose_everything()?;
    server.restart()?;
    assert_eq!(arrived(&bus, 30).await?, events(0..30)?);
    Ok(())
}

/// The broker has it before anybody is told so; this disk only what the broker cannot take.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_replicated_needs_no_spool_while_the_broker_is_there() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let config = SpoolConfig { durability: Durability::Replicated, ..spool(directory.path()) };
    let bus = Bus::nats(nats_config(&server, Some(config))).await?;
    let all = events(0..30)?;
    eventually("the broker is there", async || {
        bus.record(all[..10].to_vec()).await?;
        Ok((read_calls(&bus).await?.len() == 10).then_some(()))
    })
    .await?;
    let spooled = bus.spooled_bytes();
    bus.record(all[10..15].to_vec()).await?;
    assert_eq!((read_calls(&bus).await?, bus.spooled_bytes()), (all[..15].to_vec(), spooled));
    server.kill();
    for event in &all[15..25] {
        tokio::time::timeout(Duration::from_secs(1), bus.record(vec![event.clone()])).await??;
    }
    assert!(bus.spooled_bytes() > spooled, "it is on the disk");
    server.restart()?;
    bus.record(all[25..].to_vec()).await?;
    assert_eq!(arrived(&bus, 30).await?, all);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_spool_is_adopted() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    // Two processes; the broker is down, and both die.
    server.kill();
    let one = open(&server, directory.path()).await?;
    let other = open(&server, directory.path()).await?;
    one.record(events(0..2)?).await?;
    other.record(vec![callback(Kind::Ice, "another call", "")?]).await?;
    drop((one, other));
    server.restart()?;
    let bus = open(&server, directory.path()).await?;
    let read = arrived(&bus, 3).await?;
    assert_eq!(read.iter().filter(|event| event.about == "call").cloned().collect::<Vec<_>>(), events(0..2)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_has_kept_long_enough_makes_room() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let config = SpoolConfig {
        keep: Duration::from_millis(100),
        bytes_max: 2_000,
        ..SpoolConfig::new(directory.path(), Duration::ZERO)
    };
    let bus = Bus::nats(nats_config(&server, Some(config))).await?;
    server.kill();
    bus.record(events(0..3)?).await?;
    let full = bus.record(events(3..4)?).await;
    assert!(matches!(full, Err(RecordError::Full { .. })), "{full:?}");
    server.restart()?;
    eventually("there is room again", async || Ok(bus.record(events(3..4)?).await.ok())).await?;
    assert_eq!(arrived(&bus, 4).await?, events(0..4)?);
    Ok(())
}

/// Who records waits only so long; the writer may write all the same.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_waiting_takes_the_room_of_what_was_written_and_no_more() -> Result<()> {
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let config = SpoolConfig { bytes_max: 2_000, ..spool(directory.path()) };
    let bus = Bus::nats(nats_config(&server, Some(config))).await?;
    server.kill();
    for _ in 0..100 {
        // Polled once, so it is on its way to the writer; then nobody waits.
        drop(bus.record(events(0..1)?).now_or_never());
    }
    // Room for three: the one that was written and two more.
    eventually("all is accounted for", async || Ok(bus.record(events(1..3)?).await.ok())).await?;
    let full = bus.record(events(3..4)?).await;
    assert!(matches!(full, Err(RecordError::Full { .. })), "{full:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_after_the_window_for_duplicates_has_the_same_id() -> Result<()> {
    const WINDOW: Duration = Duration::from_millis(100);
    let (mut server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let operator = jetstream::new(async_nats::connect(server.url()).await?);
    let calls = jetstream::stream::Config {
        name: Stream::Calls.name().to_owned(),
        subjects: vec![Stream::Calls.subjects().to_owned()],
        duplicate_window: WINDOW,
        allow_direct: true,
        ..jetstream::stream::Config::default()
    };
    operator.create_stream(calls).await?;
    let bus = open(&server, directory.path()).await?;
    bus.record(events(0..3)?).await?;
    arrived(&bus, 3).await?;
    server.kill();
    // So that what the broker has is older than its window.
    tokio::time::sleep(WINDOW * 2).await;
    server.restart()?;
    assert_eq!(arrived(&bus, 6).await?, [events(0..3)?, events(0..3)?].concat());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_the_broker_never_takes_does_not_stop_the_others() -> Result<()> {
    let (server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let bus = open(&server, directory.path()).await?;
    let mut huge = callback(Kind::Notify, "call", "huge")?;
    huge.data = vec![b' '; 2_000_000].into();
    bus.record(vec![huge]).await?;
    bus.record(events(0..2)?).await?;
    assert_eq!(arrived(&bus, 2).await?, events(0..2)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hands_over_what_is_left() -> Result<()> {
    let (server, directory) = (Nats::start()?, tempfile::tempdir()?);
    let bus = open(&server, directory.path()).await?;
    bus.record(events(0..500)?).await?;
    bus.drain().await;
    assert_eq!(read_calls(&bus).await?, events(0..500)?);
    Ok(())
}
