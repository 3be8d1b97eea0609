//! Sending one request and reading its answer, within bounds.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Method, Response, Url, redirect, retry};
use tokio::time::Instant;
use url::Host;

use crate::error::{BadUrl, OpenError, SendError};
use crate::guard::{self, Guard};
use crate::names::{self, Lookup, Names, NoAddress};

/// Name, connection and TLS together; the time of the request rules when it is shorter.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Connections kept open to one host while nothing is asked.
const IDLE_PER_HOST_MAX: usize = 16;
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Headers of a request, and all their names and values together. An answer's head is bounded by the HTTP library: 100
/// headers, 400 KiB.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Of a body that nobody wants.
const UNREAD_WITHIN: Duration = Duration::from_secs(1);
const UNREAD_BYTES_MAX: usize = 64 * 1024;
/// What belongs to the connection; from elsewhere it could make the server see another request than was sent.
const OUR_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Networks that may be called though they are not the public internet's. None by default.
    pub allow: Vec<IpNet>,
    /// Whether `http` will do. What is sent can be read and changed on its way then, so without it `http` is only for
    /// addresses in `allow`.
    pub plain_http: bool,
    /// How we introduce ourselves, such as `callbus/1.2`.
    pub user_agent: String,
}

/// The guarded HTTP client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    http: Client,
    guard: Guard,
    names: Arc<Names>,
}

/// What is sent.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// For all of it, from the look-up of the name to the last byte of the answer.
    pub timeout: Duration,
    /// An answer with a larger body is an error. `None`: nobody reads the body, whatever it is.
    pub body_bytes_max: Option<usize>,
}

/// What came back, whatever its status; a redirect, too, is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case. Values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// As it came: what is compressed stays so.
    pub body: Bytes,
    pub took: Duration,
}

impl Outbound {
    /// # Errors
    /// When the system has no certificates to trust, or the user agent is no header value.
    pub fn new(settings: OutboundSettings) -> Result<Self, OpenError> {
        Self::with(settings, Arc::new(names::system), Vec::new())
    }

    /// With a test's own book of names, and roots it trusts beside the system's.
    ///
    /// # Errors
    /// As [`Self::new`], and when a root is no certificate.
    #[cfg(feature = "storm")]
    pub fn in_hand(
        settings: OutboundSettings,
        lookup: impl Fn(&str) -> io::Result<Vec<std::net::IpAddr>> + Send + Sync + 'static,
        roots: &[&[u8]],
    ) -> Result<Self, OpenError> {
        let roots: Result<_, _> = roots.iter().map(|root| Certificate::from_der(root)).collect();
        Self::with(settings, Arc::new(lookup), roots.map_err(|error| OpenError::Client(why(&error)))?)
    }

    /// With a resolver and certificates of a test's own.
    pub(crate) fn with(
        settings: OutboundSettings,
        lookup: Lookup,
        certificates: Vec<Certificate>,
    ) -> Result<Self, OpenError> {
        // Only the first call sets it; every later one finds it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Guard::new(settings.allow, settings.plain_http);
        let names = Arc::new(Names::new(guard.clone(), lookup));
        let http = Client::builder()
            .user_agent(settings.user_agent)
            .dns_resolver(Arc::clone(&names))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .http1_only()
            // Another crate may have these built in.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT_WITHIN)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .tls_certs_merge(certificates)
            .build()
            .map_err(|error| OpenError::Client(why(&error)))?;
        Ok(Self { http, guard, names })
    }

