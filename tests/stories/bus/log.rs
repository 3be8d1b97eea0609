//! Append, record, read; documents and checkpoints.

use anyhow::Result;
use bus::{AppendError, Bus, OpenError};
use proto::{AppName, CallId, Filter, Kind, Partition, Stream, Subject, WalletId};

use super::{Place, callback, configured, contract, eventually, list, policy, posting, read_all, read_calls};

contract!(
    an_event_comes_back_as_it_went_in,
    a_duplicate_is_refused_and_named,
    an_expected_sequence_guards_a_subject,
    an_expected_sequence_guards_a_list,
    lists_and_policies_are_read_by_name,
    filters_and_sequences_select,
    a_kind_is_selected_of_every_app,
    an_empty_log_ends_at_once,
    more_than_a_page_is_read_in_order,
    recorded_together_stays_in_order,
    the_log_outlives_its_handle,
    documents_have_revisions,
    checkpoints_are_kept,
    many_record_at_once,
);

async fn an_event_comes_back_as_it_went_in(place: Place) -> Result<()> {
    let bus = place.open().await?;
    bus.healthy().map_err(anyhow::Error::msg)?;
    let mut event = callback(Kind::Ice, "a.b@c *>", "ü")?;
    event.data = bytes::Bytes::from_static(b"\xff\x00 not text");
    event.time = "2026-01-02T03:04:05.123456789Z".parse()?;
    let appended = bus.append(&event, None).await?;
    assert!(!appended.duplicate);
    let read = read_all(&bus, &Filter::All(Stream::Calls), 0).await?;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].seq, appended.seq);
    assert_eq!(read[0].event, event);
    Ok(())
}

async fn a_duplicate_is_refused_and_named(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let event = callback(Kind::Dice, "call", "1")?;
    let first = bus.append(&event, None).await?;
    bus.append(&callback(Kind::Dice, "call", "2")?, None).await?;
    let again = bus.append(&event, None).await?;
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
    bus.record(vec![event.clone()]).await?;
    assert_eq!(read_calls(&bus).await?.len(), 2);
    Ok(())
}

async fn an_expected_sequence_guards_a_subject(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let (one, other) = (WalletId::new("one")?, WalletId::new("other")?);
    let first = bus.append(&posting(&one, "1"), Some(0)).await?;
    bus.append(&posting(&other, "1"), Some(0)).await?;
    let second = bus.append(&posting(&one, "2"), Some(first.seq)).await?;
    let late = bus.append(&posting(&one, "3"), Some(first.seq)).await;
    assert!(matches!(late, Err(AppendError::Conflict { .. })), "{late:?}");
    // A writer that lost the answer to its own append: duplicate or conflict, but not a second event.
    match bus.append(&posting(&one, "2"), Some(first.seq)).await {
        Ok(again) => assert_eq!((again.seq, again.duplicate), (second.seq, true)),
        Err(error) => assert!(matches!(error, AppendError::Conflict { .. }), "{error}"),
    }
    assert_eq!(bus.last_seq(&Filter::Wallet(one.clone())).await?, second.seq);
    assert_eq!(read_all(&bus, &Filter::Wallet(one), 0).await?.len(), 2);
    Ok(())
}

async fn an_expected_sequence_guards_a_list(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let (vip, filter) = list("vip")?;
    let (blocked, _) = list("blocked")?;
    let first = bus.append(&configured(vip.clone(), "1"), Some(0)).await?;
    // Another list moves on, and so does the policy of an app of the same name: neither is in the way.
    bus.append(&configured(blocked, "1"), Some(0)).await?;
    bus.append(&configured(policy("vip")?.0, "1"), Some(0)).await?;
    let second = bus.append(&configured(vip.clone(), "2"), Some(first.seq)).await?;
    for late in [0, first.seq] {
        let late = bus.append(&configured(vip.clone(), "3"), Some(late)).await;
        assert!(matches!(late, Err(AppendError::Conflict { .. })), "{late:?}");
    }
    assert_eq!(bus.last_seq(&filter).await?, second.seq);
    assert_eq!(read_all(&bus, &filter, 0).await?.len(), 2);
    Ok(())
}

