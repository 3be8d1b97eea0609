//! A process is told when it begins to work a consumer, and can ask whether it does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream;
use bus::{Bus, Unavailable, Verdict};
use proto::Stream;
use tests::nats::Nats;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::consume::{Running, fill, spec, text};
use super::{Place, contract, eventually, nats_config};

contract!(
    nothing_is_handed_over_before_the_beginning_has_succeeded,
    a_stop_does_not_wait_for_the_beginning,
    who_does_not_consume_reads_the_floor,
);

/// What happened, in order.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A consumer that notes beginnings and events.
    fn consume(&self, bus: &Bus) -> Running {
        let (begins, handles) = (self.clone(), self.clone());
        let begin = move || {
            begins.add("begin");
            async { Ok(()) }
        };
        Running::start_with(bus, "c", begin, move |recorded| {
            handles.add(text(recorded));
            Verdict::Done
        })
    }
}

async fn is_ours(bus: &Bus) -> Result<bool> {
    Ok(bus.consumer_standing(&spec("c").filter, "c").await?.ours)
}

async fn floor_is(bus: &Bus, floor: u64) -> Result<()> {
    let look = async || Ok((bus.consumer_floor(&spec("c").filter, "c").await? == floor).then_some(()));
    eventually("the floor has moved", look).await
}

/// An error as a beginning that cannot reach the log would give it.
async fn unavailable() -> Result<Unavailable> {
    let directory = tempfile::tempdir()?;
    drop(Bus::embedded(directory.path())?);
    let read_only = Bus::embedded_read_only(directory.path())?;
    match read_only.set_checkpoint("c", 1).await {
        Err(error) => Ok(error),
        Ok(()) => anyhow::bail!("a log that is open for reading was written"),
    }
}

async fn nothing_is_handed_over_before_the_beginning_has_succeeded(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["1", "2"]).await?;
    let (story, error) = (Story::default(), unavailable().await?);
    let (begins, handles, asks) = (story.clone(), story.clone(), bus.clone());
    let begin = move || {
        let (story, error, bus) = (begins.clone(), error.clone(), asks.clone());
        async move {
            let standing = bus.consumer_standing(&spec("c").filter, "c").await?;
            assert!(!standing.ours && standing.floor == 0, "{standing:?}");
            story.add("begin");
            if story.told().len() == 1 { Err(error) } else { Ok(()) }
        }
    };
    assert!(!is_ours(&bus).await?);
    let mut running = Running::start_with(&bus, "c", begin, move |recorded| {
        handles.add(text(recorded));
        Verdict::Done
    });
    assert_eq!(running.next().await?, "1");
    assert!(is_ours(&bus).await?);
    assert_eq!(running.next().await?, "2");
    running.stop().await?;
    assert_eq!(story.told(), ["begin", "begin", "1", "2"]);
    assert!(!is_ours(&bus).await?);
    Ok(())
}

async fn a_stop_does_not_wait_for_the_beginning(place: Place) -> Result<()> {
    let bus = place.open().await?;
    fill(&bus, "call", &["1"]).await?;
    let story = Story::default();
    let begins = story.clone();
    let begin = move || {
        begins.add("begin");
        std::future::pending()
    };
    let running = Running::start_with(&bus, "c", begin, |_| Verdict::Done);
    eventually("it begins", async || Ok(story.told().first().cloned())).await?;
    running.stop().await?;
    floor_is(&bus, 0).await
}

