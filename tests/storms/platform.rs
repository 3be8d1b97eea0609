//! The platform: calls as Sinch makes them, whose callbacks get lost, come twice, late, and out of order.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use bytes::Bytes;
use fastrand::Rng;
use proto::signature::{AppSecret, Authorization, SignedParts};
use proto::svaml::Action;
use proto::{AppKey, CallId, Svaml};
use simulator::report::Reason;
use simulator::{CallFacts, CallResult, Caller, Ending, Endpoint, InputMethod, MenuResult, MenuResultKind, Money};
use tests::world::{APP_KEY, APP_SECRET};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::installation::Installation;

/// Sinch waits for an answer no longer.
const PATIENCE: Duration = Duration::from_secs(5);
const PATH: &str = "/callbacks";
const TYPE: &str = "application/json; charset=utf-8";

/// What a caller and a callee are going to do.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) begins_after: Duration,
    pub(crate) to: &'static str,
    pub(crate) rings_secs: u64,
    /// None: nobody picks up.
    pub(crate) talks_secs: Option<u32>,
    /// How long after its moment each callback is sent.
    pub(crate) late_ace: Duration,
    pub(crate) late_dice: Duration,
    /// Sent once more after this long.
    pub(crate) ice_again: Option<Duration>,
    pub(crate) dice_again: Option<Duration>,
    /// Never sent at all.
    pub(crate) no_ace: bool,
    pub(crate) no_dice: bool,
}

impl Script {
    /// Picked up, talked for a few seconds, all told once and in order.
    pub(crate) fn plain(to: &'static str, begins_after_secs: u64) -> Self {
        Self {
            begins_after: Duration::from_secs(begins_after_secs),
            to,
            rings_secs: 1,
            talks_secs: Some(3),
            late_ace: Duration::ZERO,
            late_dice: Duration::ZERO,
            ice_again: None,
            dice_again: None,
            no_ace: false,
            no_dice: false,
        }
    }

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let numbers = ["+46701234567", "+46701234568", "+46701234569", "+46880000001", "+46990000001"];
        let sometimes = |rng: &mut Rng, one_in: u8| rng.u8(..one_in) == 0;
        let within = |rng: &mut Rng, millis: u64| Duration::from_millis(rng.u64(..millis));
        let late = |rng: &mut Rng| match rng.u8(..8) {
            0 => within(rng, 60_000),
            1 | 2 => within(rng, 4_000),
            _ => Duration::ZERO,
        };
        Self {
            begins_after: within(rng, 120_000),
            to: numbers[rng.usize(..numbers.len())],
            rings_secs: rng.u64(1..40),
            talks_secs: (!sometimes(rng, 5)).then(|| rng.u32(0..90)),
            late_ace: late(rng),
            late_dice: if sometimes(rng, 20) { within(rng, 400_000) } else { late(rng) },
            ice_again: sometimes(rng, 3).then(|| {
                let most = [300, 3_000, 40_000][rng.usize(..3)];
                within(rng, most)
            }),
            dice_again: sometimes(rng, 4).then(|| within(rng, 90_000)),
            no_ace: sometimes(rng, 10),
            no_dice: sometimes(rng, 12),
        }
    }
}

pub(crate) struct Platform {
    installation: Arc<Installation>,
    key: AppKey,
    secret: AppSecret,
}

impl Platform {
    pub(crate) fn new(installation: Arc<Installation>) -> Result<Self> {
        Ok(Self { installation, key: APP_KEY.parse()?, secret: AppSecret::from_base64(APP_SECRET)? })
    }

