//! How calls are settled when their events come late, twice, out of order, or with values nobody should send.
#![expect(clippy::expect_used, reason = "a test that cannot begin has failed")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use billing::admission::{HoldRequest, MemoryAdmission};
use billing::order::{Order, Ordered, order};
use billing::{Admission, Billing, Enquiries, HoldReply};
use bus::{Bus, Cache, Clock};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use money::posting::TopUp;
use money::{DeckRef, GrantKind, GrantTerms, Hold, Limits, Micros, Nanos, PostingId, Price, Rounding, Tier, Wallet};
use outbound::{Outbound, OutboundSettings};
use proto::asked::{Because, Said};
use proto::signature::AppSecret;
use proto::{
    Asked, CallId, Decided, DecisionKey, Event, EventId, Filter, Kind, Outcome, Partition, Settled, Stream, Subject,
    WalletId,
};
use serde_json::json;
use serde_json::value::to_raw_value;
use simulator::{CallFacts, CallResult, CallScript, Caller, Ending, Endpoint, Platform, PlatformConfig, Reason};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const KEY: &str = "669e367e-6bba-48ab-af15-266871c28135";
const SECRET: &str = "BeIukql3pTKJ8RGL5zo0DA==";
const START: &str = "2026-01-01T12:00:00Z";

/// One billing on a log of its own; its clock moves when told to.
struct Office {
    bus: Bus,
    clock: Clock,
    cache: Cache,
    admission: Admission,
    /// Where it asks how calls ended; none: nowhere.
    platform: Option<String>,
    running: JoinSet<()>,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Office {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (bus, clock) = (Bus::embedded(directory.path())?, Clock::fixed(START.parse()?));
        let (cache, admission) = (Cache::memory(1_000, clock.clone()), Admission::Memory(MemoryAdmission::default()));
        Ok(Self {
            bus,
            clock,
            cache,
            admission,
            platform: None,
            running: JoinSet::new(),
            stop: CancellationToken::new(),
            _directory: directory,
        })
    }

    fn open(&mut self) {
        let (admission, cache) = (self.admission.clone(), self.cache.clone());
        let mut billing = Billing::new(self.bus.clone(), admission, cache, self.clock.clone());
        if let Some(url) = &self.platform {
            let allow = vec!["127.0.0.0/8".parse().expect("a network")];
            let outbound = Outbound::new(OutboundSettings { allow, plain_http: false, user_agent: "test".to_owned() })
                .expect("a client");
            let platform = outbound::Platform::new(outbound, url).expect("an address");
            let secret = AppSecret::from_base64(SECRET).expect("a secret");
            let app = ("acme".parse().expect("a name"), (KEY.parse().expect("a key"), secret));
            billing = billing.asking(Enquiries::new(platform, HashMap::from([app])));
        }
        let stop = self.stop.clone();
        self.running.spawn(async move {
            if let Err(error) = billing.run(stop).await {
                panic!("billing ended: {error}");
            }
        });
    }

    async fn close(&mut self) {
        self.stop.cancel();
        while self.running.join_next().await.is_some() {}
        self.stop = CancellationToken::new();
    }

    /// A callback or a decision, received so many seconds after the start.
    async fn log(&self, kind: Kind, secs: i64, body: serde_json::Value) -> Result<()> {
        let call = CallId::new(body["callid"].as_str().unwrap_or("call"))?;
        let data = serde_json::to_vec(&body)?;
        let event = Event {
            id: EventId::of(&[kind.as_str(), &body.to_string()]),
            subject: Subject::Call { kind, app: "acme".parse()?, partition: Partition::of(&call) },
            about: call.to_string(),
            source: "acme".to_owned(),
            time: at(secs)?,
            extra: Vec::new(),
            data: data.into(),
        };
        self.bus.append(&event, None).await?;
        Ok(())
    }

    async fn ice(&self, secs: i64) -> Result<()> {
        self.log(Kind::Ice, secs, json!({ "event": "ice", "callid": "call", "cli": "+4670", "timestamp": at(secs)? }))
            .await
    }

    async fn ace(&self, secs: i64, told: &str) -> Result<()> {
        self.log(Kind::Ace, secs, json!({ "event": "ace", "callid": "call", "timestamp": told })).await
    }