async fn who_does_not_consume_reads_the_floor(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let before = bus.consumer_standing(&spec("c").filter, "c").await?;
    assert_eq!(before, bus::Standing { floor: 0, ours: false, worked: false });
    fill(&bus, "call", &["1", "2"]).await?;
    let story = Story::default();
    let mut running = story.consume(&bus);
    assert_eq!((running.next().await?, running.next().await?), ("1".to_owned(), "2".to_owned()));
    running.stop().await?;
    let after = bus.consumer_standing(&spec("c").filter, "c").await?;
    assert_eq!(after, bus::Standing { floor: 2, ours: false, worked: false });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_begins_before_its_first_event() -> Result<()> {
    let place = Place::nats()?;
    let (bus, other_bus) = (place.open().await?, place.open().await?);
    let (story, other_story) = (Story::default(), Story::default());
    let mut one = story.consume(&bus);
    fill(&bus, "call", &["1"]).await?;
    assert_eq!(one.next().await?, "1");
    let mut other = other_story.consume(&other_bus);
    fill(&bus, "call", &["2"]).await?;
    assert_eq!(one.next().await?, "2");
    assert!(is_ours(&bus).await? && !is_ours(&other_bus).await?);
    one.stop().await?;
    fill(&bus, "call", &["3"]).await?;
    assert_eq!(other.next().await?, "3");
    assert!(!is_ours(&bus).await? && is_ours(&other_bus).await?);
    other.stop().await?;
    assert_eq!(story.told(), ["begin", "1", "2"]);
    assert_eq!(other_story.told(), ["begin", "3"]);
    Ok(())
}

/// The broker's operator, who can take a pin away and see who has it.
struct Operator(jetstream::stream::Stream);

impl Operator {
    async fn of(server: &Nats) -> Result<Self> {
        let jetstream = jetstream::new(async_nats::connect(server.url()).await?);
        Ok(Self(jetstream.get_stream(Stream::Calls.name()).await?))
    }

    async fn unpin(&self) -> Result<()> {
        Ok(self.0.unpin_consumer("c", "callbus").await?)
    }

    async fn pin(&self) -> Result<Option<String>> {
        let info = self.0.consumer_info("c").await?;
        Ok(info.priority_groups.into_iter().find_map(|group| group.pinned_client_id))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_is_lost_and_regained_begins_anew() -> Result<()> {
    let Place::Nats(server) = Place::nats()? else { anyhow::bail!("not a broker") };
    let bus = Bus::nats(nats_config(&server, None)).await?;
    let story = Story::default();
    let mut running = story.consume(&bus);
    fill(&bus, "call", &["1"]).await?;
    assert_eq!(running.next().await?, "1");
    floor_is(&bus, 1).await?;
    assert!(is_ours(&bus).await?);
    Operator::of(&server).await?.unpin().await?;
    assert!(!is_ours(&bus).await?);
    fill(&bus, "call", &["2"]).await?;
    assert_eq!(running.next().await?, "2");
    assert!(is_ours(&bus).await?);
    running.stop().await?;
    assert_eq!(story.told(), ["begin", "1", "begin", "2"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_under_a_lost_pin_ends_before_the_next_beginning() -> Result<()> {
    let Place::Nats(server) = Place::nats()? else { anyhow::bail!("not a broker") };
    let bus = Bus::nats(nats_config(&server, None)).await?;
    let (story, may_end) = (Story::default(), Arc::new(Semaphore::new(0)));
    let (begins, handles, waits) = (story.clone(), story.clone(), Arc::clone(&may_end));
    let begin = move || {
        begins.add("begin");
        async { Ok(()) }
    };
    let handler = move |recorded| {
        let (story, may_end) = (handles.clone(), Arc::clone(&waits));
        async move {
            story.add(format!("{} begins", text(&recorded)));
            let may_end = may_end.acquire().await.map(tokio::sync::SemaphorePermit::forget);
            story.add(format!("{} ends", text(&recorded)));
            may_end.map_or_else(|closed| Verdict::Dead(closed.to_string()), |()| Verdict::Done)
        }
    };
    let (stop, mut tasks, consuming) = (CancellationToken::new(), JoinSet::new(), bus.clone());
    let stopping = stop.clone();
    tasks.spawn(async move { consuming.consume(spec("c"), move |_| begin(), handler, stopping).await });
    // "behind" waits in the lane of "1" and must not be begun under the lost pin.
    fill(&bus, "call", &["1", "behind"]).await?;
    let story_is =
        async |end: &str| eventually(end, async || Ok(story.told().contains(&end.to_owned()).then_some(()))).await;
    story_is("1 begins").await?;
    let operator = Operator::of(&server).await?;
    let lost = operator.pin().await?;
    operator.unpin().await?;
    fill(&bus, "another call", &["2"]).await?;
    let look = async || Ok(operator.pin().await?.filter(|pin| Some(pin) != lost.as_ref()));
    eventually("the process is pinned again", look).await?;
    may_end.add_permits(3);
    story_is("behind ends").await?;
    story_is("2 ends").await?;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let told = story.told();
    assert_eq!(told[..4], ["begin", "1 begins", "1 ends", "begin"]);
    assert_eq!(told.len(), 8, "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_beginning_keeps_the_pin() -> Result<()> {
    /// Longer than the broker waits for a process that no longer pulls.
    const LONG: Duration = Duration::from_secs(8);
    let place = Place::nats()?;
    let (bus, other_bus) = (place.open().await?, place.open().await?);
    let story = Story::default();
    // More than one pull brings, so that the broker has more to give than is asked for.
    for n in 0..2_000 {
        fill(&bus, &format!("call {n}"), &[&n.to_string()]).await?;
    }
    let begins = story.clone();
    let begin = move || {
        begins.add("begin");
        async {
            tokio::time::sleep(LONG).await;
            Ok(())
        }
    };
    let mut one = Running::start_with(&bus, "c", begin, |_| Verdict::Done);
    eventually("it begins", async || Ok(story.told().first().cloned())).await?;
    let other_story = Story::default();
    let other = other_story.consume(&other_bus);
    for _ in 0..2_000 {
        one.next().await?;
    }
    assert!(is_ours(&bus).await? && !is_ours(&other_bus).await?);
    other.stop().await?;
    one.stop().await?;
    assert_eq!(story.told(), ["begin"]);
    assert_eq!(other_story.told(), Vec::<String>::new());
    Ok(())
}

/// To begin is to read again all that is still needed: it must not be had for a heartbeat that comes late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_silent_for_a_while_ends_no_turn() -> Result<()> {
    let server = Nats::start()?;
    let bus = Bus::nats(nats_config(&server, None)).await?;
    let story = Story::default();
    let mut running = story.consume(&bus);
    fill(&bus, "call", &["1"]).await?;
    running.next().await?;
    server.signal("STOP")?;
    // Longer than the client waits for a heartbeat, shorter than the broker waits for a pull.
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.signal("CONT")?;
    fill(&bus, "call", &["2"]).await?;
    running.next().await?;
    running.stop().await?;
    assert_eq!(story.told(), ["begin", "1", "2"]);
    Ok(())
}
