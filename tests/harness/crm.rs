//! A CRM that somebody else runs, in small: strict, and with a memory. What is wrong with what it is asked it says in the
//! vendor's own words, and remembers.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

mod hubspot;
mod salesforce;

pub use hubspot::Hubspot;
pub use salesforce::Salesforce;

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: Instant,
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    pub headers: HeaderMap,
    pub body: String,
    /// How it was answered.
    pub status: u16,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
    /// An activity was made or changed: such an answer may be held back.
    pub wrote: bool,
}

impl Said {
    fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body, wrote: false }
    }
}

/// What makes one CRM different from another.
pub trait Crm: Send + 'static {
    fn answer(&mut self, asked: &Asked) -> Said;
}

#[derive(Debug)]
struct Book<C> {
    crm: C,
    asked: Vec<Asked>,
}

/// A running CRM.
pub struct Fake<C> {
    port: u16,
    book: Arc<Mutex<Book<C>>>,
    holds: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl<C> fmt::Debug for Fake<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("port", &self.port).finish_non_exhaustive()
    }
}

/// What is read may be changed, too: a story sets a CRM up with it.
pub struct Opened<'a, C>(MutexGuard<'a, Book<C>>);

impl<C> fmt::Debug for Opened<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}

impl<C> std::ops::Deref for Opened<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0.crm
    }
}

impl<C> std::ops::DerefMut for Opened<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0.crm
    }
}

impl<C: Crm> Fake<C> {
    pub async fn start(crm: C) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let book = Arc::new(Mutex::new(Book { crm, asked: Vec::new() }));
        let (holds, held) = watch::channel(false);
        let router = Router::new().fallback(hear::<C>).with_state((Arc::clone(&book), held));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, book, holds, _serving: serving })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From here on, or no longer, it writes and does not say so.
    pub fn hold(&self, holds: bool) {
        self.holds.send_replace(holds);
    }

    /// What it has.
    pub fn open(&self) -> Opened<'_, C> {
        Opened(self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }

    /// Checks that it was only ever refused what a story wanted it to refuse.
    pub fn judge(&self, allowed: &[u16]) -> Result<()> {
        let asked = self.asked();
        let wrong: Vec<_> = asked.iter().filter(|one| one.status >= 300 && !allowed.contains(&one.status)).collect();
        ensure!(wrong.is_empty(), "it refused {wrong:?}");
        Ok(())
    }
}

type Shared<C> = (Arc<Mutex<Book<C>>>, watch::Receiver<bool>);

async fn hear<C: Crm>(State((book, mut held)): State<Shared<C>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let mut asked = Asked {
        at: Instant::now(),
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        status: 0,
    };
    let said = {
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let said = book.crm.answer(&asked);
        asked.status = said.status;
        book.asked.push(asked);
        said
    };
    if said.wrote {
        // Gone with its story.
        let _ = held.wait_for(|held| !held).await;
    }
    let mut response = Response::builder().status(said.status).header("content-type", "application/json");
    for (name, value) in said.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(said.body.to_string())).unwrap_or_default()
}
