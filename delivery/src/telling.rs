//! Telling a listener of a call what happened: one attempt as HTTP, and the same for a preview.
//!
//! A listener is told by the revision of his profile that the call pinned, whatever became of the profile since. Only what
//! proves who we are is the newest, where it goes to the same server: a password that was changed is changed for all.

use std::time::Duration;

use bus::{Bus, Recorded, Unavailable};
use bytes::Bytes;
use jiff::Timestamp;
use outbound::{Method, Outbound, Reply, Request, SendError};
use proto::{
    CallFacts, Delivery, DeliveryMethod, Listener, Moment, ProfileAuth, ProfileChanged, ProfileId, ProfilePut,
    Progressed, Stream, Subject, Told,
};

use crate::courier::Tools;
use crate::in_force::{InForce, Ready, ReadyProfile};
use crate::lane::Answer;
use crate::preview::{NoPreview, Preview};
use crate::profile::{Compiled, Filled};
use crate::signing::{SigningSecret, sign};
use crate::template::{Scene, Spelling, Unfit, UrlTemplate};
use crate::tokens::{Client, basic};

/// For one attempt, without a token for it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A revision of a profile, ready to be told by.
#[derive(Debug)]
pub(crate) struct Pinned {
    method: DeliveryMethod,
    compiled: Compiled,
    credentials: Credentials,
}

