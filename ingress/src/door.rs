//! Who may come in: the signature is checked over the raw bytes before anything of them is read.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proto::event::signed;
use proto::signature::{AppSecret, Authorization, Refused, SignedParts, Verified};
use proto::{AppKey, AppName};

use crate::Fallback;

/// One Sinch application.
#[derive(Debug, Clone)]
pub struct App {
    pub name: AppName,
    pub key: AppKey,
    /// The current secret first, then former ones still in use somewhere.
    pub secrets: Vec<AppSecret>,
    pub fallback: Fallback,
}

/// The applications we answer for, by key.
#[derive(Debug, Clone, Default)]
pub struct Apps(HashMap<String, Arc<App>>);

impl FromIterator<App> for Apps {
    fn from_iter<T: IntoIterator<Item = App>>(apps: T) -> Self {
        Self(apps.into_iter().map(|app| (app.key.folded(), Arc::new(app))).collect())
    }
}

impl Apps {
    fn find(&self, key: &AppKey) -> Option<Arc<App>> {
        self.0.get(&key.folded()).cloned()
    }

    /// For unsigned callbacks where protection is off: the body's key, or the only app there is.
    pub(crate) fn find_unsigned(&self, key: Option<&AppKey>) -> Option<Arc<App>> {
        match key {
            Some(key) => self.find(key),
            None if self.0.len() == 1 => self.0.values().next().cloned(),
            None => None,
        }
    }
}

/// The headers a signature speaks of, as they came.
#[derive(Debug)]
pub(crate) struct Claims {
    pub authorization: String,
    pub timestamp: String,
    pub content_type: String,
    pub method: String,
    pub path: String,
}

impl Claims {
    pub(crate) fn of(headers: &HeaderMap, method: &str, path: String) -> Self {
        // A value that is not visible ASCII counts as absent: it could not be kept for a later check.
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Self {
            authorization: text("authorization"),
            timestamp: text("x-timestamp"),
            content_type: text("content-type"),
            method: method.to_owned(),
            path,
        }
    }

    /// The claimed application and its signature. Needs no body, so that strangers cannot make us read one.
    pub(crate) fn introduce(&self, apps: &Apps) -> Result<(Arc<App>, Authorization), Refused> {
        if self.authorization.is_empty() {
            return Err(Refused::NoAuthorization);
        }
        let authorization = Authorization::parse(&self.authorization)?;
        if self.timestamp.is_empty() {
            return Err(Refused::NoTimestamp);
        }
        let app = apps.find(&authorization.key).ok_or(Refused::UnknownKey)?;
        Ok((app, authorization))
    }

    pub(crate) fn check(
        &self,
        app: &App,
        authorization: &Authorization,
        body: Bytes,
        now: Timestamp,
        max_age: Option<SignedDuration>,
    ) -> Result<Verified, Refused> {
        let parts = SignedParts {
            method: &self.method,
            content_type: self.content_type.as_bytes(),
            timestamp: self.timestamp.as_bytes(),
            path: &self.path,
            body: &[],
        };
        Verified::check(body, &parts, authorization, &app.secrets, now, max_age)
    }

    /// What goes into the log beside the body, so that anyone can check the signature again.
    pub(crate) fn attributes(&self) -> Vec<(String, String)> {
        vec![
            (signed::AUTHORIZATION.to_owned(), self.authorization.clone()),
            (signed::TIMESTAMP.to_owned(), self.timestamp.clone()),
            (signed::CONTENT_TYPE.to_owned(), self.content_type.clone()),
            (signed::METHOD.to_owned(), self.method.clone()),
            (signed::PATH.to_owned(), self.path.clone()),
        ]
    }
}
