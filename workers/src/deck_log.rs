//! Price lists on the bus. Which version is in force when is a fold of the log; what a version says is a document, named by
//! its hash and kept for ever.
//!
//! An installation that an earlier build made has one document without a version. It is in force until the first import,
//! which takes it into the log as the version that was there from the beginning.

use bus::{AppendError, Bus, Recorded, Unavailable};
use bytes::Bytes;
use jiff::Timestamp;
use money::import::DeckErrors;
use money::{Deck, DeckVersion, DeckVersions};
use proto::event::json;
use proto::{DeckName, DeckPutInForce, Event, EventId, Filter, Subject};
use tokio::task::spawn_blocking;

/// How often others may import the same price list while we do.
const ATTEMPTS_MAX: usize = 16;

/// Something about a price list cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DeckLogError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("{0}")]
    Deck(DeckErrors),
    #[error("the document of version {0} is not there, or holds another price list")]
    Lost(String),
    #[error("{from} has passed; without a time the price list is in force at once")]
    Passed { from: Timestamp },
    #[error("others import the same price list all the time; try again")]
    Contended,
    #[error("reading the price list was given up")]
    GivenUp,
}

/// What became of an import.
#[derive(Debug)]
pub struct Imported {
    pub version: DeckVersion,
    /// It was so already.
    pub unchanged: bool,
}

/// The name of the document that an earlier build kept a price list under.
pub fn deck_document(name: &str) -> String {
    format!("deck/{name}")
}

/// Brings the fold up to what the log says now.
///
/// # Errors
/// When the log cannot be read.
pub async fn catch_up(bus: &Bus, name: &DeckName, versions: &mut DeckVersions) -> Result<(), Unavailable> {
    let mut events = bus.events(&Filter::Deck(name.clone()), versions.last_seq());
    while let Some(Recorded { seq, event }) = events.next().await? {
        if let Ok(put) = serde_json::from_slice::<DeckPutInForce>(&event.data) {
            versions.apply(seq, event.time, put);
        }
    }
    versions.pass(events.passed_seq());
    Ok(())
}

/// The price list that is in force at `at`.
///
/// # Errors
/// When it cannot be read.
pub async fn deck_in_force(bus: &Bus, name: &DeckName, at: Timestamp) -> Result<Option<Deck>, DeckLogError> {
    let mut versions = DeckVersions::default();
    catch_up(bus, name, &mut versions).await?;
    match versions.in_force(at) {
        Some(version) => deck_of_version(bus, name, &version.version).await.map(Some),
        None if versions.is_empty() => Ok(early_deck(bus, name).await?.map(|(_, deck)| deck)),
        None => Ok(None),
    }
}

/// What a version says.
///
/// # Errors
/// When it cannot be read, or is not there.
pub async fn deck_of_version(bus: &Bus, name: &DeckName, version: &str) -> Result<Deck, DeckLogError> {
    let lost = || DeckLogError::Lost(version.to_owned());
    let found = bus.document(&version_document(name, version)).await?.ok_or_else(lost)?;
    let deck = parse(name, found.bytes).await?;
    if deck.identity().version == version { Ok(deck) } else { Err(lost()) }
}

/// The price list of an earlier build, with the revision of its document.
///
/// # Errors
/// When it cannot be read.
pub async fn early_deck(bus: &Bus, name: &DeckName) -> Result<Option<(String, Deck)>, DeckLogError> {
    let Some(found) = bus.document(&deck_document(name.as_str())).await? else { return Ok(None) };
    Ok(Some((found.revision, parse(name, found.bytes).await?)))
}

