//! Questions: answered, nobody there, busy, late, drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bus::{AskError, Asked, Bus, Question, ServeSpec};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Place, contract, eventually};

contract!(
    a_question_is_answered,
    nobody_there_is_known_at_once,
    no_answer_ends_at_the_deadline,
    full_hands_say_busy_at_once,
    a_stop_answers_what_was_taken,
    servers_of_a_group_share_the_questions,
    a_survey_hears_every_group,
    a_survey_of_nobody_is_empty_at_once,
    a_survey_does_not_wait_for_the_busy_and_the_slow,
);

fn spec(group: &str, concurrency_max: usize) -> ServeSpec {
    ServeSpec {
        name: "workers".to_owned(),
        group: group.to_owned(),
        subjects: vec!["ask.v1.>".to_owned()],
        concurrency_max,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn question(text: &str) -> Question {
    Question { headers: vec![("traceparent".to_owned(), "00-1".to_owned())], data: text.to_owned().into() }
}

struct Serving {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), bus::Unavailable>>,
}

impl Serving {
    /// Answers every question with its text and `suffix`, after `pause`.
    async fn start(bus: &Bus, concurrency_max: usize, pause: Duration, suffix: &'static str) -> Result<Self> {
        Self::start_in("workers", bus, concurrency_max, pause, suffix).await
    }

    async fn start_in(
        group: &'static str,
        bus: &Bus,
        concurrency_max: usize,
        pause: Duration,
        suffix: &'static str,
    ) -> Result<Self> {
        let (stop, mut tasks, serving) = (CancellationToken::new(), JoinSet::new(), bus.clone());
        let stopping = stop.clone();
        tasks.spawn(async move {
            let handler = move |asked: Asked| async move {
                tokio::time::sleep(pause).await;
                let text = String::from_utf8_lossy(&asked.data);
                Bytes::from(format!("{text} {suffix}"))
            };
            serving.serve(spec(group, concurrency_max), handler, stopping).await
        });
        let up = async || Ok(bus.ask("ask.v1.probe", question("up?"), soon()).await.ok());
        eventually("somebody serves", up).await?;
        Ok(Self { stop, tasks })
    }

    async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn a_question_is_answered(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let (mut tasks, serving, stopping) = (JoinSet::new(), bus.clone(), CancellationToken::new());
    let ended = stopping.clone();
    tasks.spawn(async move {
        let handler = |asked: Asked| async move {
            let left = asked.deadline.duration_since(asked_at());
            Bytes::from(format!("{} {:?} {}", asked.subject, asked.headers, left.as_secs()))
        };
        serving.serve(spec("workers", 4), handler, ended).await
    });
    let ask = async || Ok(bus.ask("ask.v1.ice.shop", question("?"), soon()).await.ok());
    let answer = eventually("somebody serves", ask).await?;
    assert_eq!(answer, r#"ask.v1.ice.shop [("traceparent", "00-1")] 4"#);
    stopping.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let gone = bus.ask("ask.v1.ice.shop", question("?"), soon()).await;
    assert!(matches!(gone, Err(AskError::NoResponder { .. })), "{gone:?}");
    Ok(())
}

fn asked_at() -> Timestamp {
    bus::Clock::System.now()
}

async fn nobody_there_is_known_at_once(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let began = Instant::now();
    let asked = bus.ask("ask.v1.ice.shop", question("?"), soon()).await;
    assert!(matches!(asked, Err(AskError::NoResponder { .. })), "{asked:?}");
    assert!(began.elapsed() < Duration::from_secs(1));
    Ok(())
}

async fn no_answer_ends_at_the_deadline(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let serving = Serving::start(&bus, 4, Duration::from_millis(700), "").await?;
    let began = Instant::now();
    let asked = bus.ask("ask.v1.ice.shop", question("?"), began + Duration::from_millis(200)).await;
    assert!(matches!(asked, Err(AskError::Deadline { .. })), "{asked:?}");
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    serving.stop().await
}

async fn full_hands_say_busy_at_once(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let serving = Serving::start(&bus, 1, Duration::from_millis(600), "").await?;
    let (first, second) = tokio::join!(bus.ask("ask.v1.ice.shop", question("1"), soon()), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        (bus.ask("ask.v1.ice.shop", question("2"), soon()).await, began.elapsed())
    });
    assert_eq!(first?, "1 ");
    assert!(matches!(second.0, Err(AskError::Busy { .. })), "{second:?}");
    assert!(second.1 < Duration::from_millis(300), "{second:?}");
    serving.stop().await
}

async fn a_stop_answers_what_was_taken(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let serving = Serving::start(&bus, 64, Duration::from_millis(200), "!").await?;
    let mut asking = JoinSet::new();
    for n in 0..32 {
        let bus = bus.clone();
        asking.spawn(async move { bus.ask("ask.v1.ice.shop", question(&n.to_string()), soon()).await });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    serving.stop().await?;
    while let Some(answer) = asking.join_next().await {
        assert!(answer??.ends_with(b" !"));
    }
    Ok(())
}

async fn servers_of_a_group_share_the_questions(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let one = Serving::start(&bus, 8, Duration::ZERO, "one").await?;
    let other = Serving::start(&bus, 8, Duration::ZERO, "other").await?;
    let answered_by_one = Arc::new(AtomicUsize::new(0));
    for _ in 0..64 {
        let answer = bus.ask("ask.v1.ice.shop", question("?"), soon()).await?;
        answered_by_one.fetch_add(usize::from(answer == "? one"), Ordering::Relaxed);
    }
    let answered_by_one = answered_by_one.load(Ordering::Relaxed);
    assert!((1..64).contains(&answered_by_one), "{answered_by_one}");
    other.stop().await?;
    one.stop().await
}

/// What all who serve answer, in the order of the alphabet.
async fn survey(bus: &Bus, within: Duration) -> Result<Vec<String>> {
    let answers = bus.survey("ask.v1.ice.shop", question("?"), within).await?;
    let mut answers: Vec<String> = answers.iter().map(|answer| String::from_utf8_lossy(answer).into_owned()).collect();
    answers.sort_unstable();
    Ok(answers)
}

async fn a_survey_hears_every_group(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let mut serving = Vec::new();
    for (group, suffix) in [("a", "one"), ("b", "two"), ("b", "two"), ("c", "three")] {
        serving.push(Serving::start_in(group, &bus, 4, Duration::ZERO, suffix).await?);
    }
    let all = async || Ok(Some(survey(&bus, Duration::from_millis(500)).await?).filter(|all| all.len() >= 3));
    assert_eq!(eventually("every group is heard", all).await?, ["? one", "? three", "? two"]);
    for serving in serving {
        serving.stop().await?;
    }
    assert_eq!(survey(&bus, Duration::from_secs(5)).await?, [""; 0]);
    Ok(())
}

async fn a_survey_of_nobody_is_empty_at_once(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let began = Instant::now();
    assert_eq!(survey(&bus, Duration::from_secs(5)).await?, [""; 0]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    Ok(())
}

async fn a_survey_does_not_wait_for_the_busy_and_the_slow(place: Place) -> Result<()> {
    let bus = place.open().await?;
    let quick = Serving::start_in("quick", &bus, 4, Duration::ZERO, "quick").await?;
    let slow = Serving::start_in("slow", &bus, 1, Duration::from_secs(2), "slow").await?;
    // The first survey reaches the slow one, the second finds its one hand full.
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(survey(&bus, Duration::from_millis(500)).await?, ["? quick"]);
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    }
    slow.stop().await?;
    quick.stop().await
}

#[tokio::test]
async fn a_question_long_past_its_deadline_is_dropped_and_services_are_listed() -> Result<()> {
    let Place::Nats(server) = Place::nats()? else { anyhow::bail!("not a broker") };
    let bus = Bus::nats(super::nats_config(&server, None)).await?;
    let serving = Serving::start(&bus, 8, Duration::ZERO, "").await?;
    let client = async_nats::connect(server.url()).await?;
    let ask = async |late_ms: i64| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("callbus-deadline", (asked_at().as_millisecond() - late_ms).to_string());
        let asked = client.request_with_headers("ask.v1.ice.shop", headers, "?".into());
        tokio::time::timeout(Duration::from_millis(500), asked).await.is_ok_and(|answer| answer.is_ok())
    };
    assert!(ask(500).await, "a little late is still answered");
    assert!(!ask(2_000).await, "long past is dropped");
    let listed = client.request("$SRV.INFO.workers", "".into()).await?;
    assert!(String::from_utf8_lossy(&listed.payload).contains("ask.v1.>"));
    serving.stop().await
}
