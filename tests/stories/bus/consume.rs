//! Durable consumers: done, retry, dead, crash, order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use bus::{Bus, ConsumerSpec, Recorded, Unavailable, Verdict};
use proto::{Filter, Kind, Partition, Stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Place, callback, contract, eventually, read_all};

contract!(
    events_are_handed_over_once_and_not_again_after_a_restart,
    a_retry_comes_again_and_holds_only_its_lane,
    a_dead_event_is_put_aside_and_the_next_goes_on,
    after_a_crash_what_was_not_done_comes_again_in_order,
    a_lane_keeps_its_order_under_retries,
    a_stop_finishes_what_runs,
    a_handler_that_panics_ends_the_consumer_and_loses_nothing,
    events_from_before_and_after_the_start_are_consumed,
    a_consumer_of_one_kind_is_handed_no_other,
    consumers_of_several_partitions_share_the_calls,
    a_consumer_begins_where_it_is_told,
);

pub(super) fn spec(name: &str) -> ConsumerSpec {
    ConsumerSpec { name: name.to_owned(), filter: Filter::All(Stream::Calls), max_in_flight: 8, always_worked: false }
}

/// A running consumer that tells what it was handed.
pub(super) struct Running {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Unavailable>>,
    handed: mpsc::UnboundedReceiver<Recorded>,
}

impl Running {
    fn start(bus: &Bus, name: &str, verdict: impl Fn(&Recorded) -> Verdict + Send + Sync + 'static) -> Self {
        Self::start_with(bus, name, async || Ok(()), verdict)
    }

    pub(super) fn start_with<G: Future<Output = Result<(), Unavailable>> + Send + 'static>(
        bus: &Bus,
        name: &str,
        begin: impl Fn() -> G + Send + Sync + 'static,
        verdict: impl Fn(&Recorded) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self::start_spec(bus, spec(name), begin, verdict)
    }

    fn start_spec<G: Future<Output = Result<(), Unavailable>> + Send + 'static>(
        bus: &Bus,
        spec: ConsumerSpec,
        begin: impl Fn() -> G + Send + Sync + 'static,
        verdict: impl Fn(&Recorded) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let (tell, handed) = mpsc::unbounded_channel();
        let (stop, mut tasks, bus) = (CancellationToken::new(), JoinSet::new(), bus.clone());
        let stopping = stop.clone();
        tasks.spawn(async move {
            let handler = move |recorded: Recorded| {
                let verdict = verdict(&recorded);
                let _ = tell.send(recorded);
                async move { verdict }
            };
            bus.consume(spec, move |_| begin(), handler, stopping).await
        });
        Self { stop, tasks, handed }
    }

    /// The text of the next event.
    pub(super) async fn next(&mut self) -> Result<String> {
        match tokio::time::timeout(Duration::from_secs(30), self.handed.recv()).await? {
            Some(recorded) => Ok(text(&recorded)),
            None => anyhow::bail!("the consumer has ended: {:?}", self.tasks.join_next().await),
        }
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

pub(super) fn text(recorded: &Recorded) -> String {
    let body = String::from_utf8_lossy(&recorded.event.data).into_owned();
    body.split(r#""text":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

pub(super) async fn fill(bus: &Bus, call: &str, texts: &[&str]) -> Result<()> {
    for text in texts {
        bus.append(&callback(Kind::Notify, call, text)?, None).await?;
    }
    Ok(())
}

async fn events_are_handed_over_once_and_not_again_after_a_restart(place: Place) -> Result<()> {
    let bus = place.open().await?;
    assert_eq!(bus.consumer_floor(&spec("c").filter, "c").await?, 0);
    fill(&bus, "call", &["1", "2", "3"]).await?;
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    for expected in ["1", "2", "3"] {
        assert_eq!(running.next().await?, expected);
    }
    running.stop().await?;
    assert_eq!(bus.consumer_floor(&spec("c").filter, "c").await?, 3);
    drop(bus);

    let bus = place.open().await?;
    fill(&bus, "call", &["4"]).await?;
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    assert_eq!(running.next().await?, "4");
    let mut other = Running::start(&bus, "another", |_| Verdict::Done);
    assert_eq!(other.next().await?, "1");
    other.stop().await?;
    running.stop().await
}

async fn a_retry_comes_again_and_holds_only_its_lane(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["slow", "behind"]).await?;
    fill(&bus, "another call", &["free"]).await?;
    let attempts = Mutex::new(0);
    let mut running = Running::start(&bus, "c", move |recorded| {
        let mut attempts = attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *attempts += usize::from(text(recorded) == "slow");
        if text(recorded) == "slow" && *attempts < 3 {
            Verdict::Retry(Duration::from_millis(300))
        } else {
            Verdict::Done
        }
    });
    let mut handed = Vec::new();
    for _ in 0..5 {
        handed.push(running.next().await?);
    }
    let of_lane: Vec<&str> = handed.iter().map(String::as_str).filter(|text| *text != "free").collect();
    assert_eq!(of_lane, ["slow", "slow", "slow", "behind"]);
    assert!(handed[..2].contains(&"free".to_owned()), "{handed:?}");
    running.stop().await
}

async fn a_dead_event_is_put_aside_and_the_next_goes_on(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["poison", "fine"]).await?;
    let mut running = Running::start(&bus, "c", |recorded| {
        if text(recorded) == "poison" { Verdict::Dead("cannot read: é".to_owned()) } else { Verdict::Done }
    });
    assert_eq!(running.next().await?, "poison");
    assert_eq!(running.next().await?, "fine");
    running.stop().await?;
    let letters = bus.dead_letters("c").await?;
    assert_eq!(letters.len(), 1);
    let poison = callback(Kind::Notify, "call", "poison")?;
    assert_eq!(letters[0].seq, 1);
    assert_eq!(letters[0].id.as_ref(), Some(&poison.id));
    assert_eq!(letters[0].subject.as_ref(), Some(&poison.subject));
    assert_eq!(letters[0].reason, "cannot read: é");
    assert_eq!(bus.dead_letters("another").await?, []);
    assert_eq!(bus.consumer_floor(&spec("c").filter, "c").await?, 2);
    Ok(())
}

async fn after_a_crash_what_was_not_done_comes_again_in_order(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["1", "2", "3"]).await?;
    let mut running = Running::start(&bus, "c", |recorded| {
        if text(recorded) == "1" { Verdict::Done } else { Verdict::Retry(Duration::from_secs(600)) }
    });
    assert_eq!(running.next().await?, "1");
    assert_eq!(running.next().await?, "2");
    running.tasks.shutdown().await;
    drop((running, bus));

    let bus = place.open().await?;
    fill(&bus, "call", &["4"]).await?;
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    let mut handed = vec![running.next().await?];
    while handed.last().is_some_and(|last| last != "4") {
        handed.push(running.next().await?);
    }
    // "1" may come twice, what was not done must come, all in order.
    assert!(handed.ends_with(&["2", "3", "4"].map(str::to_owned)), "{handed:?}");
    assert!(handed.len() <= 4, "{handed:?}");
    running.stop().await
}

