//! The platform's REST API, where the configuration names it.

use std::collections::HashMap;

use anyhow::Context;
use outbound::{BadUrl, Outbound, OutboundSettings, Platform, Refused};
use proto::signature::AppSecret;
use proto::{AppKey, AppName};

use crate::config::Config;
use crate::config::fault::Fault;

/// The HTTP client for whatever somebody wrote down as a URL.
///
/// # Errors
/// When it cannot be set up.
pub(crate) fn outbound(config: &Config) -> anyhow::Result<Outbound> {
    let settings = OutboundSettings {
        allow: config.outbound_allow.clone(),
        plain_http: config.outbound_plain_http,
        user_agent: concat!("callbus/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    Outbound::new(settings).context("set up the HTTP client")
}

/// `None` where the configuration names no platform.
///
/// # Errors
/// When its address cannot be one.
pub(crate) fn open(config: &Config) -> anyhow::Result<Option<Platform>> {
    let Some(url) = &config.platform else { return Ok(None) };
    let fault = |error: BadUrl| match &error {
        BadUrl::Refused(Refused { address, network, range }) => Fault::setting(
            "[platform] url",
            format!("{address} is not called, because it lies in {network} ({range})"),
            format!("to call it all the same, write under [outbound]: allow = [\"{network}\"]"),
        ),
        BadUrl::Plain => {
            let todo = "write https, or under [outbound]: plain_http = true";
            Fault::setting("[platform] url", "http is not called, since anybody on the way reads it", todo)
        }
        BadUrl::Syntax(_) | BadUrl::TooLong { .. } | BadUrl::Scheme(_) | BadUrl::Credentials => {
            let todo = "write url = \"https://calling.api.sinch.com\", or leave it out";
            Fault::setting("[platform] url", error.to_string(), todo)
        }
    };
    Ok(Some(Platform::new(outbound(config)?, url).map_err(fault)?))
}

/// What each app signs with.
///
/// # Errors
/// When a secret cannot be read.
pub(crate) fn credentials(config: &Config) -> Result<HashMap<AppName, (AppKey, AppSecret)>, Fault> {
    let mut credentials = HashMap::new();
    for app in &config.apps {
        if let Some(secret) = app.secrets()?.into_iter().next() {
            credentials.insert(app.name.clone(), (app.key.clone(), secret));
        }
    }
    Ok(credentials)
}
