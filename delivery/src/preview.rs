//! What would be sent, shown and not sent.

use bus::Recorded;
use bytes::Bytes;
use jiff::Timestamp;
use outbound::{BadUrl, Method, Outbound, Request, Url};
use proto::DestinationPut;

use crate::crm::{Credentials, Crm};
use crate::template::Unfit;
use crate::webhook;

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
    // Nobody who shows something may read credentials.
    let hidden: Credentials = put.credentials.iter().map(|name| (name.clone(), "…".to_owned())).collect();
    let requests = match Crm::parse(&put.to, &put.url, hidden).map_err(NoPreview::Bad)? {
        None => vec![webhook::sample(put.method, url, recorded)],
        Some(crm) => crm.show(recorded, now).await.map_err(NoPreview::Bad)?,
    };
    let shown = |Request { method, url, headers, body, .. }| Preview { method, url, headers, body };
    Ok(requests.into_iter().map(shown).collect())
}