async fn lists_and_policies_are_read_by_name(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let events = [
        configured(list("vip")?.0, "1"),
        configured(policy("shop")?.0, "1"),
        configured(list("vips")?.0, "1"),
        configured(list("vip")?.0, "2"),
        configured(policy("shop-2")?.0, "1"),
    ];
    for event in &events {
        bus.append(event, None).await?;
    }
    bus.append(&posting(&WalletId::new("shop")?, "1"), None).await?;
    for (filter, expected) in [
        (Filter::All(Stream::Config), vec![0, 1, 2, 3, 4]),
        (list("vip")?.1, vec![0, 3]),
        (policy("shop")?.1, vec![1]),
        (list("nobody")?.1, vec![]),
    ] {
        let read = read_all(&bus, &filter, 0).await?;
        let expected: Vec<_> = expected.into_iter().map(|index: usize| &events[index]).collect();
        assert!(read.iter().map(|recorded| &recorded.event).eq(expected), "{filter:?}: {read:?}");
        assert_eq!(bus.last_seq(&filter).await?, read.last().map_or(0, |last| last.seq), "{filter:?}");
    }
    Ok(())
}

async fn a_kind_is_selected_of_every_app(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let mut other_app = callback(Kind::Dice, "call", "other")?;
    other_app.subject =
        Subject::Call { kind: Kind::Dice, app: AppName::new("office")?, partition: Partition::of_text("") };
    let events = [callback(Kind::Ice, "call", "")?, callback(Kind::Dice, "call", "")?, other_app];
    bus.record(events.to_vec()).await?;
    let read = read_all(&bus, &Filter::Kind(Kind::Dice), 0).await?;
    assert!(read.iter().map(|recorded| &recorded.event).eq(&events[1..]), "{read:?}");
    assert_eq!(bus.last_seq(&Filter::Kind(Kind::Dice)).await?, read[1].seq);
    assert_eq!(bus.last_seq(&Filter::Kind(Kind::Notify)).await?, 0);
    Ok(())
}

async fn filters_and_sequences_select(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let (call, kinds) = (CallId::new("call")?, [Kind::Ice, Kind::Ace, Kind::Dice]);
    for kind in kinds {
        bus.append(&callback(kind, "call", "")?, None).await?;
        bus.append(&callback(kind, "another call", "")?, None).await?;
    }
    assert_ne!(Partition::of(&call), Partition::of(&CallId::new("another call")?));
    bus.append(&posting(&WalletId::new("w")?, "1"), None).await?;

    let filter = Filter::Partition(Partition::of(&call));
    let read = read_all(&bus, &filter, 0).await?;
    let ids: Vec<_> = read.iter().map(|recorded| recorded.event.id.clone()).collect();
    let expected: Vec<_> = kinds.into_iter().map(|kind| Ok(callback(kind, "call", "")?.id)).collect::<Result<_>>()?;
    assert_eq!(ids, expected);
    assert_eq!(read_all(&bus, &filter, read[0].seq).await?, read[1..]);
    assert_eq!(bus.last_seq(&filter).await?, read[2].seq);
    assert_eq!(read_all(&bus, &Filter::All(Stream::Calls), 0).await?.len(), 6);
    assert_eq!(read_all(&bus, &Filter::All(Stream::Wallets), 0).await?.len(), 1);
    Ok(())
}

async fn an_empty_log_ends_at_once(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let wallet = Filter::Wallet(WalletId::new("nobody")?);
    assert_eq!(read_all(&bus, &Filter::All(Stream::Calls), 0).await?, []);
    assert_eq!(read_all(&bus, &wallet, 7).await?, []);
    assert_eq!(bus.last_seq(&wallet).await?, 0);
    assert_eq!(bus.last_seq(&Filter::All(Stream::Wallets)).await?, 0);
    Ok(())
}

async fn more_than_a_page_is_read_in_order(place: Place) -> Result<()> {
    const EVENTS: usize = 700;
    let bus = place.open().await?;
    let wallet = WalletId::new("w")?;
    let events: Vec<_> = (0..EVENTS).map(|n| posting(&wallet, &n.to_string())).collect();
    bus.record(events.clone()).await?;
    for filter in [Filter::All(Stream::Wallets), Filter::Wallet(wallet)] {
        let read = read_all(&bus, &filter, 0).await?;
        assert!(read.is_sorted_by_key(|recorded| recorded.seq));
        assert!(read.iter().map(|recorded| &recorded.event).eq(&events));
    }
    Ok(())
}

