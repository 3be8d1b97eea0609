//! Somebody who is told of calls: remembers whatever he hears, and gives tokens to those who know the password.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What he heard.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub status: u16,
}

/// What he says to it.
type Behaviour = Box<dyn FnMut(&Heard) -> u16 + Send>;

struct Memory {
    heard: Vec<Heard>,
    behave: Behaviour,
    tokens: u32,
}

/// A running ear.
pub struct Ear {
    port: u16,
    memory: Arc<Mutex<Memory>>,
    _serving: JoinSet<()>,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Ear {
    /// One that takes everything.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let memory = Memory { heard: Vec::new(), behave: Box::new(|_| 200), tokens: 0 };
        let memory = Arc::new(Mutex::new(memory));
        let router = Router::new().fallback(hear).with_state(Arc::clone(&memory));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, memory, _serving: serving })
    }

    /// Without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn behave(&self, behave: impl FnMut(&Heard) -> u16 + Send + 'static) {
        lock(&self.memory).behave = Box::new(behave);
    }

    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.memory).heard.clone()
    }

    /// What he took.
    pub fn taken(&self) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.status == 200).collect()
    }

    /// How many tokens he gave: `token-1` and so on.
    pub fn tokens(&self) -> u32 {
        lock(&self.memory).tokens
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn hear(State(memory): State<Arc<Mutex<Memory>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut heard = Heard {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
        status: 0,
    };
    let mut memory = lock(&memory);
    if heard.target == "/token" {
        return give(&mut memory, &heard);
    }
    heard.status = (memory.behave)(&heard);
    let status = StatusCode::from_u16(heard.status).unwrap_or_default();
    memory.heard.push(heard);
    status.into_response()
}

/// A token by client credentials, as RFC 6749 has it.
fn give(memory: &mut Memory, heard: &Heard) -> Response {
    let known = format!("Basic {}", STANDARD.encode("callbus:s3cret%26"));
    let asks = heard.body == "grant_type=client_credentials&scope=calls%20read";
    if heard.headers.get("authorization") != Some(&known) || !asks {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    memory.tokens += 1;
    let body =
        format!("{{\"access_token\":\"token-{}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}", memory.tokens);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
