//! How calls are settled when their events come late, twice, out of order, or with values nobody should send.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use billing::admission::MemoryAdmission;
use billing::order::{Order, Ordered, order};
use billing::{Admission, Billing};
use bus::{Bus, Cache, Clock};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use money::posting::TopUp;
use money::{DeckRef, GrantKind, GrantTerms, Hold, Micros, Nanos, PostingId, Price, Rounding, Tier, Wallet};
use proto::{
    CallId, Decided, DecisionKey, Event, EventId, Filter, Kind, Outcome, Partition, Settled, Stream, Subject, WalletId,
};
use serde_json::json;
use serde_json::value::to_raw_value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const START: &str = "2026-01-01T12:00:00Z";

/// One billing on a log of its own; its clock moves when told to.
struct Office {
    bus: Bus,
    clock: Clock,
    running: JoinSet<()>,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Office {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (bus, clock) = (Bus::embedded(directory.path())?, Clock::fixed(START.parse()?));
        Ok(Self { bus, clock, running: JoinSet::new(), stop: CancellationToken::new(), _directory: directory })
    }

    fn open(&mut self) {
        let cache = Cache::memory(1_000, self.clock.clone());
        let admission = Admission::Memory(MemoryAdmission::default());
        let billing = Billing::new(self.bus.clone(), admission, cache, self.clock.clone());
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
        let hold = hold(kind, secs)?;
        let decided = Decided {
            key: hold.leg.clone(),
            kind,
            callback: EventId::of(&["callback"]),
            answer: to_raw_value(&json!({ "action": { "name": "connectPstn" } }))?,
            outcome: Outcome::Granted,
            reason: None,
            rule: None,
            policy: None,
            wallet: Some(hold.wallet.clone()),
            hold: Some(to_raw_value(&hold)?),
            explanation: None,
            by: "worker".to_owned(),
            took_micros: 1,
            reserve: false,
        };
        self.log(Kind::Decided, secs, serde_json::to_value(decided)?).await
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

fn at(secs: i64) -> Result<Timestamp> {
    Ok(START.parse::<Timestamp>()? + SignedDuration::from_secs(secs))
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
    assert!(cdr.legs[0].estimate && cdr.legs[0].overrun);
    assert_eq!(office.posted().await?.1, "0");
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
    office.dice(41, 29).await?;
    office.log(Kind::Notify, 42, json!({ "event": "notify", "callid": "call", "type": "news" })).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(office.cdrs().await?.len(), 1);
    assert_eq!(office.posted().await?, ("-0.6".into(), "0".into()));
    Ok(())
}
