//! A callback profile: what is asked for, and the fold of its events that is in force.

use std::collections::BTreeMap;

use jiff::Timestamp;
use outbound::{BadUrl, Url};
use proto::{DeliveryMethod, ProfileAuth, ProfileChanged, ProfileId, ProfilePut};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::destination::{HEADER_BYTES_MAX, HEADERS_MAX, bad_header, is_elided};
use crate::signing::BadSecret;
use crate::template::{BadTemplate, BodyTemplate, HeaderTemplate, Scene, Spelling, Unfit, UrlTemplate};

const TITLE_CHARS: std::ops::RangeInclusive<usize> = 3..=100;
/// Users, passwords, ids and secrets of clients, scopes.
const CREDENTIAL_BYTES_MAX: usize = 1024;

/// What is asked for: all of a new profile, or what is to be another.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileSpec {
    pub title: Option<String>,
    pub http_method: Option<DeliveryMethod>,
    pub url: Option<String>,
    pub headers: Option<BTreeMap<String, String>>,
    /// `null` takes it away.
    #[serde(deserialize_with = "given")]
    pub body: Option<Option<String>>,
    pub auth: Option<AuthSpec>,
    pub legacy_placeholders: Option<bool>,
    /// `whsec_…`, or `new` to have one made; `null` takes it away.
    #[serde(deserialize_with = "given")]
    pub secret: Option<Option<String>>,
}

/// How callbus says who it is, with its secrets.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthSpec {
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer {
        token_url: String,
        client_id: String,
        client_secret: String,
        #[serde(default)]
        scope: Option<String>,
    },
}

impl std::fmt::Debug for AuthSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthSpec(…)")
    }
}

/// Absent is one thing, `null` another.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// It cannot be a profile.
#[derive(Debug, thiserror::Error)]
pub enum BadProfile {
    #[error("title: 3 to 100 letters, digits, spaces, '-' and '_'")]
    Title,
    #[error("http_method: write GET or POST")]
    Method,
    #[error("url: write one")]
    NoUrl,
    #[error("url: {0}")]
    UrlTemplate(BadTemplate),
    #[error("url: {0}; networks that are not public are allowed with [outbound] allow")]
    Url(BadUrl),
    #[error(
        "headers: {0:?} cannot be set; at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes are, none of ours, and \
         credentials stand in auth"
    )]
    Header(String),
    #[error("headers: {name}: {cause}")]
    HeaderTemplate { name: String, cause: BadTemplate },
    #[error("body: a POST has one")]
    NoBody,
    #[error("body: a GET has none; leave it out, or write null")]
    Body,
    #[error("body: {0}")]
    BodyTemplate(BadTemplate),
    #[error("auth: {0}")]
    Auth(&'static str),
    #[error("auth: give it anew: url leads to another host, which is not to get what was meant for the one before")]
    AuthElsewhere,
    #[error("auth: token_url: {0}; networks that are not public are allowed with [outbound] allow")]
    TokenUrl(BadUrl),
    #[error("secret: {0}")]
    Secret(#[from] BadSecret),
}

/// What stands in the log, ready to be filled in.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub url: UrlTemplate,
    pub headers: Vec<(String, HeaderTemplate)>,
    pub body: Option<BodyTemplate>,
}

/// What a listener is told, to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Compiled {
    /// # Errors
    /// Says what is wrong with it.
    pub fn of(put: &ProfilePut) -> Result<Self, BadProfile> {
        let chars = put.title.chars().count();
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        if !TITLE_CHARS.contains(&chars) || !put.title.chars().all(allowed) || put.title.trim() != put.title {
            return Err(BadProfile::Title);
        }
        let spelling = if put.legacy_placeholders { Spelling::Single } else { Spelling::Doubled };
        let secret = |name: &&str| ["authorization", "proxy-authorization", "cookie"].contains(&&*name.to_lowercase());
        if let Some(name) = bad_header(&put.headers).or(put.headers.keys().map(String::as_str).find(secret)) {
            return Err(BadProfile::Header(name.chars().take(80).collect()));
        }
        let header = |(name, text): (&String, &String)| {
            let template = HeaderTemplate::compile(text, spelling);
            let template = template.map_err(|cause| BadProfile::HeaderTemplate { name: name.clone(), cause })?;
            Ok((name.clone(), template))
        };
        let body = match (put.method, &put.body) {
            (DeliveryMethod::Post, None) => return Err(BadProfile::NoBody),
            (DeliveryMethod::Get, Some(_)) => return Err(BadProfile::Body),
            (DeliveryMethod::Post, Some(text)) => {
                Some(BodyTemplate::compile(text, spelling).map_err(BadProfile::BodyTemplate)?)
            }
            (DeliveryMethod::Get, None) => None,
        };
        Ok(Self {
            url: UrlTemplate::compile(&put.url, spelling).map_err(BadProfile::UrlTemplate)?,
            headers: put.headers.iter().map(header).collect::<Result<_, BadProfile>>()?,
            body,
        })
    }

    /// What somebody may not have meant, each with where it stands.
    pub fn warnings(&self) -> Vec<String> {
        let url = self.url.warnings().iter().map(|warning| format!("url: {warning}"));
        let headers = self.headers.iter().flat_map(|(name, header)| {
            header.warnings().iter().map(move |warning| format!("headers: {name}: {warning}"))
        });
        let body = self.body.iter().flat_map(|body| body.warnings()).map(|warning| format!("body: {warning}"));
        url.chain(headers).chain(body).collect()
    }

    /// # Errors
    /// When what is known of the call does not fit in.
    pub fn fill(&self, scene: &Scene<'_>) -> Result<Filled, Unfit> {
        let header = |(name, header): &(String, HeaderTemplate)| Ok((name.clone(), header.render(scene)?));
        Ok(Filled {
            url: self.url.render(scene)?,
            headers: self.headers.iter().map(header).collect::<Result<_, _>>()?,
            body: self.body.as_ref().map(|body| body.render(scene)).unwrap_or_default(),
        })
    }
}

