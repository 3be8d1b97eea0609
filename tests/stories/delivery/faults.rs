//! Whatever can be wrong with a receiver, one thing after the other, on the real engine: events come meanwhile, it is
//! mended, and nothing is lost, nothing of a call overtakes, and what comes twice has the same id. Each prints a line of
//! numbers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus::Clock;
use outbound::{Outbound, OutboundSettings};
use proto::{DeliveryNoted, DestinationChanged, DestinationName};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use tests::receiver::{Receiver, Reply};
use tests::tls::{self, Authority, Shown, TlsListener};
use tests::wire::{Babble, Wire};
use tests::{eventually, ports, world};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Post, causes, hears, outbound, spec};
use crate::bus::Place;

const EVENTS: u64 = 24;
/// Each is in one line, so that as many deliveries are on their way at the same time.
const CALLS: u64 = 4;
const NAME: &str = "shop.example";
/// What is due in a second of a paused clock is mostly done within this; what is not is done in the next one.
const SETTLES: Duration = Duration::from_millis(3);

/// Something that is wrong with a receiver.
struct Fault<'a> {
    name: &'a str,
    /// Where the receiver is reached, if not at its own address.
    url: Option<String>,
    more: Value,
    /// Breaks it once it is saved.
    breaks: &'a dyn Fn(),
    /// What is noted of an attempt meanwhile.
    cause: &'a str,
    /// So many may come again that were taken.
    again_max: usize,
}

impl<'a> Fault<'a> {
    fn new(name: &'a str, cause: &'a str) -> Self {
        Self { name, url: None, more: json!({ "timeout_secs": 1 }), breaks: &|| {}, cause, again_max: 0 }
    }
}

/// Events come while something is wrong; then it is mended.
async fn suffer(fault: Fault<'_>, receiver: &Receiver, mend: impl AsyncFnOnce(&Post) -> Result<()>) -> Result<()> {
    let place = Place::embedded()?;
    suffer_in(Post::open(&place).await?, fault, receiver, mend).await
}

async fn suffer_in(
    mut post: Post,
    fault: Fault<'_>,
    receiver: &Receiver,
    mend: impl AsyncFnOnce(&Post) -> Result<()>,
) -> Result<()> {
    let Fault { name, url, more, breaks, cause, again_max } = fault;
    post.put_at("crm", receiver, &url.unwrap_or_else(|| receiver.url()), more).await?;
    breaks();
    post.begin();
    post.happen(EVENTS, CALLS).await?;
    eventually(&format!("{cause:?} is noted"), async || {
        let noted = post.noted("crm").await?;
        let causes = causes(&noted);
        ensure!(causes.iter().all(|noted| noted.contains(cause)), "{name}: {causes:?}");
        Ok((!causes.is_empty()).then_some(()))
    })
    .await?;
    mend(&post).await?;
    let mended = Instant::now();
    hears(receiver, usize::try_from(EVENTS)?).await?;
    let noted = eventually("all is noted", async || {
        let noted = post.noted("crm").await?;
        Ok((count(&noted).delivered == usize::try_from(EVENTS)?).then_some(noted))
    })
    .await?;
    post.end().await?;
    let (again, counted) = (receiver.judge(&[])?, count(&noted));
    line(name, EVENTS, &counted, again, mended.elapsed());
    ensure!(again <= again_max, "{name}: {again} came again");
    ensure!(counted.dead == 0, "{name}: {} were given up", counted.dead);
    Ok(())
}

#[derive(Default)]
struct Counted {
    attempts: usize,
    delivered: usize,
    dead: usize,
}

fn count(noted: &[DeliveryNoted]) -> Counted {
    let of = |is: fn(&DeliveryNoted) -> bool| noted.iter().filter(|noted| is(noted)).count();
    Counted {
        attempts: of(|noted| matches!(noted, DeliveryNoted::Attempted { .. })),
        delivered: of(|noted| matches!(noted, DeliveryNoted::Delivered { .. })),
        dead: of(|noted| matches!(noted, DeliveryNoted::Dead { .. })),
    }
}

#[expect(clippy::print_stdout, reason = "the numbers are for whoever runs the suite")]
fn line(name: &str, events: u64, counted: &Counted, again: usize, took: Duration) {
    let (attempts, secs, tenths) = (counted.attempts, took.as_secs(), took.subsec_millis() / 100);
    println!("| {name} | {events} events | {attempts} attempts | {again} again | all taken {secs}.{tenths} s after |");
}

/// The receiver behaves well from now on.
fn behaves(receiver: &Receiver) -> impl AsyncFnOnce(&Post) -> Result<()> {
    async |_: &Post| {
        receiver.behave(|_| Reply::Status(200));
        Ok(())
    }
}

#[tokio::test]
async fn it_is_slow() -> Result<()> {
    // It took what it was too slow to say so of, so that comes again: each try of each call until it is mended.
    let receiver = Receiver::start_with(|_| Reply::After(Duration::from_secs(3), 200)).await?;
    let fault = Fault { again_max: 4 * CALLS as usize, ..Fault::new("slow", "no answer within 1s") };
    suffer(fault, &receiver, behaves(&receiver)).await
}