    async fn dice(&self, secs: i64, duration: u64) -> Result<()> {
        let body = json!({ "event": "dice", "callid": "call", "result": "ANSWERED", "duration": duration, "timestamp": at(secs)? });
        self.log(Kind::Dice, secs, body).await
    }

    /// A grant of a minute for 1.20, by the second.
    async fn granted(&self, kind: Kind, secs: i64) -> Result<()> {
        self.decided(kind, secs, hold(kind, secs)?).await
    }

    async fn decided(&self, kind: Kind, secs: i64, hold: Hold) -> Result<()> {
        self.log(Kind::Decided, secs, serde_json::to_value(decision(kind, &hold)?)?).await
    }

    async fn cdrs(&self) -> Result<Vec<Settled>> {
        let all: Vec<_> = self.bus.read(&Filter::All(Stream::Calls), 0).try_collect().await?;
        let settled = all.iter().filter(|r| matches!(r.event.subject, Subject::Call { kind: Kind::Settled, .. }));
        settled.map(|recorded| Ok(serde_json::from_slice(&recorded.event.data)?)).collect()
    }

    /// The newest CDR, once there are so many.
    async fn cdr(&self, count: usize) -> Result<Settled> {
        let started = Instant::now();
        loop {
            let mut cdrs = self.cdrs().await?;
            if cdrs.len() >= count {
                assert_eq!(cdrs.len(), count, "{cdrs:?}");
                return cdrs.pop().ok_or_else(|| anyhow::anyhow!("ask for one at least"));
            }
            if started.elapsed() > Duration::from_secs(20) {
                bail!("the call is not settled: {cdrs:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wallet(&self) -> Result<Wallet> {
        Ok(billing::fold(&self.bus, &WalletId::new("acme")?).await?)
    }

    async fn posted(&self) -> Result<(String, String)> {
        let facts = self.wallet().await?.facts();
        Ok((facts.posted.to_string(), facts.held.to_string()))
    }

    /// The events of what the platform said.
    async fn asked(&self) -> Result<Vec<Asked>> {
        let all: Vec<_> = self.bus.read(&Filter::Kind(Kind::Asked), 0).try_collect().await?;
        all.iter().map(|recorded| Ok(serde_json::from_slice(&recorded.event.data)?)).collect()
    }

    /// Moves the clock until the platform was asked so often.
    async fn until_asked(&self, times: usize) -> Result<Asked> {
        for _ in 0..40 {
            if self.asked().await?.len() >= times {
                break;
            }
            self.clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let mut asked = self.asked().await?;
        assert_eq!(asked.len(), times, "{asked:?}");
        asked.pop().ok_or_else(|| anyhow::anyhow!("ask for one at least"))
    }

    /// Moves the clock until the CDR is there: what waits for a time waits for this clock.
    async fn later(&self, minutes: u64, count: usize) -> Result<Settled> {
        for _ in 0..minutes {
            self.clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            if self.cdrs().await?.len() >= count {
                break;
            }
        }
        self.cdr(count).await
    }
}

/// The platform with its REST API, on a port of its own, or on one that was free before.
struct Sinch {
    platform: Platform,
    serving: JoinSet<()>,
    address: SocketAddr,
}

impl Sinch {
    async fn open(address: SocketAddr) -> Result<Self> {
        let platform = Platform::new(PlatformConfig {
            callback_url: "http://127.0.0.1:1/callbacks".to_owned(),
            fallback_url: None,
            app_key: KEY.parse()?,
            secret: AppSecret::from_base64(SECRET)?,
            seed: 1,
            timeout: simulator::DEFAULT_TIMEOUT,
            // Its clock stands still while that of billing goes on for days.
            age_max: jiff::SignedDuration::MAX,
            now: || START.parse::<Timestamp>().expect("a time"),
        })?;
        let listener = tokio::net::TcpListener::bind(address).await?;
        let (address, serves, mut serving) = (listener.local_addr()?, platform.clone(), JoinSet::new());
        serving.spawn(async move { serves.serve(listener).await.expect("the listener works") });
        Ok(Self { platform, serving, address })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn facts(&self) -> CallFacts {
        let script = CallScript::new(Caller::Number("+4670".to_owned()), Endpoint::Number("+46".to_owned()));
        let call_id = Some(CallId::new("call").expect("an id"));
        self.platform.facts(&CallScript { call_id, ..script })
    }

    /// The call goes on.
    fn began(&self) -> Result<()> {
        self.platform.began(&self.facts(), at(0)?);
        Ok(())
    }

    /// The call was answered, and ended after so many seconds.
    fn ended(&self, secs: u32) -> Result<()> {
        let ending = Ending { result: CallResult::Answered, reason: Reason::CallerHangup };
        self.platform.ended(&self.facts(), at(40)?, ending, Some(secs));
        Ok(())
    }

    async fn close(mut self) {
        self.serving.shutdown().await;
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn at(secs: i64) -> Result<Timestamp> {
    Ok(START.parse::<Timestamp>()? + SignedDuration::from_secs(secs))
}

fn decision(kind: Kind, hold: &Hold) -> Result<Decided> {
    Ok(Decided {
        key: hold.leg.clone(),
        kind,
        callback: EventId::of(&["callback"]),
        answer: to_raw_value(&json!({ "action": { "name": "connectPstn" } }))?,
        outcome: Outcome::Granted,
        reason: None,
        rule: None,
        policy: None,
        wallet: Some(hold.wallet.clone()),
        hold: Some(to_raw_value(hold)?),
        explanation: None,
        by: "worker".to_owned(),
        took_micros: 1,
        reserve: false,
    })
}

fn hold(kind: Kind, secs: i64) -> Result<Hold> {
    let call = CallId::new("call")?;
    let tier = Tier { start_secs: 0, rate: Nanos::parse("1.2")?, unit_secs: 60, increment_secs: 1, fee: Micros::ZERO };
    Ok(Hold {
        leg: DecisionKey::of(&"acme".parse()?, &call, kind, "t", b"menu"),
        call,
        wallet: WalletId::new("acme")?,
        amount: Micros::parse("1.2")?,
        granted_secs: 60,
        price: Price::new("EUR".parse()?, Micros::ZERO, vec![tier], Rounding::default())?,
        deck: DeckRef { name: "standard".into(), version: "1".into() },
        prefix: "46".into(),
        placed_at: at(secs)?,
        expires_at: at(secs + 300)?,
        in_place_of: None,
    })
}

#[tokio::test]
async fn a_backlog_expires_nothing_whose_end_is_behind_it() -> Result<()> {
    let mut office = Office::new()?;
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    office.ace(10, "2026-01-01T12:00:10Z").await?;
    office.dice(40, 30).await?;
    office.clock.advance(Duration::from_secs(24 * 3600));
    office.open();
    let cdr = office.cdr(1).await?;
    assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), ("0.6", false));
    assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn times_nobody_should_send_move_no_money() -> Result<()> {
    for told in ["9999-12-30T22:00:00Z", "1970-01-01T00:00:00Z", "-009999-01-02T01:59:59Z", "soon"] {
        let mut office = Office::new()?;
        office.open();
        office.ice(0).await?;
        office.granted(Kind::Ice, 0).await?;
        office.ace(10, told).await?;
        office.dice(40, 30).await?;
        let cdr = office.cdr(1).await?;
        assert_eq!(cdr.legs[0].cost.to_string(), "0.6", "{told}");
        office.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_duration_nobody_believes_is_an_estimate_and_ends_the_call() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    office.dice(40, 4_294_967_295).await?;
    let cdr = office.cdr(1).await?;
    assert!(cdr.legs[0].estimate && !cdr.legs[0].overrun, "what was held is kept");
    assert_eq!(office.posted().await?, ("-1.2".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn an_answered_call_of_unknown_length_is_not_free() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    // An answer long ago cannot make a guess longer than what was granted.
    office.ace(1, "2020-01-01T00:00:00Z").await?;
    let end = json!({ "event": "dice", "callid": "call", "result": "ANSWERED", "timestamp": at(40)? });
    office.log(Kind::Dice, 40, end).await?;
    let cdr = office.cdr(1).await?;
    assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), ("1.2", true));
    assert_eq!(office.posted().await?, ("-1.2".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn a_decision_held_up_on_its_way_is_settled_with_the_end_that_waits() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.dice(40, 30).await?;
    let unmatched = office.later(5, 1).await?;
    assert!(unmatched.unmatched && unmatched.legs.is_empty());
    // Long after the call was forgotten, and other calls of the partition have gone by.
    office.close().await;
    office.bus.set_checkpoint(billing::CONSUMER, 1_000).await?;
    office.open();
    office.log(Kind::Notify, 600, json!({ "event": "notify", "callid": "call", "type": "news" })).await?;
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    let cdr = office.cdr(2).await?;
    assert_eq!((cdr.unmatched, cdr.legs[0].cost.to_string().as_str()), (false, "0.6"));
    assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn two_legs_of_a_call_are_never_both_charged() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    office.dice(40, 30).await?;
    office.cdr(1).await?;
    office.granted(Kind::Pie, 20).await?;
    let cdr = office.cdr(2).await?;
    assert_eq!(cdr.legs.len(), 2);
    assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn a_leg_from_a_menu_is_never_free_by_a_skewed_clock() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Pie, 10).await?;
    office.ace(20, "2026-01-01T13:00:00Z").await?;
    office.dice(80, 60).await?;
    let cdr = office.cdr(1).await?;
    assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), ("1.2", true));
    Ok(())
}

#[tokio::test]
async fn without_an_end_an_answered_call_keeps_its_hold_and_another_frees_it() -> Result<()> {
    for (answered, cost) in [(true, "1.2"), (false, "0")] {
        let mut office = Office::new()?;
        office.open();
        office.ice(0).await?;
        office.granted(Kind::Ice, 0).await?;
        if answered {
            office.ace(10, "2026-01-01T12:00:10Z").await?;
        }
        let cdr = office.later(12, 1).await?;
        assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), (cost, true), "answered: {answered}");
        assert_eq!(office.posted().await?.1, "0");
        office.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_grant_expires_by_billings_own_clock_once() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    let grant = GrantTerms { kind: GrantKind::Granted, priority: 1, expires_at: Some(at(600)?) };
    let (id, amount) = (PostingId::new("gift")?, Micros::parse("5")?);
    let top_up = TopUp { id, amount, grant: Some(grant), note: String::new(), by: "test".to_owned() };
    let what = Ordered::TopUp { currency: "EUR".parse()?, top_up };
    let gift = Order { wallet: WalletId::new("acme")?, what };
    // Nobody takes orders until the task has run.
    while order(&office.bus, &gift).await.is_err() {
        tokio::task::yield_now().await;
    }
    office.clock.advance(Duration::from_secs(599));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(office.posted().await?.0, "5");
    office.clock.advance(Duration::from_secs(1));
    while office.posted().await?.0 != "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let events = office.wallet().await?.last_seq();
    office.close().await;
    office.open();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(office.wallet().await?.last_seq(), events, "what has expired does not expire again");
    Ok(())
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    while office.wallet().await?.holds().count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    office.close().await;
    office.dice(40, 30).await?;
    office.open();
    assert_eq!(office.cdr(1).await?.legs[0].cost.to_string(), "0.6");
    office.close().await;
    office.open();
    office.dice(41, 30).await?;
    office.log(Kind::Notify, 42, json!({ "event": "notify", "callid": "call", "type": "news" })).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(office.cdrs().await?.len(), 1);
    assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn without_an_end_the_platform_says_how_the_call_ended() -> Result<()> {
    let sinch = Sinch::open(NOWHERE).await?;
    let mut office = Office::new()?;
    office.platform = Some(sinch.url());
    office.open();
    sinch.ended(30)?;
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    let cdr = office.later(12, 1).await?;
    assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), ("0.6", false));
    assert_eq!((cdr.asked, cdr.result.as_deref(), cdr.duration_secs), (Some(Said::Final), Some("ANSWERED"), 30));
    assert!(cdr.supplier_cost.is_some());
    assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
    // The fold alone comes to the same, with nobody to ask.
    office.close().await;
    sinch.close().await;
    office.open();
    office.log(Kind::Notify, 42, json!({ "event": "notify", "callid": "call", "type": "news" })).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((office.cdrs().await?.len(), office.asked().await?.len()), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_call_that_goes_on_keeps_its_hold_until_the_platform_says_otherwise() -> Result<()> {
    let sinch = Sinch::open(NOWHERE).await?;
    let mut office = Office::new()?;
    office.platform = Some(sinch.url());
    office.open();
    sinch.began()?;
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    office.ace(10, "2026-01-01T12:00:10Z").await?;
    assert_eq!(office.until_asked(1).await?.said, Said::Ongoing);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(office.posted().await?, ("0".into(), "1.2".into()), "held all the while");
    sinch.ended(90)?;
    assert_eq!(office.until_asked(2).await?.said, Said::Final);
    let cdr = office.cdr(1).await?;
    assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].overrun), ("1.8", true));
    assert_eq!(office.posted().await?, ("-1.8".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn with_no_callback_and_no_platform_every_hold_is_closed_and_corrected_when_the_truth_comes() -> Result<()> {
    let sinch = Sinch::open(NOWHERE).await?;
    let (url, address) = (sinch.url(), sinch.address);
    sinch.close().await;
    for answered in [true, false] {
        let mut office = Office::new()?;
        office.platform = Some(url.clone());
        office.open();
        office.ice(0).await?;
        office.granted(Kind::Ice, 0).await?;
        if answered {
            office.ace(10, "2026-01-01T12:00:10Z").await?;
        }
        let cdr = office.later(12, 1).await?;
        let cost = if answered { "1.2" } else { "0" };
        assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), (cost, true));
        assert_eq!((cdr.asked, office.posted().await?.1), (Some(Said::Nothing), "0".into()));
        let asked = office.asked().await?;
        assert!(asked[0].why.as_ref().is_some_and(|why| why.contains("127.0.0.1")), "{asked:?}");
        // The platform is back, and is asked once more by itself.
        let sinch = Sinch::open(address).await?;
        sinch.ended(30)?;
        assert_eq!(office.until_asked(2).await?.said, Said::Final);
        let cdr = office.cdr(2).await?;
        assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), ("0.6", false));
        assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
        sinch.close().await;
        office.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_late_end_corrects_the_estimate_however_long_the_call_is_forgotten() -> Result<()> {
    for forgotten in [false, true] {
        let mut office = Office::new()?;
        office.open();
        office.ice(0).await?;
        office.granted(Kind::Ice, 0).await?;
        office.ace(10, "2026-01-01T12:00:10Z").await?;
        assert_eq!(office.later(12, 1).await?.legs[0].cost.to_string(), "1.2");
        if forgotten {
            office.close().await;
            office.bus.set_checkpoint(billing::CONSUMER, 1_000).await?;
            office.clock.advance(Duration::from_secs(24 * 3600));
            office.open();
        }
        office.dice(40, 30).await?;
        let cdr = office.later(5, 2).await?;
        assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate, cdr.unmatched), ("0.6", false, false));
        assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()), "forgotten: {forgotten}");
        office.close().await;
        office.open();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!((office.cdrs().await?.len(), office.posted().await?.0), (2, "-0.6".into()), "once");
        office.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_end_that_nobody_may_remember_is_late_and_moves_nothing() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Ice, 0).await?;
    office.dice(40, 30).await?;
    office.cdr(1).await?;
    office.close().await;
    office.bus.set_checkpoint(billing::CONSUMER, 1_000).await?;
    office.clock.advance(Duration::from_secs(8 * 24 * 3600));
    office.open();
    // Something else happens to the wallet, so that it knows how late it is.
    let top_up = TopUp {
        id: PostingId::new("x")?,
        amount: Micros::parse("5")?,
        grant: None,
        note: String::new(),
        by: "t".into(),
    };
    let what = Ordered::TopUp { currency: "EUR".parse()?, top_up };
    while order(&office.bus, &Order { wallet: WalletId::new("acme")?, what: what.clone() }).await.is_err() {
        tokio::task::yield_now().await;
    }
    office.dice(41, 50).await?;
    let cdr = office.later(5, 2).await?;
    assert!(cdr.late && cdr.unmatched && cdr.legs.is_empty(), "{cdr:?}");
    assert_eq!(office.posted().await?, ("4.4".into(), "0".into()));
    Ok(())
}