/// Whether it is told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "u8", extend("enum" = [1, 2, 3]))]
pub enum Status {
    Active,
    /// It does not answer: it is tried now and then, and what it is to be told waits.
    AutoDisabled,
    /// By an operator: what it is to be told waits.
    Disabled,
}

impl Status {
    pub fn number(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::AutoDisabled => 2,
            Self::Disabled => 3,
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// A profile as its events make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub id: ProfileId,
    pub put: ProfilePut,
    /// Place of what is put in the stream `CONFIG`: what a call pins.
    pub revision: u64,
    pub status: Status,
    /// Why it was disabled by itself.
    pub cause: Option<String>,
    pub created_at: Timestamp,
    /// Events of the calls up to this sequence are not for it.
    pub from_seq: u64,
    /// From here on it is tried again, whatever happened before.
    pub tried_anew_at: Timestamp,
    /// Nobody finds it any more, but for the calls that named it.
    pub removed_at: Option<Timestamp>,
}

impl Profile {
    /// The fold. One that was removed is not put again: its id is random.
    pub(crate) fn apply(
        before: Option<Self>,
        id: &ProfileId,
        seq: u64,
        at: Timestamp,
        changed: ProfileChanged,
    ) -> Option<Self> {
        let (changed, before) = match (changed, before) {
            (ProfileChanged::Put(put), None) => {
                return Some(Self {
                    id: id.clone(),
                    revision: seq,
                    status: Status::Active,
                    cause: None,
                    created_at: at,
                    from_seq: put.from_seq,
                    tried_anew_at: at,
                    removed_at: None,
                    put: *put,
                });
            }
            (changed, before) => (changed, before?),
        };
        let disabled = before.status == Status::Disabled;
        Some(match changed {
            ProfileChanged::Put(put) => {
                let status = if disabled { Status::Disabled } else { Status::Active };
                Self { put: *put, revision: seq, status, cause: None, tried_anew_at: at, ..before }
            }
            ProfileChanged::Enabled { .. } => Self { status: Status::Active, cause: None, tried_anew_at: at, ..before },
            ProfileChanged::Disabled { .. } => Self { status: Status::Disabled, cause: None, ..before },
            ProfileChanged::AutoDisabled { cause } if !disabled => {
                Self { status: Status::AutoDisabled, cause: Some(cause), ..before }
            }
            ProfileChanged::Recovered if !disabled => Self { status: Status::Active, cause: None, ..before },
            ProfileChanged::AutoDisabled { .. } | ProfileChanged::Recovered => before,
            ProfileChanged::Removed { .. } => Self { removed_at: Some(at), ..before },
        })
    }
}

impl ProfileSpec {
    /// What is asked for, on top of what there is. Secrets stay what they were, and are the caller's to keep.
    pub(crate) fn onto(&self, before: ProfilePut, by: &str) -> ProfilePut {
        let keys = if self.secret == Some(None) { Vec::new() } else { before.keys };
        ProfilePut {
            title: self.title.clone().unwrap_or(before.title),
            method: self.http_method.unwrap_or(before.method),
            url: self.url.clone().unwrap_or(before.url),
            headers: self.headers.clone().unwrap_or(before.headers),
            body: self.body.clone().unwrap_or(before.body),
            legacy_placeholders: self.legacy_placeholders.unwrap_or(before.legacy_placeholders),
            by: by.to_owned(),
            keys,
            ..before
        }
    }
}

impl AuthSpec {
    /// The secret of it, where it has one.
    pub(crate) fn secret(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Basic { password, .. } => Some(password),
            Self::Bearer { client_secret, .. } => Some(client_secret),
        }
    }

