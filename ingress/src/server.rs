//! The listener: routes, body limits, drain.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, header};
use bus::{Bus, Clock};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::answer::Reception;
use crate::door::{Apps, Claims};
use crate::rejected::Rejections;
use crate::status::Reply;

/// A body must arrive within this, so that slow senders hold nothing for long.
const BODY_WITHIN: Duration = Duration::from_secs(5);

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
        let rejections = Rejections::default();
        Ok(Self { listener, reception: Arc::new(Reception { settings, apps, bus, clock, rejections }) })
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
    /// When the listener fails.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let router = Router::new().fallback(take).with_state(self.reception);
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

async fn take(
    State(reception): State<Arc<Reception>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Reply {
    let settings = &reception.settings;
    if !settings.takes(request.uri().path()) {
        return Reply::NotHere;
    }
    match *request.method() {
        Method::POST => {}
        Method::GET | Method::HEAD => return Reply::Hello,
        _ => return Reply::Method,
    }
    let path = format!("{}{}", settings.public_prefix, request.uri().path());
    let claims = Claims::of(request.headers(), request.method().as_str(), path);
    let body = whole(request, settings.body_bytes_max);
    reception.take(claims, peer.ip().to_string(), body).await
}

/// The whole body, bounded in size and time.
async fn whole(request: Request, bytes_max: usize) -> Result<Bytes, NoBody> {
    let (parts, body): (_, Body) = request.into_parts();
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