    /// Plays all calls to their ends.
    pub(crate) async fn play(self: Arc<Self>, scripts: Vec<Script>) -> Result<()> {
        let mut calls = JoinSet::new();
        for (number, script) in scripts.into_iter().enumerate() {
            let platform = Arc::clone(&self);
            calls.spawn(async move {
                sleep(script.begins_after).await;
                platform.call(CallId::new(format!("call-{number}"))?, script).await
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn call(self: &Arc<Self>, call: CallId, script: Script) -> Result<()> {
        let facts = CallFacts {
            call,
            app_key: self.key.clone(),
            from: Caller::Number("46709999999".to_owned()),
            to: Endpoint::Number(script.to.to_owned()),
            custom: None,
            rdnis: String::new(),
            call_headers: Vec::new(),
            user_rate: Money { currency_id: "USD".to_owned(), amount: "0.01".parse()? },
            cookies: Vec::new(),
        };
        let mut again = JoinSet::new();
        let ice = facts.ice(self.now());
        if let Some(after) = script.ice_again {
            let (platform, ice) = (Arc::clone(self), ice.clone());
            again.spawn(async move {
                sleep(after).await;
                platform.attempt(1, &ice).await.map(drop)
            });
        }
        let answered_first = Instant::now();
        let mut answer = self.ask(&ice).await?;
        if matches!(answer, Some(Action::RunMenu(_))) {
            sleep(Duration::from_secs(2)).await;
            let chosen = MenuResult {
                kind: MenuResultKind::Return,
                value: "sales".to_owned(),
                menu_id: "main".to_owned(),
                input_method: InputMethod::Dtmf,
            };
            answer = self.ask(&facts.pie(self.now(), &chosen)).await?;
        }
        let (ending, duration_secs) = match &answer {
            Some(Action::ConnectPstn(connect)) => {
                sleep(Duration::from_secs(script.rings_secs)).await;
                match script.talks_secs {
                    Some(secs) => {
                        let secs = secs.min(connect.max_duration.unwrap_or(u32::MAX));
                        let picked_up = Instant::now();
                        let ace = facts.ace(self.now(), None);
                        let telling = self.tell(script.late_ace, ace, script.no_ace);
                        let talking = sleep(Duration::from_secs(secs.into()));
                        let (told, ()) = tokio::join!(telling, talking);
                        told?;
                        let menu_secs = match script.to {
                            "+46880000001" => picked_up.duration_since(answered_first).as_secs(),
                            _ => 0,
                        };
                        let secs = secs + u32::try_from(menu_secs)?;
                        (Ending { result: CallResult::Answered, reason: Reason::CallerHangup }, secs)
                    }
                    None => (Ending { result: CallResult::NoAnswer, reason: Reason::Timeout }, 0),
                }
            }
            _ => (Ending { result: CallResult::Failed, reason: Reason::CallerHangup }, 0),
        };
        let dice = facts.dice(self.now(), ending, Some(duration_secs));
        self.tell(script.late_dice, dice.clone(), script.no_dice).await?;
        if let Some(after) = script.dice_again {
            self.tell(after, dice, script.no_dice).await?;
        }
        while let Some(ended) = again.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// The first address, then the other; without an answer the call is dropped.
    async fn ask(&self, body: &Bytes) -> Result<Option<Action>> {
        for ingress in 0..self.installation.doors.len() {
            if let Some(answer) = self.attempt(ingress, body).await? {
                let svaml: Svaml = serde_json::from_slice(&answer)?;
                return Ok(Some(svaml.action));
            }
        }
        Ok(None)
    }

    /// A callback that wants no SVAML is sent until it is acknowledged, a few times at most.
    async fn tell(&self, after: Duration, body: Bytes, never: bool) -> Result<()> {
        sleep(after).await;
        if never {
            return Ok(());
        }
        for attempt in 0..4 {
            if self.attempt(attempt % self.installation.doors.len(), &body).await?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_secs(2 << attempt)).await;
        }
        Ok(())
    }

    /// One POST; the answer, if it is a good one and comes.
    async fn attempt(&self, ingress: usize, body: &Bytes) -> Result<Option<Bytes>> {
        let sky = &self.installation.sky;
        let lost = sky.odds().callback_lost;
        if sky.chance(lost) {
            sky.note(format!("a callback to ingress-{ingress} is lost"));
            sleep(PATIENCE).await;
            return Ok(None);
        }
        sleep(sky.millis(30)).await;
        let door = self.installation.doors[ingress].lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((reception, life)) = door else { return Ok(None) };
        let request = self.signed(body)?;
        let answering = reception.respond(IpAddr::V4(Ipv4Addr::LOCALHOST), request);
        let response = tokio::select! {
            biased;
            () = life.over.cancelled() => return Ok(None),
            answered = timeout(PATIENCE, answering) => match answered {
                Ok(response) => response,
                Err(_) => return Ok(None),
            },
        };
        if !response.status().is_success() {
            return Ok(None);
        }
        let answer = to_bytes(response.into_body(), usize::MAX).await?;
        // It has left: from here on it counts, whoever hears it.
        self.installation.law.answered(&self.key, body, &answer);
        if sky.chance(lost) {
            sky.note(format!("an answer of ingress-{ingress} is lost"));
            sleep(PATIENCE).await;
            return Ok(None);
        }
        Ok(Some(answer))
    }

    fn signed(&self, body: &Bytes) -> Result<Request<Body>> {
        let timestamp = self.now().to_string();
        let parts = SignedParts {
            method: "POST",
            content_type: TYPE.as_bytes(),
            timestamp: timestamp.as_bytes(),
            path: PATH,
            body,
        };
        let request = Request::post(PATH)
            .header("content-type", TYPE)
            .header("x-timestamp", &timestamp)
            .header("authorization", Authorization::header(&self.key, &self.secret.sign(&parts)));
        request.body(Body::from(body.clone())).context("make a request")
    }

    fn now(&self) -> jiff::Timestamp {
        self.installation.clock.now()
    }
}
