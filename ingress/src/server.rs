//! The listener: paths and methods, bounds on connections, heads and bodies, drain. It speaks HTTP through hyper
//! itself, since axum's own loop bounds neither the head of a request nor the number of connections.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use axum::response::{IntoResponse, Response};
use bus::{Bus, Clock};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::answer::{self, Reception};
use crate::door::{Apps, Claims};
use crate::rejected::Rejections;
use crate::status::Reply;

/// A body must arrive within this, so that slow senders hold nothing for long.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// The head of a request must arrive within this; also how long an idle connection is kept.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Connections at the same time; each may hold a body in memory.
const CONNECTIONS_MAX: usize = 4_096;

/// After an accept that failed: usually for want of file descriptors, which come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no body to verify.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBody {
    #[error("the body is over {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    #[error("the connection broke before the body was there")]
    Broken,
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listen for callbacks on {address}: {cause}; is another process there? set [ingress] listen")]
pub struct BuildError {
    address: SocketAddr,
    cause: io::Error,
}

/// A bound door, ready to run.
#[derive(Debug)]
pub struct Ingress {
    listener: TcpListener,
    reception: Arc<Reception>,
}

impl Ingress {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn build(settings: Settings, apps: Apps, bus: Bus, clock: Clock) -> Result<Self, BuildError> {
        let address = settings.listen;
        let listener = TcpListener::bind(address).await.map_err(|cause| BuildError { address, cause })?;
        answer::count_from_zero();
        Ok(Self { listener, reception: Arc::new(Reception::new(settings, apps, bus, clock)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.reception.settings.listen)
    }

    /// Who was turned away.
    pub fn rejections(&self) -> Rejections {
        self.reception.rejections.clone()
    }

    /// Serves until asked to stop, then answers what it has taken.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut conversations = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = conversations.join_next() => continue,
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            // Who finds no place is turned away at once, so that Sinch tries another ingress.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (reception, stop) = (Arc::clone(&self.reception), stop.clone());
            conversations.spawn(async move {
                converse(reception, stream, peer, stop).await;
                drop(place);
            });
        }
        while conversations.join_next().await.is_some() {}
        Ok(())
    }
}

/// One connection, until either side ends it.
async fn converse(reception: Arc<Reception>, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reception = Arc::clone(&reception);
        async move { Ok::<_, Infallible>(reception.respond(peer.ip(), request.map(Body::new)).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .serve_connection(TokioIo::new(stream), service)
    );
    // What goes wrong on a connection is the other side's to notice.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Reception {
    /// One request of a connection, answered: what [`Ingress`] does with each it reads from a socket.
    pub async fn respond(&self, peer: IpAddr, request: Request<Body>) -> Response {
        self.reply(peer, request).await.into_response()
    }

    async fn reply(&self, peer: IpAddr, request: Request<Body>) -> Reply {
        if !self.settings.takes(request.uri().path()) {
            return Reply::NotHere;
        }
        match *request.method() {
            Method::POST => {}
            Method::GET | Method::HEAD => return Reply::Hello,
            _ => return Reply::Method,
        }
        let path = format!("{}{}", self.settings.public_prefix, request.uri().path());
        let claims = Claims::of(request.headers(), request.method().as_str(), path);
        let body = whole(request, self.settings.body_bytes_max);
        self.take(claims, peer.to_string(), body).await
    }
}

/// The whole body, bounded in size and time.
async fn whole(request: Request<Body>, bytes_max: usize) -> Result<Bytes, NoBody> {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(NoBody::TooLarge(bytes_max));
    }
    match timeout(BODY_WITHIN, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(|cause| cause.is::<LengthLimitError>()) => {
            Err(NoBody::TooLarge(bytes_max))
        }
        Ok(Err(_)) => Err(NoBody::Broken),
        Err(_) => Err(NoBody::Slow(BODY_WITHIN)),
    }
}