#[tokio::test]
async fn it_comes_and_goes() -> Result<()> {
    // From the first that comes on, however long that takes.
    let began = OnceLock::new();
    let is_up = move || began.get_or_init(Instant::now).elapsed().as_millis() / 400 % 2 == 1;
    let receiver = Receiver::start_with(move |_| Reply::Status(if is_up() { 200 } else { 503 })).await?;
    suffer(Fault::new("flapping", "it answers 503"), &receiver, async |_| Ok(())).await
}

#[tokio::test]
async fn it_redirects() -> Result<()> {
    let elsewhere = Receiver::start().await?;
    let url = elsewhere.url();
    let receiver = Receiver::start_with(move |_| Reply::With(302, "location", url.clone())).await?;
    suffer(Fault::new("redirect", "it answers 302"), &receiver, behaves(&receiver)).await?;
    ensure!(elsewhere.heard().is_empty(), "a redirect was followed");
    Ok(())
}

#[tokio::test]
async fn it_is_gone() -> Result<()> {
    let receiver = Receiver::start_with(|_| Reply::Status(410)).await?;
    suffer(Fault::new("410", "it answers 410"), &receiver, async |post| {
        eventually("it is left alone", async || {
            let broke = |noted: &DeliveryNoted| matches!(noted, DeliveryNoted::Broke { gone: true, .. });
            Ok(post.noted("crm").await?.iter().any(broke).then_some(()))
        })
        .await?;
        receiver.behave(|_| Reply::Status(200));
        post.tell("crm", DestinationChanged::Resumed { by: "story".to_owned() }).await
    })
    .await?;
    let gone = receiver.heard().iter().filter(|heard| heard.status == 410).count();
    ensure!(gone <= CALLS as usize, "it was asked {gone} times, and only the first of each call was on its way");
    Ok(())
}

#[tokio::test]
async fn it_asks_for_patience() -> Result<()> {
    let receiver = Receiver::start_with(|_| Reply::With(429, "retry-after", "3".to_owned())).await?;
    let began = Instant::now();
    suffer(Fault::new("429", "it answers 429"), &receiver, behaves(&receiver)).await?;
    ensure!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    let refused = receiver.heard().iter().filter(|heard| heard.status == 429).count();
    ensure!(refused <= CALLS as usize, "only what was on its way ran into it: {refused}");
    Ok(())
}

#[tokio::test]
async fn its_body_has_no_end() -> Result<()> {
    let receiver = Receiver::start_with(|_| Reply::Endless).await?;
    let place = Place::embedded()?;
    let mut post = Post::open(&place).await?;
    post.put("crm", &receiver, json!({})).await?;
    post.begin();
    let began = Instant::now();
    post.happen(EVENTS, CALLS).await?;
    hears(&receiver, usize::try_from(EVENTS)?).await?;
    post.end().await?;
    let counted = count(&post.noted("crm").await?);
    line("endless body", EVENTS, &counted, receiver.judge(&[])?, began.elapsed());
    ensure!(counted.attempts == usize::try_from(EVENTS)?, "it says 200, and what else it says nobody wants to know");
    Ok(())
}