async fn a_lane_keeps_its_order_under_retries(place: Place) -> Result<()> {
    const EVENTS: usize = 40;
    let bus = place.open().await?;
    let calls = ["a", "b", "c", "d"];
    for n in 0..EVENTS {
        for call in calls {
            fill(&bus, call, &[&format!("{call} {n}")]).await?;
        }
    }
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&done);
    let mut running = Running::start(&bus, "c", move |recorded| {
        let text = text(recorded);
        let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let times = seen.entry(text.clone()).or_default();
        *times += 1;
        // Every seventh event fails at first.
        if *times == 1 && recorded.seq % 7 == 0 {
            return Verdict::Retry(Duration::from_millis(5));
        }
        kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text);
        Verdict::Done
    });
    let all = async || {
        let done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok((done.len() >= EVENTS * calls.len()).then(|| done.clone()))
    };
    let done = eventually("all is handled", all).await?;
    for call in calls {
        let of_call: Vec<_> = done.iter().filter(|text| text.starts_with(call)).cloned().collect();
        let expected: Vec<_> = (0..EVENTS).map(|n| format!("{call} {n}")).collect();
        assert_eq!(of_call, expected);
    }
    running.handed.close();
    running.stop().await
}

async fn a_stop_finishes_what_runs(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["1", "2"]).await?;
    let (began, mut begun) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (consuming, stopping) = (bus.clone(), stop.clone());
    tasks.spawn(async move {
        let handler = move |_| {
            let began = began.clone();
            async move {
                let _ = began.send(());
                tokio::time::sleep(Duration::from_millis(300)).await;
                Verdict::Done
            }
        };
        consuming.consume(spec("c"), async |_| Ok(()), handler, stopping).await
    });
    assert!(begun.recv().await.is_some());
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    assert_eq!(bus.consumer_floor(&spec("c").filter, "c").await?, 1, "the first is done, the second was not begun");
    Ok(())
}

