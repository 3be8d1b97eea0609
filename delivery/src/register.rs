//! The register of destinations, as it lies on the bus.
//!
//! What a destination is stands in the stream `CONFIG`, for everybody who may read it; its signing secrets and the values
//! of its headers and credentials lie with the secrets, which only the role that sends may read. So who changes a
//! destination writes secrets and reads none, and a secret that was made here is told once.

use std::collections::BTreeMap;

use bus::{AppendError, Bus, Clock, Recorded, Unavailable};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use outbound::Outbound;
use proto::event::json;
use proto::{DestinationChanged, DestinationName, DestinationPut, Event, EventId, Filter, SigningKey, Stream, Subject};

use crate::destination::{BadDestination, Destination, DestinationSpec};
use crate::origins::is_reserved;
use crate::signing::SigningSecret;

/// How often somebody else may change a destination first before we give up.
const ATTEMPTS_MAX: usize = 5;
/// Destinations of an installation.
const DESTINATIONS_MAX: usize = 1000;
/// A secret that was replaced signs beside the new one for this long, so that receivers can change theirs.
const KEY_OVERLAP: SignedDuration = SignedDuration::from_hours(24);
/// All signatures stand in one header.
const KEYS_MAX: usize = 5;

/// A destination was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Bad(#[from] BadDestination),
    #[error("there is no destination {0}")]
    Unknown(DestinationName),
    #[error("there are {DESTINATIONS_MAX} destinations already; remove one first")]
    TooMany,
    #[error("change a destination: others did so at the same time, again and again; try again")]
    Contended,
    #[error("change a destination: {0}")]
    Append(AppendError),
    #[error("reach the destinations: {0}")]
    Unavailable(#[from] Unavailable),
    #[error("make a signing secret: {0}")]
    Random(#[from] getrandom::Error),
}

/// What was put, and the secret that was made for it.
#[derive(Debug)]
pub struct Put {
    pub destination: Destination,
    pub made: Option<SigningSecret>,
}

/// All destinations.
#[derive(Debug, Clone)]
pub struct Register {
    bus: Bus,
    clock: Clock,
}

impl Register {
    pub fn new(bus: Bus, clock: Clock) -> Self {
        Self { bus, clock }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn all(&self) -> Result<BTreeMap<DestinationName, Destination>, Unavailable> {
        let mut all = BTreeMap::new();
        let mut events = self.bus.events(&Filter::Destinations, 0);
        while let Some(next) = events.next().await? {
            take(&mut all, &next);
        }
        Ok(all)
    }

    /// # Errors
    /// When there is none of that name, or the log cannot be read.
    pub async fn find(&self, name: &DestinationName) -> Result<Destination, RegisterError> {
        self.last(name).await?.0.ok_or_else(|| RegisterError::Unknown(name.clone()))
    }

    /// Puts a destination in the place of the one of its name. Its address is checked as it will be when it is called.
    ///
    /// # Errors
    /// When it cannot be one, or was not kept.
    pub async fn put(
        &self,
        outbound: &Outbound,
        name: &DestinationName,
        spec: DestinationSpec,
        by: &str,
    ) -> Result<Put, RegisterError> {
        if is_reserved(name) {
            return Err(BadDestination::Reserved.into());
        }
        let spec = spec.whole();
        let given = spec.check()?;
        outbound.look_up(&spec.url).await.map_err(BadDestination::Url)?;
        for _ in 0..ATTEMPTS_MAX {
            let (before, last) = self.last(name).await?;
            let from_seq = self.bus.last_seq(&Filter::All(Stream::Calls)).await?;
            let deliveries_seq = self.bus.last_seq(&Filter::All(Stream::Deliveries)).await?;
            if before.is_none() && self.all().await?.len() >= DESTINATIONS_MAX {
                return Err(RegisterError::TooMany);
            }
            let before = before.map(|before| before.put);
            spec.check_crm(before.as_ref())?;
            let (credentials, credential_values) = match (&spec.credentials, &before) {
                (Some(given), _) => {
                    (given.keys().cloned().collect(), self.keep(name, "credentials", last, given).await?)
                }
                (None, Some(before)) if spec.keeps_credentials_of(before) => {
                    (before.credentials.clone(), before.credential_values.clone())
                }
                (None, _) => (Vec::new(), None),
            };
            let mut keys = before.map(|before| before.keys).unwrap_or_default();
            let unsigned = given.is_none() && keys.is_empty() && spec.to.is_webhook();
            let made = if unsigned { Some(SigningSecret::random()?) } else { None };
            if let Some(secret) = given.as_ref().or(made.as_ref()) {
                self.add_key(name, last, secret, &mut keys).await?;
            }
            let changed = DestinationChanged::Put(Box::new(DestinationPut {
                url: spec.url.clone(),
                to: spec.to.clone(),
                from_seq,
                deliveries_seq,
                method: spec.method,
                kinds: spec.kinds.clone(),
                apps: spec.apps.clone(),
                when: spec.when.clone(),
                retry: spec.retry.clone(),
                timeout_secs: spec.timeout_secs,
                concurrency_max: spec.concurrency_max,
                rate_per_sec: spec.rate_per_sec,
                headers: spec.headers.keys().cloned().collect(),
                header_values: self.keep(name, "headers", last, &spec.headers).await?,
                credentials,
                credential_values,
                keys,
                by: by.to_owned(),
            }));
            if let Some(destination) = self.change(name, last, changed).await? {
                return Ok(Put { destination, made });
            }
        }
        Err(RegisterError::Contended)
    }

    /// A new signing secret; the one before signs beside it for a day.
    ///
    /// # Errors
    /// When there is no such destination, or it was not changed.
    pub async fn rotate(
        &self,
        name: &DestinationName,
        given: Option<&str>,
        by: &str,
    ) -> Result<(Destination, SigningSecret), RegisterError> {
        let given = given.map(SigningSecret::parse).transpose().map_err(BadDestination::Secret)?;
        for _ in 0..ATTEMPTS_MAX {
            let (before, last) = self.last(name).await?;
            let before = before.ok_or_else(|| RegisterError::Unknown(name.clone()))?;
            if !before.put.to.is_webhook() {
                return Err(BadDestination::NotSigned.into());
            }
            let secret = given.clone().map_or_else(SigningSecret::random, Ok)?;
            let mut put = DestinationPut { by: by.to_owned(), ..before.put };
            self.add_key(name, last, &secret, &mut put.keys).await?;
            if let Some(destination) = self.change(name, last, DestinationChanged::Put(Box::new(put))).await? {
                return Ok((destination, secret));
            }
        }
        Err(RegisterError::Contended)
    }

    /// Pauses, resumes or removes it.
    ///
    /// # Errors
    /// When there is no such destination, or it was not changed.
    pub async fn tell(&self, name: &DestinationName, changed: DestinationChanged) -> Result<(), RegisterError> {
        for _ in 0..ATTEMPTS_MAX {
            let (before, last) = self.last(name).await?;
            let before = before.ok_or_else(|| RegisterError::Unknown(name.clone()))?;
            match self.append(name, last, &changed).await {
                Ok(_) if matches!(changed, DestinationChanged::Removed { .. }) => {
                    // It is removed, whatever becomes of them.
                    if let Err(error) = self.forget(&before.put).await {
                        tracing::warn!(%error, destination = %name, "its secrets stay where they are");
                    }
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(AppendError::Conflict { .. }) => {}
                Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => {
                    return Err(RegisterError::Append(error));
                }
            }
        }
        Err(RegisterError::Contended)
    }

    /// The destination, and the place of its newest event.
    async fn last(&self, name: &DestinationName) -> Result<(Option<Destination>, u64), Unavailable> {
        let mut all = BTreeMap::new();
        let mut events = self.bus.events(&Filter::Destination(name.clone()), 0);
        while let Some(next) = events.next().await? {
            take(&mut all, &next);
        }
        Ok((all.remove(name), events.passed_seq()))
    }

    /// Keeps a secret under a name nobody has used, and puts it before the others, of which the newest stays for a while.
    async fn add_key(
        &self,
        name: &DestinationName,
        last: u64,
        secret: &SigningSecret,
        keys: &mut Vec<SigningKey>,
    ) -> Result<(), RegisterError> {
        let kept = self.secret_name(name, "key", last);
        self.bus.put_secret(&kept, Bytes::from(secret.reveal())).await?;
        add_key(kept, self.clock.now(), keys);
        Ok(())
    }

    async fn keep(
        &self,
        name: &DestinationName,
        what: &str,
        last: u64,
        values: &BTreeMap<String, String>,
    ) -> Result<Option<String>, Unavailable> {
        if values.is_empty() {
            return Ok(None);
        }
        let kept = self.secret_name(name, what, last);
        self.bus.put_secret(&kept, Bytes::from(json(values))).await?;
        Ok(Some(kept))
    }

    /// What only a destination knew that is no more. Whoever still sends to it has its secrets at hand, and whoever
    /// begins now does not send to it.
    async fn forget(&self, put: &DestinationPut) -> Result<(), RegisterError> {
        let keys = put.keys.iter().map(|key| &key.name);
        for name in keys.chain(&put.header_values).chain(&put.credential_values) {
            self.bus.forget_secret(name).await?;
        }
        Ok(())
    }

    /// Two who change it at once do not write over each other's secrets.
    fn secret_name(&self, name: &DestinationName, what: &str, last: u64) -> String {
        format!("destination.{name}.{what}.{last}-{}-{:08x}", self.clock.now().as_millisecond(), fastrand::u32(..))
    }

    async fn change(
        &self,
        name: &DestinationName,
        last: u64,
        changed: DestinationChanged,
    ) -> Result<Option<Destination>, RegisterError> {
        match self.append(name, last, &changed).await {
            Ok(_) => self.find(name).await.map(Some),
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => Err(RegisterError::Append(error)),
        }
    }

    async fn append(
        &self,
        name: &DestinationName,
        last: u64,
        changed: &DestinationChanged,
    ) -> Result<u64, AppendError> {
        let data = json(changed);
        let event = Event {
            id: EventId::of(&["destination", name.as_str(), &last.to_string(), &data]),
            subject: Subject::Destination(name.clone()),
            about: name.to_string(),
            source: "api".to_owned(),
            time: self.clock.now(),
            extra: Vec::new(),
            data: Bytes::from(data),
        };
        self.bus.append(&event, Some(last)).await.map(|appended| appended.seq)
    }
}

/// Puts a key before the others, of which the newest [`KEYS_MAX`] go on signing for a while.
pub(crate) fn add_key(name: String, now: Timestamp, keys: &mut Vec<SigningKey>) {
    keys.retain(|key| key.retires_at.is_none_or(|at| at > now));
    for key in keys.iter_mut().filter(|key| key.retires_at.is_none()) {
        key.retires_at = Some(now.checked_add(KEY_OVERLAP).unwrap_or(now));
    }
    keys.insert(0, SigningKey { name, retires_at: None });
    keys.truncate(KEYS_MAX);
}

/// Takes one event of the stream `CONFIG` in.
pub(crate) fn take(all: &mut BTreeMap<DestinationName, Destination>, recorded: &Recorded) {
    let Subject::Destination(name) = &recorded.event.subject else { return };
    // What cannot be read was written by a newer callbus.
    let Ok(changed) = serde_json::from_slice(&recorded.event.data) else { return };
    let before = all.remove(name);
    if let Some(now) = Destination::apply(before, name, recorded.seq, recorded.event.time, changed) {
        all.insert(name.clone(), now);
    }
}