enum Credentials {
    None,
    /// The header.
    Basic(String),
    Bearer(Client),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Pinned {
    /// # Errors
    /// With what follows for the delivery: it is tried again where the log cannot be read, and hopeless where it does not
    /// have the revision.
    pub(crate) async fn load(bus: &Bus, newest: &ProfilePut, id: &ProfileId, revision: u64) -> Result<Self, Answer> {
        let hopeless = |cause: String| Answer::Hopeless { status: None, cause };
        let unavailable = |error: Unavailable| Answer::refused(&format!("read the profile: {error}"));
        let event = bus.event(Stream::Config, revision).await.map_err(unavailable)?.map(|recorded| recorded.event);
        let put = event.filter(|event| event.subject == Subject::Profile(id.clone()));
        let put = put.and_then(|event| match serde_json::from_slice(&event.data) {
            Ok(ProfileChanged::Put(put)) => Some(*put),
            Ok(_) | Err(_) => None,
        });
        let put = put.ok_or_else(|| hopeless(format!("there is no revision {revision} of the profile {id}")))?;
        let compiled = Compiled::of(&put).map_err(|error| hopeless(error.to_string()))?;
        let origin = |put: &ProfilePut| Compiled::of(put).ok().map(|compiled| compiled.url.frame().origin());
        let auth = if origin(newest) == Some(compiled.url.frame().origin()) { &newest.auth } else { &put.auth };
        let secret = async |name: &str| {
            let found = bus.secret(name).await.map_err(unavailable)?;
            let text = found.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            text.ok_or_else(|| Answer::refused(&format!("its secret {name} is missing; set auth again")))
        };
        let credentials = match auth {
            ProfileAuth::None => Credentials::None,
            ProfileAuth::Basic { user, password } => Credentials::Basic(basic(user, &secret(password).await?)),
            ProfileAuth::Bearer { token_url, client_id, client_secret, scope } => Credentials::Bearer(Client {
                name: client_secret.clone(),
                token_url: token_url.clone(),
                id: client_id.clone(),
                secret: secret(client_secret).await?,
                scope: scope.clone(),
            }),
        };
        Ok(Self { method: put.method, compiled, credentials })
    }
}

/// Tells the listener a delivery is for.
///
/// # Errors
/// With the answer that stands for it, where nothing came back.
pub(crate) async fn send(
    tools: &Tools,
    to: &InForce,
    recorded: &Recorded,
    delivery: &Delivery,
    attempt: u32,
    now: Timestamp,
) -> Result<Reply, Answer> {
    let hopeless = |cause: &str| Answer::Hopeless { status: None, cause: cause.to_owned() };
    let progressed: Progressed = serde_json::from_slice(&recorded.event.data)
        .map_err(|_| hopeless("its event cannot be read: it was written by a newer callbus"))?;
    let Some(Told { moment, listener }) = delivery.told else { return Err(hopeless("it names no listener")) };
    let listener =
        progressed.tell.get(usize::from(listener)).ok_or_else(|| hopeless("its listener is not in its event"))?;
    let scene = Scene { call: &recorded.event.about, moment, facts: &progressed.facts };
    let unfit = |error: Unfit| hopeless(&error.to_string());
    let (method, filled, keys, bearer) = match (listener, &to.ready) {
        (Listener::Url(url), _) => {
            let template =
                UrlTemplate::compile(url, Spelling::Doubled).map_err(|error| hopeless(&error.to_string()))?;
            let url = template.render(&scene).map_err(unfit)?;
            (DeliveryMethod::Get, Filled { url, headers: Vec::new(), body: String::new() }, Vec::new(), None)
        }
        (Listener::Profile { id, revision }, Ready::Profile(profile)) => {
            let pinned = profile.pinned(&tools.bus, id, *revision).await?;
            let mut filled = pinned.compiled.fill(&scene).map_err(unfit)?;
            let bearer = match &pinned.credentials {
                Credentials::None => None,
                Credentials::Basic(header) => {
                    filled.headers.push(("authorization".to_owned(), header.clone()));
                    None
                }
                Credentials::Bearer(client) => Some(client.clone()),
            };
            (pinned.method, filled, keys(profile, now), bearer)
        }
        (Listener::Profile { .. }, Ready::Destination(_) | Ready::Origin) => {
            return Err(hopeless("its listener is not in its event"));
        }
    };
    let mut request = request(method, filled, recorded.seq);
    sign(&mut request, keys.iter(), delivery.id.as_str(), attempt, now);
    let refused = |error: String| Answer::refused(&error);
    let send = async |request| {
        // What is known of this call makes a header too large; of the next it may not.
        let is_unfit = |error: &SendError| matches!(error, SendError::Header { .. });
        let sent: Result<Reply, SendError> = tools.outbound.send(request).await;
        sent.map_err(|error| if is_unfit(&error) { hopeless(&error.to_string()) } else { refused(error.to_string()) })
    };
    let Some(client) = bearer else { return send(request).await };
    let given = tools.tokens.get(&tools.outbound, &client, None, now).await;
    let token = Result::as_ref(&given).map_err(|why| refused(why.clone()))?;
    let reply = send(with_token(request.clone(), token)).await?;
    if reply.status != 401 {
        return Ok(reply);
    }
    let given = tools.tokens.get(&tools.outbound, &client, Some(&given), now).await;
    let token = Result::as_ref(&given).map_err(|why| refused(why.clone()))?;
    send(with_token(request, token)).await
}

fn keys(profile: &ReadyProfile, now: Timestamp) -> Vec<SigningSecret> {
    profile.keys.in_force(now).cloned().collect()
}

fn with_token(mut request: Request, token: &str) -> Request {
    request.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    request
}

/// As far as it does not depend on when it is sent, and on secrets.
fn request(method: DeliveryMethod, filled: Filled, seq: u64) -> Request {
    let Filled { url, headers: said, body } = filled;
    let mut headers = vec![("webhook-sequence".to_owned(), seq.to_string())];
    let method = match method {
        DeliveryMethod::Get => Method::GET,
        DeliveryMethod::Post => {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
            Method::POST
        }
    };
    headers.extend(said);
    Request { method, url, headers, body: Bytes::from(body), timeout: TIMEOUT, body_bytes_max: None }
}

/// What a profile would be told of a call, to the byte, but for secrets and what is new in every attempt. Sends nothing; the
/// address is checked as it will be when it is called.
///
/// # Errors
/// When it would not be called.
pub async fn preview_profile(
    outbound: &Outbound,
    put: &ProfilePut,
    call: &str,
    moment: Moment,
    facts: &CallFacts,
) -> Result<Preview, NoPreview> {
    let compiled = Compiled::of(put).map_err(|error| NoPreview::Bad(error.to_string()))?;
    let filled = compiled.fill(&Scene { call, moment, facts })?;
    let url = outbound.look_up(filled.url.as_str()).await?;
    let Request { method, mut headers, body, .. } = request(put.method, filled, 0);
    headers.retain(|(name, _)| name != "webhook-sequence");
    let authorization = match put.auth {
        ProfileAuth::None => None,
        ProfileAuth::Basic { .. } => Some("Basic …"),
        ProfileAuth::Bearer { .. } => Some("Bearer …"),
    };
    headers.extend(authorization.map(|value| ("authorization".to_owned(), value.to_owned())));
    Ok(Preview { method, url, headers, body })
}