#[tokio::test]
async fn of_two_ends_the_first_stands_until_the_platform_says_which() -> Result<()> {
    for (truth, cost) in [(None, "0.6"), (Some(30), "0.6"), (Some(50), "1")] {
        let sinch = Sinch::open(NOWHERE).await?;
        let mut office = Office::new()?;
        office.platform = truth.map(|_| sinch.url());
        office.open();
        office.ice(0).await?;
        office.granted(Kind::Ice, 0).await?;
        office.dice(40, 30).await?;
        office.cdr(1).await?;
        office.dice(41, 30).await?;
        if let Some(secs) = truth {
            sinch.ended(secs)?;
        }
        office.dice(42, 50).await?;
        let mut cdr = office.cdr(2).await?;
        let other = cdr.disputed.take().and_then(|other| other.duration_secs);
        assert_eq!((cdr.duration_secs, other), (30, Some(50)), "the same end again is no dispute");
        if let Some(secs) = truth {
            let asked = office.until_asked(1).await?;
            assert_eq!((asked.because, asked.said), (Because::Disputed, Said::Final));
            cdr = office.cdr(3).await?;
            let other = cdr.disputed.take().and_then(|other| other.duration_secs);
            assert_eq!((cdr.duration_secs, other), (secs, Some(80 - secs)));
        }
        assert_eq!(cdr.legs[0].cost.to_string(), cost, "{truth:?}");
        assert_eq!(office.posted().await?, (format!("-{cost}"), "0".into()));
        office.close().await;
        office.open();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(office.cdrs().await?.len(), if truth.is_some() { 3 } else { 2 }, "nothing new after a restart");
        office.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn of_two_grants_of_a_leg_the_larger_is_held_and_one_is_charged() -> Result<()> {
    for larger_first in [true, false] {
        let mut office = Office::new()?;
        office.open();
        office.ice(0).await?;
        let larger = Hold { amount: Micros::parse("2.4")?, granted_secs: 120, ..hold(Kind::Ice, 1)? };
        let mut grants = vec![hold(Kind::Ice, 0)?, larger];
        if larger_first {
            grants.reverse();
        }
        for (n, grant) in grants.into_iter().enumerate() {
            office.decided(Kind::Ice, n as i64, grant).await?;
            while office.wallet().await?.holds().count() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        while office.posted().await?.1 != "2.4" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        office.dice(110, 100).await?;
        let cdr = office.cdr(1).await?;
        assert_eq!((cdr.legs.len(), cdr.legs[0].held.to_string().as_str(), cdr.legs[0].overrun), (1, "2.4", false));
        assert_eq!(office.posted().await?, ("-2".into(), "0".into()));
        office.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_leg_from_a_menu_without_an_answer_is_charged_whole_and_flagged() -> Result<()> {
    let mut office = Office::new()?;
    office.open();
    office.ice(0).await?;
    office.granted(Kind::Pie, 10).await?;
    office.dice(80, 60).await?;
    let cdr = office.cdr(1).await?;
    assert_eq!((cdr.legs[0].cost.to_string().as_str(), cdr.legs[0].estimate), ("1.2", true));
    Ok(())
}

#[tokio::test]
async fn a_hold_whose_decision_was_never_recorded_is_freed_with_its_answer() -> Result<()> {
    for ended in [true, false] {
        let mut office = Office::new()?;
        office.open();
        let hold = hold(Kind::Ice, 0)?;
        let granted = decision(Kind::Ice, &hold)?;
        let words = serde_json::to_vec(&granted)?;
        // What a worker did, before the ingress answered by fallback.
        office.admission.load(&hold.wallet, &Wallet::default(), at(0)?).await?;
        let request = HoldRequest {
            wallet: &hold.wallet,
            leg: &hold.leg,
            amount: Micros::ZERO,
            date: Limits::default().date(at(0)?),
            expires_at: at(3_600)?,
            decision: &words,
        };
        assert_eq!(office.admission.hold(at(0)?, request).await?, HoldReply::Ok);
        office.cache.set(&hold.leg.memory_key(), words.clone().into(), Duration::from_secs(900)).await?;
        let fallback = Decided { outcome: Outcome::Fallback, hold: None, wallet: None, ..granted };
        office.ice(0).await?;
        office.log(Kind::Decided, 0, serde_json::to_value(fallback)?).await?;
        if ended {
            office.dice(1, 0).await?;
        } else {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            assert!(office.cache.get(&hold.leg.memory_key()).await?.is_some(), "a retry of the ICE may find it");
            office.clock.advance(Duration::from_secs(61));
        }
        while office.cache.get(&hold.leg.memory_key()).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(office.admission.hold(at(2)?, request).await?, HoldReply::Ok, "nobody holds it: {ended}");
        office.close().await;
    }
    Ok(())
}