/// Keeps the deck, and puts it in force from `from`, or at once. Of imports at the same time none is lost, and one that
/// comes twice counts once. A crash in between leaves a document that nobody names.
///
/// # Errors
/// When it was not put in force. Where the log does not say whether it took the event, the same import again finds out.
pub async fn import(
    bus: &Bus,
    name: &DeckName,
    deck: &Deck,
    from: Option<Timestamp>,
    now: Timestamp,
) -> Result<Imported, DeckLogError> {
    let version = &deck.identity().version;
    keep(bus, name, deck).await?;
    let mut versions = DeckVersions::default();
    for _ in 0..ATTEMPTS_MAX {
        catch_up(bus, name, &mut versions).await?;
        if versions.is_empty() && adopt(bus, name, &versions, now).await? {
            continue;
        }
        let at = from.unwrap_or_else(|| versions.at_once(now));
        if let Some(standing) = versions.in_force(at)
            && &standing.version == version
            && (at >= now || standing.effective_from == at)
        {
            return Ok(Imported { version: standing.clone(), unchanged: true });
        }
        if at < now {
            return Err(DeckLogError::Passed { from: at });
        }
        if append(bus, name, deck, &versions, at, now).await? {
            let (version, effective_from, prefixes) = (version.clone(), at, deck.len());
            let version = DeckVersion { version, effective_from, imported_at: now, prefixes };
            return Ok(Imported { version, unchanged: false });
        }
    }
    Err(DeckLogError::Contended)
}

/// Takes the price list of an earlier build into the log. One that cannot be read was never in force.
async fn adopt(bus: &Bus, name: &DeckName, versions: &DeckVersions, now: Timestamp) -> Result<bool, DeckLogError> {
    let early = match early_deck(bus, name).await {
        Ok(early) => early,
        Err(DeckLogError::Deck(_)) => None,
        Err(error) => return Err(error),
    };
    let Some((_, deck)) = early else { return Ok(false) };
    keep(bus, name, &deck).await?;
    append(bus, name, &deck, versions, Timestamp::UNIX_EPOCH, now).await?;
    Ok(true)
}

/// Whether it was appended; not when somebody else wrote first.
async fn append(
    bus: &Bus,
    name: &DeckName,
    deck: &Deck,
    versions: &DeckVersions,
    effective_from: Timestamp,
    now: Timestamp,
) -> Result<bool, DeckLogError> {
    let (version, last_seq) = (deck.identity().version.clone(), versions.last_seq());
    let parts = ["deck", name.as_str(), &last_seq.to_string(), &version, &effective_from.to_string()];
    let id = EventId::of(&parts);
    let body = DeckPutInForce { version, effective_from, prefixes: deck.len() };
    let event = Event {
        id,
        subject: Subject::Deck(name.clone()),
        about: name.to_string(),
        source: "api".to_owned(),
        time: now,
        extra: Vec::new(),
        data: json(&body).into(),
    };
    match bus.append(&event, Some(last_seq)).await {
        Ok(_) => Ok(true),
        Err(AppendError::Conflict { .. }) => Ok(false),
        Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => Err(error.into()),
    }
}

/// Written once: putting it again would take the old bytes from under whoever reads them.
async fn keep(bus: &Bus, name: &DeckName, deck: &Deck) -> Result<(), Unavailable> {
    let document = version_document(name, &deck.identity().version);
    if bus.document_revision(&document).await?.is_none() {
        bus.put_document(&document, deck.to_csv().into()).await?;
    }
    Ok(())
}

/// Where the version lies that an event puts in force.
pub(crate) fn document_of(name: &DeckName, event: &Event) -> Option<String> {
    let put: DeckPutInForce = serde_json::from_slice(&event.data).ok()?;
    Some(version_document(name, &put.version))
}

/// A deck's name holds no `@`, so that no deck's early document is another's version.
fn version_document(name: &DeckName, version: &str) -> String {
    format!("deck/{name}@{version}")
}

/// Reading hundreds of thousands of lines takes a while: not on a thread that others wait for.
async fn parse(name: &DeckName, csv: Bytes) -> Result<Deck, DeckLogError> {
    let name = name.to_string();
    let read = spawn_blocking(move || Deck::from_csv(name, &csv)).await;
    read.map_err(|_| DeckLogError::GivenUp)?.map_err(DeckLogError::Deck)
}
