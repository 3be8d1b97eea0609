//! The callback profiles, as they lie on the bus.
//!
//! As destinations do, they stand in the stream `CONFIG`; what is secret of them lies with the secrets, which only the role
//! that sends may read.

use std::collections::BTreeMap;

use bus::{AppendError, Bus, Clock, Recorded, Unavailable};
use bytes::Bytes;
use outbound::Outbound;
use proto::event::json;
use proto::{Event, EventId, Filter, ProfileAuth, ProfileChanged, ProfileId, ProfilePut, Stream, Subject};

use crate::profile::{AuthSpec, BadProfile, Compiled, Profile, ProfileSpec, Status};
use crate::register::add_key;
use crate::signing::SigningSecret;
use crate::template::{Spelling, UrlTemplate};

/// How often somebody else may change a profile first before we give up.
const ATTEMPTS_MAX: usize = 5;
/// Profiles of an installation, without those that were removed.
const PROFILES_MAX: usize = 1000;
/// For `secret`: have one made.
const NEW: &str = "new";

/// A profile was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(transparent)]
    Bad(#[from] BadProfile),
    #[error("there is no profile {0}")]
    Unknown(ProfileId),
    #[error("there are {PROFILES_MAX} profiles already; remove one first")]
    TooMany,
    #[error("change a profile: others did so at the same time, again and again; try again")]
    Contended,
    #[error("change a profile: {0}")]
    Append(AppendError),
    #[error("reach the profiles: {0}")]
    Unavailable(#[from] Unavailable),
    #[error("make an id or a secret: {0}")]
    Random(#[from] getrandom::Error),
}

/// What was saved.
#[derive(Debug)]
pub struct Saved {
    pub profile: Profile,
    /// What somebody may not have meant.
    pub warnings: Vec<String>,
    /// The signing secret that was made for it.
    pub made: Option<SigningSecret>,
}

/// All callback profiles.
#[derive(Debug, Clone)]
pub struct Profiles {
    bus: Bus,
    clock: Clock,
}

impl Profiles {
    pub fn new(bus: Bus, clock: Clock) -> Self {
        Self { bus, clock }
    }

    /// All of them, those too that were removed.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn all(&self) -> Result<BTreeMap<ProfileId, Profile>, Unavailable> {
        let mut all = BTreeMap::new();
        let mut events = self.bus.events(&Filter::Profiles, 0);
        while let Some(next) = events.next().await? {
            take(&mut all, &next);
        }
        Ok(all)
    }

    /// # Errors
    /// When there is none, or the log cannot be read.
    pub async fn find(&self, id: &ProfileId) -> Result<Profile, ProfileError> {
        Ok(self.last(id).await?.0)
    }

    /// # Errors
    /// When it cannot be one, or was not kept.
    pub async fn create(
        &self,
        outbound: &Outbound,
        region: &str,
        spec: &ProfileSpec,
        by: &str,
    ) -> Result<Saved, ProfileError> {
        let method = spec.http_method.ok_or(BadProfile::Method)?;
        let url = spec.url.clone().ok_or(BadProfile::NoUrl)?;
        let blank = ProfilePut {
            title: String::new(),
            from_seq: 0,
            method,
            url,
            headers: BTreeMap::new(),
            body: None,
            auth: ProfileAuth::None,
            legacy_placeholders: false,
            keys: Vec::new(),
            by: String::new(),
        };
        self.add(outbound, region, blank, spec, by).await
    }

    /// A new one that is as another, but for what is asked to be different. Where the other signs, it has a signing secret
    /// of its own: who can verify what one sends could otherwise write as the other.
    ///
    /// # Errors
    /// As [`Self::create`]; when there is no such profile.
    pub async fn duplicate(
        &self,
        outbound: &Outbound,
        region: &str,
        id: &ProfileId,
        spec: &ProfileSpec,
        by: &str,
    ) -> Result<Saved, ProfileError> {
        let put = self.find(id).await?.put;
        let signs = !put.keys.is_empty();
        let secret = spec.secret.clone().or_else(|| signs.then(|| Some(NEW.to_owned())));
        let title = spec
            .title
            .clone()
            .unwrap_or_else(|| format!("{} copy", put.title.chars().take(95).collect::<String>().trim()));
        let put = ProfilePut { keys: Vec::new(), ..put };
        self.add(outbound, region, put, &ProfileSpec { title: Some(title), secret, ..spec.clone() }, by).await
    }

    /// Changes what is given. Calls that were placed before are told by the revision they pinned.
    ///
    /// # Errors
    /// As [`Self::create`]; when there is no such profile.
    pub async fn change(
        &self,
        outbound: &Outbound,
        id: &ProfileId,
        spec: &ProfileSpec,
        by: &str,
    ) -> Result<Saved, ProfileError> {
        for _ in 0..ATTEMPTS_MAX {
            let (before, last) = self.last(id).await?;
            let from_seq = before.from_seq;
            if let Some(saved) = self.put(outbound, id, last, ProfilePut { from_seq, ..before.put }, spec, by).await? {
                return Ok(saved);
            }
        }
        Err(ProfileError::Contended)
    }

    /// Enables, disables or removes it; answers what it is then.
    ///
    /// # Errors
    /// When there is no such profile, or it was not changed.
    pub async fn tell(&self, id: &ProfileId, changed: ProfileChanged) -> Result<Profile, ProfileError> {
        for _ in 0..ATTEMPTS_MAX {
            let (before, last) = self.last(id).await?;
            // Several groups find out by themselves whether it answers.
            let known = match changed {
                ProfileChanged::AutoDisabled { .. } => before.status != Status::Active,
                ProfileChanged::Recovered => before.status != Status::AutoDisabled,
                ProfileChanged::Put(_)
                | ProfileChanged::Enabled { .. }
                | ProfileChanged::Disabled { .. }
                | ProfileChanged::Removed { .. } => false,
            };
            if known {
                return Ok(before);
            }
            if let Some(seq) = self.append(id, last, &changed).await? {
                let now = Profile::apply(Some(before), id, seq, self.clock.now(), changed);
                return now.ok_or_else(|| ProfileError::Unknown(id.clone()));
            }
        }
        Err(ProfileError::Contended)
    }

    async fn add(
        &self,
        outbound: &Outbound,
        region: &str,
        blank: ProfilePut,
        spec: &ProfileSpec,
        by: &str,
    ) -> Result<Saved, ProfileError> {
        let there = self.all().await?.into_values().filter(|profile| profile.removed_at.is_none()).count();
        if there >= PROFILES_MAX {
            return Err(ProfileError::TooMany);
        }
        let from_seq = self.bus.last_seq(&Filter::All(Stream::Calls)).await?;
        let id = random_id(region)?;
        let saved = self.put(outbound, &id, 0, ProfilePut { from_seq, ..blank }, spec, by).await?;
        saved.ok_or(ProfileError::Contended)
    }

    /// `None`: somebody else was first.
    async fn put(
        &self,
        outbound: &Outbound,
        id: &ProfileId,
        last: u64,
        before: ProfilePut,
        spec: &ProfileSpec,
        by: &str,
    ) -> Result<Option<Saved>, ProfileError> {
        let (url_before, has_credentials) = (before.url.clone(), before.auth != ProfileAuth::None);
        let mut put = spec.onto(before, by);
        let compiled = Compiled::of(&put)?;
        if has_credentials && spec.auth.is_none() {
            let spelling = if put.legacy_placeholders { Spelling::Single } else { Spelling::Doubled };
            let origin = UrlTemplate::compile(&url_before, spelling).map(|url| url.frame().origin());
            if origin.ok() != Some(compiled.url.frame().origin()) {
                return Err(BadProfile::AuthElsewhere.into());
            }
        }
        outbound.look_up(compiled.url.frame().as_str()).await.map_err(BadProfile::Url)?;
        if let Some(auth) = &spec.auth {
            auth.check()?;
            if let AuthSpec::Bearer { token_url, .. } = auth {
                outbound.look_up(token_url).await.map_err(BadProfile::TokenUrl)?;
            }
            let kept = match auth.secret() {
                Some(secret) => self.keep(id, "auth", last, secret.to_owned()).await?,
                None => String::new(),
            };
            put.auth = auth.with(kept);
        }
        let (secret, made) = match &spec.secret {
            Some(Some(word)) if word == NEW => {
                let secret = SigningSecret::random()?;
                (Some(secret.clone()), Some(secret))
            }
            Some(Some(given)) => (Some(SigningSecret::parse(given).map_err(BadProfile::Secret)?), None),
            Some(None) | None => (None, None),
        };
        if let Some(secret) = secret {
            let name = self.keep(id, "key", last, secret.reveal()).await?;
            add_key(name, self.clock.now(), &mut put.keys);
        }
        let warnings = compiled.warnings();
        if self.append(id, last, &ProfileChanged::Put(Box::new(put))).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(Saved { profile: self.find(id).await?, warnings, made }))
    }

    /// The profile, and the place of its newest event.
    async fn last(&self, id: &ProfileId) -> Result<(Profile, u64), ProfileError> {
        let mut all = BTreeMap::new();
        let mut events = self.bus.events(&Filter::Profile(id.clone()), 0);
        while let Some(next) = events.next().await? {
            take(&mut all, &next);
        }
        let found = all.remove(id).filter(|profile| profile.removed_at.is_none());
        Ok((found.ok_or_else(|| ProfileError::Unknown(id.clone()))?, events.passed_seq()))
    }

    /// Keeps a secret under a name nobody has used: two who change a profile at once do not write over each other's.
    async fn keep(&self, id: &ProfileId, what: &str, last: u64, secret: String) -> Result<String, Unavailable> {
        let name =
            format!("profile.{id}.{what}.{last}-{}-{:08x}", self.clock.now().as_millisecond(), fastrand::u32(..));
        self.bus.put_secret(&name, Bytes::from(secret)).await?;
        Ok(name)
    }

    /// Its place; `None` where somebody else was first.
    async fn append(&self, id: &ProfileId, last: u64, changed: &ProfileChanged) -> Result<Option<u64>, ProfileError> {
        let source = match changed {
            ProfileChanged::AutoDisabled { .. } | ProfileChanged::Recovered => "delivery",
            ProfileChanged::Put(_)
            | ProfileChanged::Enabled { .. }
            | ProfileChanged::Disabled { .. }
            | ProfileChanged::Removed { .. } => "api",
        };
        let data = json(changed);
        let event = Event {
            id: EventId::of(&["profile", id.as_str(), &last.to_string(), &data]),
            subject: Subject::Profile(id.clone()),
            about: id.to_string(),
            source: source.to_owned(),
            time: self.clock.now(),
            extra: Vec::new(),
            data: Bytes::from(data),
        };
        match self.bus.append(&event, Some(last)).await {
            Ok(appended) => Ok(Some(appended.seq)),
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(error @ (AppendError::Refused(_) | AppendError::Unavailable(_))) => Err(ProfileError::Append(error)),
        }
    }
}

/// Takes one event of the stream `CONFIG` in.
pub(crate) fn take(all: &mut BTreeMap<ProfileId, Profile>, recorded: &Recorded) {
    let Subject::Profile(id) = &recorded.event.subject else { return };
    // What cannot be read was written by a newer callbus.
    let Ok(changed) = serde_json::from_slice(&recorded.event.data) else { return };
    let before = all.remove(id);
    if let Some(now) = Profile::apply(before, id, recorded.seq, recorded.event.time, changed) {
        all.insert(id.clone(), now);
    }
}

/// The region, and a UUID of version 4 (RFC 9562, 5.4).
fn random_id(region: &str) -> Result<ProfileId, ProfileError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = format!("{region}_");
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    #[expect(clippy::expect_used, reason = "the region was checked when the configuration was read")]
    Ok(ProfileId::new(text).expect("a region and a UUID"))
}

/// Whether ids of profiles may begin with it.
pub fn is_region(text: &str) -> bool {
    ProfileId::new(format!("{text}_00000000-0000-4000-8000-000000000000")).is_ok()
}
