//! Where callbacks go: read and changed over REST, and in force with the next callback.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::read;
use crate::platform::{CallbackUrls, Platform, http_url};
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: Urls,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Urls {
    primary: String,
    fallback: Option<String>,
}

pub(crate) async fn show(State(platform): State<Platform>, Path(key): Path<String>) -> Result<Json<Value>, Problem> {
    ours(&platform, &key)?;
    let CallbackUrls { primary, fallback } = platform.exchange().callback_urls();
    let fallback = fallback.map(String::from).unwrap_or_default();
    Ok(Json(json!({ "url": { "primary": primary.as_str(), "fallback": fallback } })))
}

/// An application without a primary URL gets no callbacks at all, which is not played: there must be one.
pub(crate) async fn change(
    State(platform): State<Platform>,
    Path(key): Path<String>,
    body: Bytes,
) -> Result<(), Problem> {
    ours(&platform, &key)?;
    let Wanted { url } = read::fields(read::json(&body)?)?;
    let fallback = url.fallback.as_deref().filter(|text| !text.is_empty()).map(read_url).transpose()?;
    platform.exchange().set_callback_urls(CallbackUrls { primary: read_url(&url.primary)?, fallback });
    Ok(())
}

fn ours(platform: &Platform, key: &str) -> Result<(), Problem> {
    if key.eq_ignore_ascii_case(platform.exchange().app_key.as_str()) {
        return Ok(());
    }
    Err(Problem::Request("Invalid Application Key".to_owned()))
}

fn read_url(text: &str) -> Result<Url, Problem> {
    http_url(text).map_err(Problem::parameter)
}