/// The same through a wire that answers by itself.
async fn babbles(name: &str, cause: &str, babble: Babble) -> Result<()> {
    let receiver = Receiver::start().await?;
    let wire = Wire::to(receiver.port()).await?;
    wire.babble(babble);
    let url = Some(format!("http://127.0.0.1:{}/hook?from=callbus", wire.port()));
    let fault = Fault { url, ..Fault::new(name, cause) };
    suffer(fault, &receiver, async |_| {
        wire.mend();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn its_headers_have_no_end() -> Result<()> {
    let head = Babble { begins: "HTTP/1.1 200 OK\r\n", goes_on: "x-more: and more\r\n", every: None };
    babbles("endless headers", "talk to 127.0.0.1", head).await
}

#[tokio::test]
async fn it_says_a_byte_a_second() -> Result<()> {
    let drip = Babble { begins: "HTTP/1.1 200 OK\r\nx: ", goes_on: "x", every: Some(Duration::from_secs(1)) };
    babbles("a byte a second", "no answer within 1s", drip).await
}

/// What the receiver shows is not to be trusted, and then it is.
async fn shows(name: &str, cause: &str, bad: impl Fn(&Authority) -> Result<Arc<CertifiedKey>>) -> Result<()> {
    let authority = Authority::new()?;
    let shown = Shown::new(bad(&authority)?);
    let receiver = Receiver::start_on(TlsListener::bind(shown.clone()).await?, |_| Reply::Status(200))?;
    let outbound = Outbound::in_hand(settings()?, |_| Ok(vec![Ipv4Addr::LOCALHOST.into()]), &[&authority.root()])?;
    let place = Place::embedded()?;
    let post = Post::open_with(&place, outbound, Clock::System).await?;
    let fault = Fault { url: Some(receiver.url_at(&format!("https://{NAME}"))), ..Fault::new(name, cause) };
    suffer_in(post, fault, &receiver, async |_| {
        ensure!(receiver.heard().is_empty(), "{name}: it was told something");
        shown.set(authority.certify(NAME, 2099)?);
        Ok(())
    })
    .await
}

fn settings() -> Result<OutboundSettings> {
    Ok(OutboundSettings {
        allow: vec!["127.0.0.0/8".parse()?],
        plain_http: true,
        user_agent: "callbus/test".to_owned(),
    })
}

#[tokio::test]
async fn nobody_vouches_for_its_certificate() -> Result<()> {
    shows("TLS: self-signed", "trust shop.example", |_| tls::self_signed(NAME)).await
}

#[tokio::test]
async fn its_certificate_has_expired() -> Result<()> {
    shows("TLS: expired", "expired", |authority| authority.certify(NAME, 2021)).await
}

#[tokio::test]
async fn its_certificate_is_of_another_name() -> Result<()> {
    shows("TLS: wrong name", "not valid for name", |authority| authority.certify("other.example", 2099)).await
}

/// It led to the receiver when it was saved, and leads into a private network when it is sent.
#[tokio::test]
async fn its_name_leads_into_a_private_network() -> Result<()> {
    let receiver = Receiver::start().await?;
    let turned = Arc::new(AtomicBool::new(false));
    let look_up = {
        let turned = Arc::clone(&turned);
        move |_: &str| {
            let private = IpAddr::from([10, 0, 0, 1]);
            Ok(vec![if turned.load(Ordering::SeqCst) { private } else { Ipv4Addr::LOCALHOST.into() }])
        }
    };
    let place = Place::embedded()?;
    let post = Post::open_with(&place, Outbound::in_hand(settings()?, look_up, &[])?, Clock::System).await?;
    let fault = Fault {
        url: Some(receiver.url_at(&format!("http://{NAME}"))),
        breaks: &|| turned.store(true, Ordering::SeqCst),
        ..Fault::new("DNS to a private address", "10.0.0.1 is not called")
    };
    suffer_in(post, fault, &receiver, async |_| {
        turned.store(false, Ordering::SeqCst);
        Ok(())
    })
    .await
}

/// Nobody listens for an hour, in a time that goes as fast as all is done that is due: no minute of it is waited for.
#[tokio::test(start_paused = true)]
async fn it_is_down_for_an_hour() -> Result<()> {
    // Time moves only when it is told to: with somebody awake it never jumps to what is due next.
    let mut awake = JoinSet::new();
    awake.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let port = ports::free()?;
    // The receiver looks at a clock of its own, which is right when it is up again.
    let began = world::now().checked_sub(Duration::from_secs(62 * 60))?;
    let place = Place::embedded()?;
    let mut post = Post::open_with(&place, outbound(&["127.0.0.0/8"])?, Clock::tokio(began)).await?;
    let spec = spec(&format!("http://127.0.0.1:{port}/hook?from=callbus"), json!({ "retry": "lasting" }))?;
    let put = post.register.put(&post.outbound, &DestinationName::new("crm")?, spec, "story").await?;
    post.begin();
    let mut events = 0;
    for minute in 0..60 {
        if minute % 5 == 0 {
            post.happen(EVENTS, CALLS).await?;
            events += EVENTS;
        }
        pass(Duration::from_secs(60)).await;
    }
    let tried = count(&post.noted("crm").await?);
    ensure!((10..100).contains(&tried.attempts), "while it is down it is hardly asked: {} attempts", tried.attempts);
    let receiver = Receiver::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?, |_| Reply::Status(200))?;
    receiver.trust(&put.made.context("a secret is made")?.reveal())?;
    let up = tokio::time::Instant::now();
    while receiver.heard().is_empty() {
        ensure!(up.elapsed() < Duration::from_secs(6 * 60), "it is found out within five minutes that it is up");
        pass(Duration::from_secs(1)).await;
    }
    let (found_out, began) = (up.elapsed(), Instant::now());
    let counted = loop {
        pass(Duration::from_millis(100)).await;
        let counted = count(&post.noted("crm").await?);
        if counted.delivered == usize::try_from(events)? {
            break counted;
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "only {} were delivered", counted.delivered);
    };
    post.end().await?;
    awake.shutdown().await;
    let again = receiver.judge(&[])?;
    line("down for an hour", events, &counted, again, found_out);
    ensure!((again, counted.dead) == (0, 0), "{again} came again, {} were given up", counted.dead);
    Ok(())
}

/// Lets time pass, a second at once or what is left, and whatever is due be done.
async fn pass(time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while let left = end.saturating_duration_since(tokio::time::Instant::now())
        && !left.is_zero()
    {
        tokio::time::advance(left.min(Duration::from_secs(1))).await;
        let settled = Instant::now() + SETTLES;
        while Instant::now() < settled {
            tokio::task::yield_now().await;
        }
    }
}