    /// The rest, with the name its secret is kept under.
    pub(crate) fn with(&self, kept: String) -> ProfileAuth {
        match self.clone() {
            Self::None => ProfileAuth::None,
            Self::Basic { user, .. } => ProfileAuth::Basic { user, password: kept },
            Self::Bearer { token_url, client_id, scope, .. } => {
                ProfileAuth::Bearer { token_url, client_id, client_secret: kept, scope }
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), BadProfile> {
        let fits = |text: &str| text.len() <= CREDENTIAL_BYTES_MAX && !text.chars().any(char::is_control);
        if self.secret().is_some_and(is_elided) {
            return Err(BadProfile::Auth("there is a … in its secret, as in an example; write what it stands for"));
        }
        match self {
            Self::None => Ok(()),
            Self::Basic { user, .. } if user.contains(':') => Err(BadProfile::Auth("a user has no ':'")),
            Self::Basic { user, password } if fits(user) && fits(password) => Ok(()),
            Self::Bearer { client_id, client_secret, scope, .. }
                if fits(client_id) && fits(client_secret) && fits(scope.as_deref().unwrap_or_default()) =>
            {
                Ok(())
            }
            Self::Basic { .. } | Self::Bearer { .. } => {
                Err(BadProfile::Auth("at most 1024 bytes each, without control characters"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(method: DeliveryMethod, body: Option<&str>) -> ProfilePut {
        ProfilePut {
            title: "Some CRM".to_owned(),
            from_seq: 0,
            method,
            url: "https://example.com/".to_owned(),
            headers: BTreeMap::new(),
            body: body.map(str::to_owned),
            auth: ProfileAuth::None,
            legacy_placeholders: false,
            keys: Vec::new(),
            by: String::new(),
        }
    }

    #[test]
    fn what_cannot_be_one_is_refused() {
        let get = || put(DeliveryMethod::Get, None);
        let header = |name: &str, value: &str| ProfilePut {
            headers: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..get()
        };
        for (put, says) in [
            (ProfilePut { title: "ab".to_owned(), ..get() }, "title"),
            (ProfilePut { title: "a/bc".to_owned(), ..get() }, "title"),
            (put(DeliveryMethod::Post, None), "body: a POST has one"),
            (put(DeliveryMethod::Get, Some("{}")), "body: a GET has none"),
            (header("Authorization", "x"), "headers: \"Authorization\" cannot be set"),
            (header("webhook-id", "x"), "headers: \"webhook-id\" cannot be set"),
            (header("a{{caller}}", "x"), "headers: \"a{{caller}}\" cannot be set"),
            (header("x", "{{calee}}"), "headers: x: line 1, column 1: there is no \"calee\"; did you mean callee?"),
        ] {
            let error = Compiled::of(&put).expect_err(says).to_string();
            assert!(error.starts_with(says), "{error}");
        }
        assert!(Compiled::of(&get()).is_ok() && Compiled::of(&put(DeliveryMethod::Post, Some("{}"))).is_ok());
    }

    #[test]
    fn what_delivery_says_does_not_enable_what_an_operator_disabled() {
        let id = ProfileId::new("SG_0f8b6a5e-2f0f-4f0e-9d63-0b9b8a1f6a11").expect("id");
        let by = || "test".to_owned();
        let story = [
            (ProfileChanged::Put(Box::new(put(DeliveryMethod::Get, None))), Status::Active),
            (ProfileChanged::AutoDisabled { cause: "it answers 500".to_owned() }, Status::AutoDisabled),
            (ProfileChanged::Recovered, Status::Active),
            (ProfileChanged::Disabled { by: by() }, Status::Disabled),
            (ProfileChanged::AutoDisabled { cause: String::new() }, Status::Disabled),
            (ProfileChanged::Recovered, Status::Disabled),
            (ProfileChanged::Put(Box::new(put(DeliveryMethod::Get, None))), Status::Disabled),
            (ProfileChanged::Enabled { by: by() }, Status::Active),
        ];
        let mut profile = None;
        for (seq, (changed, status)) in (1..).zip(story) {
            profile = Profile::apply(profile, &id, seq, Timestamp::UNIX_EPOCH, changed);
            assert_eq!(profile.as_ref().map(|profile| profile.status), Some(status), "after {seq}");
        }
        assert_eq!(profile.map(|profile| profile.revision), Some(7));
    }
}