async fn events_from_before_and_after_the_start_are_consumed(place: Place) -> Result<()> {
    const EVENTS: usize = 600;
    let bus = place.open().await?;
    let events = |range: std::ops::Range<usize>| -> Result<Vec<_>> {
        range.map(|n| callback(Kind::Notify, &format!("call {n}"), &n.to_string())).collect()
    };
    bus.record(events(0..EVENTS / 2)?).await?;
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    running.next().await?;
    bus.record(events(EVENTS / 2..EVENTS)?).await?;
    for _ in 1..EVENTS {
        running.next().await?;
    }
    running.stop().await?;
    assert_eq!(bus.consumer_floor(&spec("c").filter, "c").await?, EVENTS as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_consumes_and_the_other_takes_over() -> Result<()> {
    let place = Place::nats()?;
    let (bus, other_bus) = (place.open().await?, place.open().await?);
    let mut one = Running::start(&bus, "c", |_| Verdict::Done);
    fill(&bus, "call", &["1"]).await?;
    assert_eq!(one.next().await?, "1");
    let mut other = Running::start(&other_bus, "c", |_| Verdict::Done);
    fill(&bus, "call", &["2", "3"]).await?;
    assert_eq!(one.next().await?, "2");
    assert_eq!(one.next().await?, "3");
    // A standby that leaves changes nothing for the one that works.
    let third = Running::start(&other_bus, "c", |_| Verdict::Done);
    third.stop().await?;
    fill(&bus, "call", &["4"]).await?;
    assert_eq!(one.next().await?, "4");
    one.stop().await?;
    assert!(other.handed.try_recv().is_err(), "the standby was handed something");
    fill(&bus, "call", &["5"]).await?;
    assert_eq!(other.next().await?, "5");
    other.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_outlives_a_restart_of_the_broker() -> Result<()> {
    let Place::Nats(mut server) = Place::nats()? else { anyhow::bail!("not a broker") };
    let bus = Bus::nats(super::nats_config(&server, None)).await?;
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    fill(&bus, "call", &["1"]).await?;
    assert_eq!(running.next().await?, "1");
    server.restart()?;
    let refill = async || Ok(fill(&bus, "call", &["2"]).await.ok());
    eventually("the broker is back", refill).await?;
    // What was done just before may come twice.
    while running.next().await? != "2" {}
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_event_is_put_aside() -> Result<()> {
    let Place::Nats(server) = Place::nats()? else { anyhow::bail!("not a broker") };
    let bus = Bus::nats(super::nats_config(&server, None)).await?;
    let stranger = async_nats::jetstream::new(async_nats::connect(server.url()).await?);
    stranger.publish("calls.v1.junk", "{}".into()).await?.await?;
    fill(&bus, "call", &["1"]).await?;
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    assert_eq!(running.next().await?, "1");
    running.stop().await?;
    let letters = bus.dead_letters("c").await?;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].seq, &letters[0].id), (1, &None));
    let read: Vec<_> = futures::StreamExt::collect(bus.read(&Filter::All(Stream::Calls), 0)).await;
    assert!(matches!(&read[..], [Err(bus::ReadError::NotAnEvent { seq: 1, .. }), Ok(_)]), "{read:?}");
    stranger.publish("calls.v1.junk", "{}".into()).await?.await?;
    let mut events = bus.events(&Filter::All(Stream::Calls), 0);
    assert_eq!(events.next().await?.map(|next| next.seq), Some(2));
    assert_eq!(events.passed_seq(), 2);
    assert_eq!(events.next().await?, None);
    assert_eq!(events.passed_seq(), 3, "what was passed over is not read again");
    Ok(())
}

async fn a_handler_that_panics_ends_the_consumer_and_loses_nothing(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["1"]).await?;
    let handler = |_| async { panic!("a bug in a handler") };
    assert!(bus.consume(spec("c"), async |_| Ok(()), handler, CancellationToken::new()).await.is_err());
    let mut running = Running::start(&bus, "c", |_| Verdict::Done);
    assert_eq!(running.next().await?, "1");
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_a_dead_process_held_come_to_the_next_though_nothing_new_is_published() -> Result<()> {
    let place = Place::nats()?;
    let bus = place.open().await?;
    fill(&bus, "call", &["1", "2"]).await?;
    let mut dead = Running::start(&bus, "c", |_| Verdict::Retry(Duration::from_secs(600)));
    assert_eq!(dead.next().await?, "1");
    dead.tasks.shutdown().await;
    let began = tokio::time::Instant::now();
    let mut next = Running::start(&bus, "c", |_| Verdict::Done);
    assert_eq!(next.next().await?, "1");
    assert_eq!(next.next().await?, "2");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    next.stop().await
}

async fn a_consumer_of_one_kind_is_handed_no_other(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let (dice, notify) = (Filter::Kind(Kind::Dice), Filter::Kind(Kind::Notify));
    let start = |bus: &Bus, name: &str, filter: &Filter| {
        let spec = ConsumerSpec { filter: filter.clone(), ..spec(name) };
        Running::start_spec(bus, spec, async || Ok(()), |_| Verdict::Done)
    };
    let mixed = async |bus: &Bus, text: &str| {
        let kinds = [Kind::Ice, Kind::Decided, Kind::Dice, Kind::Notify, Kind::Settled];
        let events: Result<Vec<_>> =
            kinds.into_iter().map(|kind| callback(kind, "call", &format!("{kind} {text}"))).collect();
        anyhow::Ok(bus.record(events?).await?)
    };
    mixed(&bus, "1").await?;
    let (mut ends, mut notes) = (start(&bus, "ends", &dice), start(&bus, "notes", &notify));
    assert_eq!((ends.next().await?, notes.next().await?), ("dice 1".to_owned(), "notify 1".to_owned()));
    mixed(&bus, "2").await?;
    assert_eq!((ends.next().await?, notes.next().await?), ("dice 2".to_owned(), "notify 2".to_owned()));
    ends.stop().await?;
    notes.stop().await?;
    let end = bus.last_seq(&Filter::All(Stream::Calls)).await?;
    assert_eq!(bus.consumer_floor(&dice, "ends").await?, end, "nothing up to the end of the log is for it");
    drop(bus);

    // Each goes on where it was.
    let bus = place.open().await?;
    mixed(&bus, "3").await?;
    let (mut ends, mut notes) = (start(&bus, "ends", &dice), start(&bus, "notes", &notify));
    assert_eq!((ends.next().await?, notes.next().await?), ("dice 3".to_owned(), "notify 3".to_owned()));
    ends.stop().await?;
    notes.stop().await
}

/// Two consumers share the partitions; together they are handed everything once.
async fn consumers_of_several_partitions_share_the_calls(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let share = |odd: u8| {
        let partitions = Partition::all().filter(|partition| partition.index() % 2 == odd).collect();
        ConsumerSpec { filter: Filter::Partitions(partitions), ..spec(if odd == 1 { "odd" } else { "even" }) }
    };
    for n in 0..12 {
        bus.record(vec![callback(Kind::Ice, &format!("call {n}"), &n.to_string())?]).await?;
    }
    let mut handed: Vec<String> = Vec::new();
    for spec in [share(0), share(1)] {
        let (read, filter) = (read_all(&bus, &spec.filter, 0).await?, spec.filter.clone());
        let mut running = Running::start_spec(&bus, spec.clone(), async || Ok(()), |_| Verdict::Done);
        for _ in &read {
            handed.push(running.next().await?);
        }
        running.stop().await?;
        assert_eq!(bus.last_seq(&filter).await?, read.last().map_or(0, |last| last.seq));
        assert_eq!(bus.consumer_floor(&filter, &spec.name).await?, 12);
    }
    handed.sort_by_key(|text| text.parse::<u32>().ok());
    assert_eq!(handed, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
    Ok(())
}

async fn a_consumer_begins_where_it_is_told(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["1", "2", "3"]).await?;
    for (after_seq, first) in [(2, "3"), (1, "2")] {
        bus.restart_consumer(&spec("c"), after_seq).await?;
        assert_eq!(bus.consumer_floor(&spec("c").filter, "c").await?, after_seq);
        let mut running = Running::start(&bus, "c", |_| Verdict::Done);
        assert_eq!(running.next().await?, first);
        running.stop().await?;
    }
    Ok(())
}
