//! A server that says exactly what it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Method, Request, Url};

/// How each request is answered.
#[derive(Clone)]
pub(super) enum Says {
    /// These bytes; the connection stays open.
    Once(Vec<u8>),
    /// These bytes, then the others over and over.
    ForEver(Vec<u8>, Vec<u8>),
    /// One byte after another, with this pause.
    Slowly(Vec<u8>, Duration),
    /// The request itself as the body.
    Echo,
}

pub(super) struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Server {
    /// On all addresses of the loopback, so that a client that calls the wrong one finds somebody.
    pub(super) async fn start(says: Says) -> Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let port = listener.local_addr()?.port();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut serving = JoinSet::new();
        let (opened, came) = (Arc::clone(&connections), Arc::clone(&requests));
        serving.spawn(async move {
            let mut talking = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                talking.spawn(talk(connection, says.clone(), Arc::clone(&came)));
            }
        });
        Ok(Self { port, connections, requests, _serving: serving })
    }

    pub(super) fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/callbacks?key=1", self.port)
    }

    pub(super) fn request(&self, host: &str) -> Result<Request> {
        request(&self.url(host))
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(super) fn request(url: &str) -> Result<Request> {
    Ok(Request {
        method: Method::POST,
        url: Url::parse(url)?,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(20),
        body_bytes_max: Some(1000),
    })
}

/// An answer with a body that is as long as it says.
pub(super) fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Until the client goes.
async fn talk(mut connection: TcpStream, says: Says, came: Arc<AtomicUsize>) {
    while let Some(request) = read(&mut connection).await {
        came.fetch_add(1, Ordering::SeqCst);
        if say(&mut connection, &says, &request).await.is_err() {
            return;
        }
    }
}

async fn say(connection: &mut TcpStream, says: &Says, request: &str) -> std::io::Result<()> {
    match says {
        Says::Once(bytes) => connection.write_all(bytes).await,
        Says::ForEver(first, over_and_over) => {
            connection.write_all(first).await?;
            loop {
                connection.write_all(over_and_over).await?;
            }
        }
        Says::Slowly(bytes, pause) => {
            for byte in bytes {
                connection.write_all(&[*byte]).await?;
                tokio::time::sleep(*pause).await;
            }
            Ok(())
        }
        Says::Echo => connection.write_all(&answer("200 OK", request)).await,
    }
}

/// One request with its body.
async fn read(connection: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if connection.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}
