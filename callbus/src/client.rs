//! The commands' way to the API, and the token both ends know.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use api::Token;
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::config::secret::{Secret, random_token, write_new};
use crate::exit::{Exit, Failure};

/// Importing a large price list takes a while; nothing takes longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
const LOOKED_WITHIN: Duration = Duration::from_secs(3);
/// Within the data directory.
const TOKEN_FILE: &str = "api-token";

/// The API of the process this configuration describes.
#[derive(Debug)]
pub(crate) struct ApiClient {
    http: Client,
    base: String,
    token: String,
}

impl ApiClient {
    /// # Errors
    /// When the token cannot be read.
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        let token = match &config.api.token {
            Some(token) => {
                token.read().map_err(|(cause, todo)| Failure::say(Exit::Auth, format!("[api] token: {cause}; {todo}")))
            }
            None => Secret::File(config.data_dir.join(TOKEN_FILE)).read().map_err(|(cause, _)| {
                let todo = "callbus writes it at its first start: is it running, with this configuration?";
                Failure::say(Exit::Unreachable, format!("the API token: {cause}; {todo}"))
            }),
        }?;
        Ok(Self { http: client(ANSWERED_WITHIN)?, base: config.api_url(), token })
    }

    /// # Errors
    /// With the exit code of what went wrong; so with all that follow.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(self.http.request(Method::GET, self.url(path))).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        self.send(self.http.request(Method::POST, self.url(path)).json(body)).await
    }

    /// Under a key, with which it can be sent again and is done once.
    pub(crate) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<T, Failure> {
        let request = self.http.request(Method::POST, self.url(path)).json(body);
        self.send(key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        self.send(self.http.request(Method::PATCH, self.url(path)).json(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, Failure> {
        self.send(self.http.request(Method::PUT, self.url(path)).body(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(self.http.request(Method::DELETE, self.url(path))).await
    }

    /// What comes, piece by piece, for as long as it comes.
    pub(crate) async fn download(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let unreachable = |error: reqwest::Error| unreachable(&self.base, &error);
        let http = Client::builder().redirect(redirect::Policy::none()).read_timeout(ANSWERED_WITHIN).no_proxy();
        let http = http.build().context("set up the HTTP client")?;
        let mut reply = http.get(self.url(path)).bearer_auth(&self.token).send().await.map_err(unreachable)?;
        let status = reply.status();
        if !status.is_success() {
            let body = reply.bytes().await.map_err(unreachable)?;
            return Err(refusal(status, &serde_json::from_slice(&body).unwrap_or_default()));
        }
        while let Some(piece) = reply.chunk().await.map_err(unreachable)? {
            take(&piece)?;
        }
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let unreachable = |error: reqwest::Error| unreachable(&self.base, &error);
        let reply = request.bearer_auth(&self.token).send().await.map_err(unreachable)?;
        let status = reply.status();
        let body = reply.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("read the answer of {}; are both of the same version?", self.base))
                .map_err(Failure::from);
        }
        Err(refusal(status, &serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// An address with what is asked of it.
#[derive(Debug)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn of(path: &str) -> Self {
        Self(format!("{path}?"))
    }

    /// Asks for one thing more, if there is one.
    pub(crate) fn and(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.0 += &format!("{name}={}&", segment(&value.to_string()));
        }
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a file given on the command line has; `-` is stdin.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read stdin")?;
        return Ok(text);
    }
    Ok(std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?)
}

/// Part of a path: an id may hold anything.
pub(crate) fn segment(text: &str) -> String {
    proto::subject::token(text)
}

/// Whether something answers there with success.
///
/// # Errors
/// Exit 6 when not.
pub(crate) async fn look(url: &str) -> Result<(), Failure> {
    let reply = client(LOOKED_WITHIN)?.get(url).send().await.map_err(|error| unreachable(url, &error))?;
    match reply.status() {
        status if status.is_success() => Ok(()),
        status => Err(Failure::say(Exit::Unreachable, format!("{url} answers {status}"))),
    }
}

/// The token for the process that serves the API; made at its first start where the configuration names none.
///
/// # Errors
/// When it cannot be read or written, or is no token.
pub(crate) fn serving_token(config: &Config) -> anyhow::Result<Token> {
    let path = config.data_dir.join(TOKEN_FILE);
    let secret = match &config.api.token {
        Some(secret) => secret.clone(),
        None => {
            if !path.exists() {
                std::fs::create_dir_all(&config.data_dir)
                    .with_context(|| format!("create {}; set data_dir, or [api] token", config.data_dir.display()))?;
                write_new(&path, &random_token()?).with_context(|| format!("write {}", path.display()))?;
            }
            Secret::File(path)
        }
    };
    let text = secret.read().map_err(|(cause, todo)| anyhow::anyhow!("[api] token: {cause}; {todo}"))?;
    Token::new(&text).context("[api] token")
}

fn client(within: Duration) -> Result<Client, Failure> {
    // Only the first call sets it; every later one finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().redirect(redirect::Policy::none()).timeout(within).no_proxy().build();
    Ok(client.context("set up the HTTP client")?)
}

fn unreachable(url: &str, error: &reqwest::Error) -> Failure {
    let cause = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(error) };
    Failure::say(
        Exit::Unreachable,
        format!("{url} cannot be reached ({cause}); is callbus running, with this configuration?"),
    )
}

fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}

/// The API's own words, and the exit code that goes with the status.
fn refusal(status: StatusCode, problem: &Value) -> Failure {
    let mut sentence = problem["detail"].as_str().map_or_else(|| format!("the API answers {status}"), str::to_owned);
    for line in problem["lines"].as_array().into_iter().flatten() {
        sentence += &format!("\n  line {}: {}", line["line"], line["reason"].as_str().unwrap_or_default());
    }
    let exit = match status {
        StatusCode::UNAUTHORIZED => {
            sentence =
                "the API does not know this token; use the configuration of the process that serves it".to_owned();
            Exit::Auth
        }
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
        _ => Exit::Failed,
    };
    Failure::say(exit, sentence)
}