    /// Reads a URL that may be called, as far as can be told without looking its name up: for saving and trying out.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self, text: &str) -> Result<Url, BadUrl> {
        let url = guard::check_url(text)?;
        self.guard.check_host(&url)?;
        Ok(url)
    }

    /// The same, and looks its name up as a call would. A name that has no address passes: it may have one when it is
    /// called, and is looked at again then.
    ///
    /// # Errors
    /// Says what is wrong with it, and with the address behind its name.
    pub async fn look_up(&self, text: &str) -> Result<Url, BadUrl> {
        let url = self.check(text)?;
        if let Some(Host::Domain(name)) = url.host()
            && let Err(NoAddress::Refused(refused)) = self.names.addresses(name).await
        {
            return Err(refused.into());
        }
        Ok(url)
    }

    /// Sends a request, once.
    ///
    /// # Errors
    /// Named for what went wrong. The server may have acted on it all the same, unless it was never reached:
    /// [`SendError::Url`], `Refused`, `Header`, `Resolve`, `Connect` and `Tls`.
    pub async fn send(&self, request: Request) -> Result<Reply, SendError> {
        let (host, within) = (request.url.host_str().unwrap_or_default().to_owned(), request.timeout);
        match tokio::time::timeout(within, self.exchange(&host, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::Timeout { host, within }),
        }
    }

    async fn exchange(&self, host: &str, request: Request) -> Result<Reply, SendError> {
        let began = Instant::now();
        guard::check(&request.url).map_err(SendError::Url)?;
        if let Err(error) = self.guard.check_host(&request.url) {
            return Err(if let BadUrl::Refused(refused) = error {
                SendError::Refused { host: host.to_owned(), refused }
            } else {
                SendError::Url(error)
            });
        }
        let headers = headers_of(&request.headers)?;
        let sending = self.http.request(request.method, request.url).headers(headers).body(request.body).send();
        let response = sending.await.map_err(|error| failure(host, &error))?;
        let status = response.status().as_u16();
        let headers = pairs_of(response.headers());
        let body = match request.body_bytes_max {
            Some(bytes_max) => body_of(host, response, bytes_max).await?,
            None => {
                // So that the connection can be used again. One that goes on and on is closed.
                let _ = tokio::time::timeout(UNREAD_WITHIN, body_of(host, response, UNREAD_BYTES_MAX)).await;
                Bytes::new()
            }
        };
        Ok(Reply { status, headers, body, took: began.elapsed() })
    }
}

impl Reply {
    /// The first header of a name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Headers, body and the rest of the URL may hold secrets and phone numbers.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Reads a header's name that may be sent: for saving.
///
/// # Errors
/// Says why it may not.
pub fn check_header(name: &str) -> Result<(), &'static str> {
    header_name(name).map(drop)
}

fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "it is no name of a header")?;
    if OUR_HEADERS.contains(&name.as_str()) {
        return Err("it belongs to the connection and is set by the client; leave it out");
    }
    Ok(name)
}

fn headers_of(pairs: &[(String, String)]) -> Result<HeaderMap, SendError> {
    let mut headers = HeaderMap::new();
    let mut bytes = 0;
    for (index, (name, value)) in pairs.iter().enumerate() {
        let bad = |why| SendError::Header { name: name.clone(), why };
        bytes += name.len() + value.len();
        if index >= HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            return Err(bad("at most 64 headers of 16 KiB in all are sent"));
        }
        let key = header_name(name).map_err(bad)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad("its value has control characters"))?;
        headers.append(key, value);
    }
    Ok(headers)
}

fn pairs_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    headers.iter().filter_map(text).collect()
}

async fn body_of(host: &str, mut response: Response, bytes_max: usize) -> Result<Bytes, SendError> {
    let too_large = || SendError::TooLarge { host: host.to_owned(), bytes_max };
    let announced = response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > bytes_max {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(host, &error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Names what went wrong by what lies at the bottom of the HTTP client's error.
fn failure(host: &str, error: &reqwest::Error) -> SendError {
    let host = host.to_owned();
    match find::<NoAddress>(error) {
        Some(NoAddress::Refused(refused)) => return SendError::Refused { host, refused: refused.clone() },
        Some(NoAddress::Unknown(why)) => return SendError::Resolve { host, why: why.clone() },
        None => {}
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return SendError::Tls { host, why: error.to_string() };
    }
    if error.is_timeout() {
        return SendError::Connect { host, why: format!("no connection within {CONNECT_WITHIN:?}") };
    }
    if error.is_connect() {
        return SendError::Connect { host, why: why(error) };
    }
    SendError::Http { host, why: why(error) }
}

fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The last cause; those before it repeat each other, and the URL.
fn why(error: &reqwest::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and what caused it. An I/O error hides the one it was made of, which is looked at, too.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(Some(error as &(dyn Error + 'static)), |&error| {
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        hidden.map(|hidden| hidden as &(dyn Error + 'static)).or_else(|| error.source())
    })
}
