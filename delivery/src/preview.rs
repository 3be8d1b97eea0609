//! What would be sent, shown and not sent.

use bus::{Bus, Recorded, Unavailable};
use bytes::Bytes;
use jiff::Timestamp;
use outbound::{BadUrl, Method, Outbound, Request, Url};
use proto::{DestinationPut, Filter, Kind, Stream, Subject};

use crate::crm::{Credentials, Crm};
use crate::route::{Body, is_of};
use crate::template::Unfit;
use crate::webhook;

/// Events looked at, from the newest back, for one that would be sent.
const LOOKED_MAX: usize = 1_000;

/// One of the requests that would be sent of an event, to the byte, but for secrets, what is new in every attempt, and what
/// only a CRM can say: its ids are words in capitals.
#[derive(Debug)]
pub struct Preview {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What would be sent cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum NoPreview {
    #[error("url: {0}")]
    Url(#[from] BadUrl),
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    Unfit(#[from] Unfit),
    #[error("this event does not go there; name another by its place in the log")]
    NotOfIt,
}

/// The newest event that a destination hears of, whatever its condition says.
///
/// # Errors
/// When the log cannot be read.
pub async fn newest(bus: &Bus, put: &DestinationPut) -> Result<Option<Recorded>, Unavailable> {
    let mut last_seq = 0;
    // Of a placed call a CRM hears by its last step.
    let crm: &[Kind] = if put.to.is_webhook() { &[] } else { &[Kind::Progressed] };
    for kind in put.kinds.iter().chain(crm) {
        last_seq = last_seq.max(bus.last_seq(&Filter::Kind(*kind)).await?);
    }
    for seq in (1..=last_seq).rev().take(LOOKED_MAX) {
        if let Some(recorded) = bus.event(Stream::Calls, seq).await?.filter(|recorded| hears(put, recorded)) {
            return Ok(Some(recorded));
        }
    }
    Ok(None)
}

fn hears(put: &DestinationPut, recorded: &Recorded) -> bool {
    match &recorded.event.subject {
        Subject::Call { kind, .. } => is_of(*kind, put, &Body::of(recorded)),
        Subject::Wallet(_)
        | Subject::List(_)
        | Subject::Policy(_)
        | Subject::Deck(_)
        | Subject::Destination(_)
        | Subject::Profile(_)
        | Subject::Delivery { .. } => false,
    }
}

/// Shows what would be sent, in its order, and sends nothing. The address is checked as it will be when it is called.
///
/// # Errors
/// When it would not be called.
pub async fn preview(
    outbound: &Outbound,
    put: &DestinationPut,
    recorded: &Recorded,
    now: Timestamp,
) -> Result<Vec<Preview>, NoPreview> {
    let url = outbound.look_up(&put.url).await?;
    if !hears(put, recorded) {
        return Err(NoPreview::NotOfIt);
    }
    // Nobody who shows something may read credentials.
    let hidden: Credentials = put.credentials.iter().map(|name| (name.clone(), "…".to_owned())).collect();
    let requests = match Crm::parse(&put.to, &put.url, hidden).map_err(NoPreview::Bad)? {
        None => vec![webhook::sample(put.method, url, recorded)],
        Some(crm) => crm.show(recorded, now).await.map_err(NoPreview::Bad)?,
    };
    let hides = !put.credentials.is_empty();
    let shown = |Request { method, url, headers, body, .. }| {
        let body = if hides { readable(&body) } else { body };
        Preview { method, url, headers, body }
    };
    Ok(requests.into_iter().map(shown).collect())
}

/// A form encodes what stands for a credential, which is then hard to read.
fn readable(body: &Bytes) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(text) => Bytes::from(text.replace("=%E2%80%A6", "=…")),
        Err(_) => body.clone(),
    }
}
