//! How many deliveries a second one core makes, and what a dead destination does to the others.
//! `cargo bench -p tests --bench delivery`.
//!
//! Wanted: 5,000 a second to receivers that answer at once, each recorded before and after; and a p99 of the others that a
//! dead destination does not move. The log is embedded, so each record is on the disk before it goes on.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has failed; it prints"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bus::{Bus, Clock};
use delivery::{DestinationSpec, Dispatch, Register};
use jiff::Timestamp;
use outbound::{Outbound, OutboundSettings};
use proto::{AppName, CallId, DestinationName, Event, EventId, Kind, Partition, Subject};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const EVENTS: usize = 20_000;
/// What a destination may be asked at the same time at most: it is the disk that each of them waits for.
const IN_FLIGHT: u16 = 256;
const DESTINATIONS: usize = 100;
/// Events, one every 100 ms, each to all destinations: a thousand deliveries a second.
const PACED_EVENTS: usize = 200;
const PACE: Duration = Duration::from_millis(100);

fn main() {
    let rate = on_one_core(throughput);
    println!("{EVENTS} deliveries to one destination: {rate} a second");
    for dead in [false, true] {
        let mut millis = on_one_core(async move || isolation(dead).await);
        millis.sort_unstable();
        let at = |percent: usize| millis[(millis.len() * percent / 100).min(millis.len() - 1)];
        let with = if dead { "one of them dead" } else { "all alive" };
        let (p50, p99, max) = (at(50), at(99), at(100));
        println!("{DESTINATIONS} destinations, {with}: p50 {p50} ms, p99 {p99} ms, max {max} ms");
    }
}

/// Runs what delivers on one thread; receivers have another.
fn on_one_core<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(work())
}

async fn throughput() -> usize {
    let (receiver, taken) = Receiver::start();
    let world = World::open().await;
    world.put("one", receiver, IN_FLIGHT).await;
    let events = (0..EVENTS).map(|number| event(number, Clock::System.now())).collect();
    world.bus.record(events).await.expect("recorded");
    let begun = Instant::now();
    let (stop, mut running) = world.begin();
    while taken.load(Ordering::Relaxed) < EVENTS {
        sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    stop.cancel();
    while running.join_next().await.is_some() {}
    EVENTS * 1000 / usize::try_from(took.as_millis()).expect("millis").max(1)
}

/// Milliseconds from each event to each receiver that is alive.
async fn isolation(dead: bool) -> Vec<u64> {
    let (receiver, taken) = Receiver::start();
    let (tell, mut told) = mpsc::unbounded_channel();
    receiver.0.lock().expect("lock").replace(tell);
    let world = World::open().await;
    // Takes connections, and never says a word.
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
    let silent = silent.local_addr().map(|address| (silent, address)).expect("address");
    for number in 0..DESTINATIONS {
        let to = if dead && number == 0 { Receiver::at(silent.1) } else { receiver.clone() };
        world.put(&format!("d{number}"), to, 8).await;
    }
    let (stop, mut running) = world.begin();
    for number in 0..PACED_EVENTS {
        world.bus.record(vec![event(number, Clock::System.now())]).await.expect("recorded");
        sleep(PACE).await;
    }
    let wanted = PACED_EVENTS * (DESTINATIONS - usize::from(dead));
    while taken.load(Ordering::Relaxed) < wanted {
        sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.shutdown().await;
    let mut millis = Vec::new();
    while let Ok(took) = told.try_recv() {
        millis.push(took);
    }
    millis
}

struct World {
    bus: Bus,
    outbound: Outbound,
    _directory: tempfile::TempDir,
}

impl World {
    async fn open() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let bus = Bus::embedded(directory.path()).expect("log");
        let allow = vec!["127.0.0.0/8".parse().expect("network")];
        let outbound =
            Outbound::new(OutboundSettings { allow, plain_http: false, user_agent: "callbus/bench".to_owned() });
        Self { bus, outbound: outbound.expect("client"), _directory: directory }
    }

    async fn put(&self, name: &str, to: Receiver, concurrency_max: u16) {
        let spec = json!({ "url": format!("http://{}/hook", to.1), "kinds": ["settled"],
            "concurrency_max": concurrency_max, "timeout_secs": 5 });
        let spec: DestinationSpec = serde_json::from_value(spec).expect("specification");
        let name = DestinationName::new(name).expect("name");
        let register = Register::new(self.bus.clone(), Clock::System);
        register.put(&self.outbound, &name, spec, "bench").await.expect("put");
    }

    fn begin(&self) -> (CancellationToken, JoinSet<()>) {
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        let dispatch = Dispatch::new(self.bus.clone(), self.outbound.clone(), Clock::System);
        let stopping = stop.clone();
        running.spawn(async move { dispatch.run(stopping).await.expect("delivered") });
        (stop, running)
    }
}

fn event(number: usize, time: Timestamp) -> Event {
    let call = CallId::new(format!("call-{number}")).expect("call");
    Event {
        id: EventId::of(&["bench", &number.to_string()]),
        subject: Subject::Call {
            kind: Kind::Settled,
            app: AppName::new("acme").expect("app"),
            partition: Partition::of(&call),
        },
        about: call.to_string(),
        source: "acme".to_owned(),
        time,
        extra: Vec::new(),
        data: json!({ "call": call, "at": time.as_millisecond(), "result": "ANSWERED" }).to_string().into(),
    }
}

type Tell = Arc<std::sync::Mutex<Option<mpsc::UnboundedSender<u64>>>>;

/// Answers 200 at once, on a thread of its own.
#[derive(Clone)]
struct Receiver(Tell, SocketAddr);

impl Receiver {
    fn at(address: SocketAddr) -> Self {
        Self(Tell::default(), address)
    }

    fn start() -> (Self, Arc<AtomicUsize>) {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
        listener.set_nonblocking(true).expect("listener");
        let receiver = Self::at(listener.local_addr().expect("address"));
        let (taken, tell) = (Arc::<AtomicUsize>::default(), Arc::clone(&receiver.0));
        let counting = Arc::clone(&taken);
        thread::spawn(move || {
            on_one_core(async move || {
                let listener = TcpListener::from_std(listener).expect("listener");
                let mut talking = JoinSet::new();
                while let Ok((connection, _)) = listener.accept().await {
                    talking.spawn(talk(connection, Arc::clone(&counting), Arc::clone(&tell)));
                }
            });
        });
        (receiver, taken)
    }
}

async fn talk(connection: TcpStream, taken: Arc<AtomicUsize>, tell: Tell) {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if connection.read_exact(&mut body).await.is_err() {
            return;
        }
        if let Some(tell) = &*tell.lock().expect("lock") {
            let event: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let took = Clock::System.now().as_millisecond() - event["data"]["at"].as_i64().unwrap_or_default();
            let _ = tell.send(took.unsigned_abs());
        }
        taken.fetch_add(1, Ordering::Relaxed);
        if connection.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}
