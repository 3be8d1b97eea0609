//! Who may ask: the application, by a signature of each request or by its key and secret.

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use proto::signature::{AppSecret, Authorization, Refused, SignedParts, Verified};

use crate::platform::{Exchange, Platform};
use crate::problem::Problem;

/// No request is longer.
const BODY_MAX_BYTES: usize = 64 * 1024;

pub(crate) async fn admit(State(platform): State<Platform>, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let too_large = |_| Problem::Parameter("the body is too large".to_owned());
    let body = to_bytes(body, BODY_MAX_BYTES).await.map_err(too_large)?;
    let authorization = str::from_utf8(header(&parts, "authorization")).unwrap_or_default();
    let (scheme, credentials) = authorization.split_once(' ').ok_or(Problem::Authorization)?;
    match scheme.to_ascii_lowercase().as_str() {
        "application" => signed(platform.exchange(), &parts, body.clone(), authorization)?,
        "basic" => basic(platform.exchange(), credentials)?,
        _ => return Err(Problem::Scheme),
    }
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

fn signed(exchange: &Exchange, parts: &Parts, body: Bytes, authorization: &str) -> Result<(), Problem> {
    let authorization = Authorization::parse(authorization).map_err(|_| Problem::Authorization)?;
    if authorization.key.folded() != exchange.app_key.folded() {
        return Err(Problem::Credentials);
    }
    let signed = SignedParts {
        method: parts.method.as_str(),
        content_type: header(parts, "content-type"),
        timestamp: header(parts, "x-timestamp"),
        path: parts.uri.path(),
        body: b"",
    };
    str::from_utf8(signed.timestamp).ok().and_then(|text| text.parse::<Timestamp>().ok()).ok_or(Problem::Timestamp)?;
    let secrets = std::slice::from_ref(&exchange.secret);
    match Verified::check(body, &signed, &authorization, secrets, (exchange.now)(), Some(exchange.age_max)) {
        Ok(_) => Ok(()),
        Err(Refused::Age | Refused::NoTimestamp | Refused::BadTimestamp) => Err(Problem::Timestamp),
        Err(Refused::Signature) => Err(Problem::Signature),
        Err(Refused::NoAuthorization | Refused::Scheme | Refused::UnknownKey | Refused::WrongApp) => {
            Err(Problem::Authorization)
        }
    }
}

/// Whoever signs as the application does, has its secret.
fn basic(exchange: &Exchange, credentials: &str) -> Result<(), Problem> {
    let decoded = STANDARD.decode(credentials.trim()).map_err(|_| Problem::Authorization)?;
    let text = String::from_utf8(decoded).map_err(|_| Problem::Authorization)?;
    let (key, secret) = text.split_once(':').ok_or(Problem::Authorization)?;
    let secret = AppSecret::from_base64(secret).map_err(|_| Problem::Credentials)?;
    let nothing = SignedParts { method: "", content_type: b"", timestamp: b"", path: "", body: b"" };
    let is_ours = key.eq_ignore_ascii_case(exchange.app_key.as_str());
    if is_ours && secret.sign(&nothing) == exchange.secret.sign(&nothing) { Ok(()) } else { Err(Problem::Credentials) }
}

fn header<'a>(parts: &'a Parts, name: &str) -> &'a [u8] {
    parts.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default()
}
