//! Somebody's webhook receiver: strict, and with a memory. It verifies every signature by the words of Standard Webhooks,
//! with nothing of the code that made it, and remembers what came in which order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::serve::Listener;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Further from our clock a timestamp is refused.
const AGE_MAX_SECS: i64 = 300;
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One attempt as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub id: String,
    pub attempt: u32,
    pub sequence: u64,
    pub call: String,
    pub method: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How it was answered; 0 where it was not.
    pub status: u16,
}

impl Heard {
    /// The CloudEvent.
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How an attempt is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    After(Duration, u16),
    /// 200, and a body that does not end.
    Endless,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("heard", &self.heard.len()).field("wrongs", &self.wrongs).finish_non_exhaustive()
    }
}

type Behaviour = Box<dyn FnMut(&Heard) -> Reply + Send>;

struct Book {
    secrets: Vec<Vec<u8>>,
    heard: Vec<Heard>,
    /// What was wrong with what came.
    wrongs: Vec<String>,
    behave: Behaviour,
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    book: Arc<Mutex<Book>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| Reply::Status(200)).await
    }

    pub async fn start_with(behave: impl FnMut(&Heard) -> Reply + Send + 'static) -> Result<Self> {
        Self::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, behave)
    }

    /// One that listens at an address of the story's own.
    pub fn start_on(
        listener: impl Listener<Addr = SocketAddr>,
        behave: impl FnMut(&Heard) -> Reply + Send + 'static,
    ) -> Result<Self> {
        let port = listener.local_addr()?.port();
        let book = Book { secrets: Vec::new(), heard: Vec::new(), wrongs: Vec::new(), behave: Box::new(behave) };
        let book = Arc::new(Mutex::new(book));
        let router = Router::new().fallback(hear).with_state(Arc::clone(&book));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, book, _serving: serving })
    }

    pub fn url(&self) -> String {
        self.url_at("http://127.0.0.1")
    }

    /// The same for who comes by another name, or through TLS.
    pub fn url_at(&self, origin: &str) -> String {
        format!("{origin}:{}/hook?from=callbus", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Trusts a secret `whsec_…`, beside those before.
    pub fn trust(&self, secret: &str) -> Result<()> {
        let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
        self.book().secrets.push(STANDARD.decode(secret)?);
        Ok(())
    }

    pub fn behave(&self, behave: impl FnMut(&Heard) -> Reply + Send + 'static) {
        self.book().behave = Box::new(behave);
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.book().heard.clone()
    }

    /// Sequences of what was taken, once each.
    pub fn taken(&self) -> BTreeSet<u64> {
        self.book().heard.iter().filter(|heard| heard.status == 200).map(|heard| heard.sequence).collect()
    }

    /// Checks that nothing was wrong with what came, that within a call nothing was sent before the one before it was
    /// taken or given up, and that what came twice had the same id. Says how many came again after they were taken.
    pub fn judge(&self, given_up: &[u64]) -> Result<usize> {
        let book = self.book();
        ensure!(book.wrongs.is_empty(), "what came was wrong: {:?}", book.wrongs);
        let mut ids: HashMap<u64, &str> = HashMap::new();
        let mut taken: BTreeSet<u64> = given_up.iter().copied().collect();
        let mut calls: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for heard in &book.heard {
            calls.entry(&heard.call).or_default().insert(heard.sequence);
        }
        let mut again = 0;
        for heard in &book.heard {
            let id = ids.entry(heard.sequence).or_insert(&heard.id);
            ensure!(*id == heard.id, "event {} has two ids", heard.sequence);
            let before = calls[heard.call.as_str()].range(..heard.sequence);
            let missing: Vec<_> = before.filter(|seq| !taken.contains(seq)).collect();
            ensure!(missing.is_empty(), "{} came before {missing:?} of {}", heard.sequence, heard.call);
            if heard.status == 200 && !taken.insert(heard.sequence) {
                again += 1;
            }
        }
        Ok(again)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn hear(State(book): State<Arc<Mutex<Book>>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let reply = {
        let mut book = lock(&book);
        match read(&book.secrets, parts.method.as_str(), &target, &parts.headers, body) {
            Ok(mut heard) => {
                let reply = (book.behave)(&heard);
                heard.status = match &reply {
                    Reply::Status(status) | Reply::With(status, ..) | Reply::After(_, status) => *status,
                    Reply::Endless => 200,
                };
                book.heard.push(heard);
                reply
            }
            Err(why) => {
                book.wrongs.push(why.to_string());
                Reply::Status(401)
            }
        }
    };
    let of = |status: u16| Response::builder().status(StatusCode::from_u16(status).unwrap_or_default());
    let response = match reply {
        Reply::Status(status) => of(status).body(Body::empty()),
        Reply::With(status, name, value) => of(status).header(name, value).body(Body::empty()),
        Reply::After(pause, status) => {
            tokio::time::sleep(pause).await;
            of(status).body(Body::empty())
        }
        Reply::Endless => {
            let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16 * 1024]));
            of(200).body(Body::from_stream(stream::repeat_with(chunk)))
        }
    };
    response.unwrap_or_default()
}

/// Verifies and reads one attempt.
fn read(secrets: &[Vec<u8>], method: &str, target: &str, headers: &HeaderMap, body: Bytes) -> Result<Heard> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let age = crate::world::now().as_second() - timestamp.parse::<i64>()?;
    ensure!(age.abs() <= AGE_MAX_SECS, "the timestamp is {age} seconds old");
    let content = if method == "GET" { Bytes::from(format!("GET {target}")) } else { body.clone() };
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &content].concat();
    let good = header("webhook-signature").split(' ').any(|word| {
        let given = word.strip_prefix("v1,").and_then(|given| STANDARD.decode(given).ok()).unwrap_or_default();
        secrets.iter().any(|secret| {
            let mac = Hmac::<Sha256>::new_from_slice(secret).map(|mac| mac.chain_update(&signed));
            mac.is_ok_and(|mac| mac.verify_slice(&given).is_ok())
        })
    });
    ensure!(good, "the signature of {id} is not one of ours");
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let call = event["subject"].as_str().unwrap_or_else(|| header("ce-subject")).to_owned();
    Ok(Heard {
        id: id.to_owned(),
        attempt: header("webhook-attempt").parse()?,
        sequence: header("webhook-sequence").parse()?,
        call,
        method: method.to_owned(),
        headers: headers.clone(),
        body,
        status: 0,
    })
}