async fn recorded_together_stays_in_order(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let events = vec![callback(Kind::Ice, "call", "1")?, callback(Kind::Decided, "call", "2")?];
    bus.record(events.clone()).await?;
    assert_eq!(read_calls(&bus).await?, events);
    Ok(())
}

async fn the_log_outlives_its_handle(place: Place) -> Result<()> {
    let event = callback(Kind::Ice, "call", "1")?;
    let bus = place.open().await?;
    let appended = bus.append(&event, None).await?;
    drop(bus);
    let bus = place.open().await?;
    assert_eq!(read_calls(&bus).await?, vec![event.clone()]);
    let again = bus.append(&event, None).await?;
    assert_eq!((again.seq, again.duplicate), (appended.seq, true));
    assert!(bus.append(&callback(Kind::Ice, "call", "2")?, None).await?.seq > appended.seq);
    Ok(())
}

async fn documents_have_revisions(place: Place) -> Result<()> {
    let bus = place.open().await?;
    assert_eq!(bus.document("deck").await?, None);
    assert_eq!(bus.document_revision("deck").await?, None);
    let first = bus.put_document("deck", "46,0.01".into()).await?;
    // Larger than one message of a broker.
    let bytes = bytes::Bytes::from(vec![b'7'; 3_000_000]);
    let second = bus.put_document("deck", bytes.clone()).await?;
    assert_ne!(first, second);
    assert_eq!(bus.document_revision("deck").await?, Some(second.clone()));
    let document = bus.document("deck").await?;
    assert!(document.is_some_and(|document| document.revision == second && document.bytes == bytes));
    Ok(())
}

async fn checkpoints_are_kept(place: Place) -> Result<()> {
    let bus = place.open().await?;
    assert_eq!(bus.checkpoint("billing").await?, None);
    bus.set_checkpoint("billing", 7).await?;
    bus.set_checkpoint("billing", 9).await?;
    drop(bus);
    assert_eq!(place.open().await?.checkpoint("billing").await?, Some(9));
    Ok(())
}

async fn many_record_at_once(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let mut recording = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (bus, call) = (bus.clone(), format!("call {n}"));
        let events = vec![callback(Kind::Ice, &call, "")?, callback(Kind::Decided, &call, "")?];
        recording.spawn(async move { bus.record(events).await });
    }
    while let Some(recorded) = recording.join_next().await {
        recorded??;
    }
    assert_eq!(read_calls(&bus).await?.len(), 400);
    Ok(())
}

#[tokio::test]
async fn a_directory_has_one_writer_and_any_number_of_readers() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let bus = Bus::embedded(directory.path())?;
    let second = Bus::embedded(directory.path());
    assert!(matches!(second, Err(OpenError::Held(_))), "{second:?}");
    bus.append(&callback(Kind::Ice, "call", "1")?, None).await?;
    let reader = Bus::embedded_read_only(directory.path())?;
    assert_eq!(read_calls(&reader).await?.len(), 1);
    assert!(reader.append(&callback(Kind::Ice, "call", "2")?, None).await.is_err());
    assert!(reader.healthy().is_err());
    let nothing = tempfile::tempdir()?;
    assert!(matches!(Bus::embedded_read_only(nothing.path()), Err(OpenError::File { .. })));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_fails_fast_and_serves_when_back() -> Result<()> {
    let Place::Nats(mut server) = Place::nats()? else { anyhow::bail!("not a broker") };
    let bus = Bus::nats(super::nats_config(&server, None)).await?;
    let event = callback(Kind::Ice, "call", "1")?;
    server.kill();
    eventually("it is noticed", async || Ok(bus.healthy().is_err().then_some(()))).await?;
    let began = std::time::Instant::now();
    assert!(bus.record(vec![event.clone()]).await.is_err());
    assert!(matches!(bus.append(&event, None).await, Err(AppendError::Unavailable(_))));
    assert!(read_calls(&bus).await.is_err());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    let asked = bus.ask("ask.v1.ice.shop", bus::Question::default(), deadline).await;
    assert!(matches!(asked, Err(bus::AskError::Unavailable(_))), "{asked:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    server.restart()?;
    eventually("it is back", async || Ok(bus.record(vec![event.clone()]).await.ok())).await?;
    assert_eq!(read_calls(&bus).await?, vec![event]);
    Ok(())
}
