//! Admission in Redis says what the pure one says: random histories through both, every reply and balance compared.

use anyhow::Result;
use billing::admission::{Admission, ApplyReply, HoldRequest, MemoryAdmission, Position, RedisAdmission};
use jiff::{SignedDuration, Timestamp};
use money::posting::{Change, TopUp};
use money::{
    Applied, Charged, Currency, Edit, Ended, GrantKind, GrantTerms, Hold, LimitsEdit, Micros, Nanos, Posting,
    PostingId, Price, Rounding, Tier, Wallet, WalletEvent, WalletFacts, WalletStatus, Zone, command,
};
use proto::{EventId, Leg, WalletId};
use tests::redis::Redis;

const HISTORIES: u64 = 300;
const STEPS: usize = 60;
const LEGS: u64 = 6;

/// SplitMix64: small, and the same on every machine, so that a seed is a history.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn amount(&mut self) -> Result<Micros> {
        Ok(Micros::new(i64::try_from(self.below(4_000_000))?)?)
    }
}

/// One wallet's life: what the log would hold, and what both admissions were told of it.
struct History {
    dice: Dice,
    id: WalletId,
    now: Timestamp,
    wallet: Wallet,
    log: Vec<(u64, u64, Timestamp, WalletEvent)>,
    told: usize,
}

impl History {
    fn new(seed: u64) -> Result<Self> {
        let now = "2026-01-01T00:00:00Z".parse()?;
        let id = WalletId::new(format!("wallet {seed}"))?;
        let mut history = Self { dice: Dice(seed), id, now, wallet: Wallet::default(), log: Vec::new(), told: 0 };
        history.post(|wallet, dice| Ok(command::top_up(wallet, currency(), top_up(dice)?)?))?;
        history.told = 1;
        Ok(history)
    }

    fn leg(&mut self) -> Leg {
        let name = format!("leg {}", self.dice.below(LEGS));
        Leg::try_from(String::from(EventId::of(&[&name]))).unwrap_or_else(|_| unreachable!("an event id is a digest"))
    }

    fn hold(&mut self) -> Result<Hold> {
        let tier = Tier {
            start_secs: 0,
            rate: Nanos::new(1_000_000_000)?,
            unit_secs: 60,
            increment_secs: 1,
            fee: Micros::ZERO,
        };
        Ok(Hold {
            leg: self.leg(),
            call: "call".parse()?,
            wallet: self.id.clone(),
            amount: self.dice.amount()?,
            granted_secs: 60,
            price: Price::new(currency(), Micros::ZERO, vec![tier], Rounding::default())?,
            deck: money::DeckRef { name: "deck".into(), version: "1".into() },
            prefix: "46".into(),
            placed_at: self.now,
            expires_at: self.now + SignedDuration::from_secs(300),
            in_place_of: None,
        })
    }

    /// Decides a posting as billing would, and writes it to the log.
    fn post(&mut self, decide: impl FnOnce(&Wallet, &mut Dice) -> Result<Option<Posting>>) -> Result<()> {
        let Some(posting) = decide(&self.wallet, &mut self.dice)? else { return Ok(()) };
        let (prev, seq) = (self.wallet.last_seq(), self.wallet.last_seq() + 1 + self.dice.below(5));
        let event = WalletEvent { wallet: self.id.clone(), currency: currency(), postings: vec![posting] };
        self.wallet.apply(seq, self.now, &event);
        self.log.push((prev, seq, self.now, event));
        Ok(())
    }
}

fn currency() -> Currency {
    "EUR".parse().unwrap_or_else(|_| unreachable!("EUR is a currency"))
}

fn top_up(dice: &mut Dice) -> Result<TopUp> {
    let id = PostingId::new(format!("t{}", dice.below(1_000_000)))?;
    let amount = dice.amount()?.max(Micros::new(1)?);
    Ok(TopUp { id, amount, grant: None, note: String::new(), by: "story".into() })
}

/// Half of what comes in is a grant; most expire within the history.
fn terms(dice: &mut Dice, now: Timestamp) -> Result<Option<GrantTerms>> {
    let secs = i64::try_from(dice.below(200_000))?;
    Ok(match dice.below(6) {
        0..=2 => None,
        n => Some(GrantTerms {
            kind: if n == 3 { GrantKind::Paid } else { GrantKind::Granted },
            priority: [10, 100, 200][dice.below(3) as usize],
            expires_at: (n < 5).then_some(now + SignedDuration::from_secs(secs)),
        }),
    })
}

/// Limits so tight that histories run into all of them; in one of two zones, so that days end at different times.
fn limits(dice: &mut Dice) -> Result<LimitsEdit> {
    let calls = |dice: &mut Dice| match dice.below(4) {
        0 => Edit::Keep,
        1 => Edit::Clear,
        max => Edit::Set(max as u32),
    };
    let spend = |dice: &mut Dice, factor: i64| -> Result<Edit<Micros>> {
        Ok(match dice.below(4) {
            0 => Edit::Keep,
            1 => Edit::Clear,
            _ => Edit::Set(Micros::new(dice.amount()?.get() * factor)?),
        })
    };
    let time_zone: Zone = ["UTC", "Pacific/Auckland"][dice.below(2) as usize].parse()?;
    Ok(LimitsEdit {
        concurrent_max: calls(dice),
        calls_per_sec_max: calls(dice),
        spend_day_max: spend(dice, 1)?,
        spend_month_max: spend(dice, 3)?,
        time_zone: Some(time_zone),
        ..LimitsEdit::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_redis_reply_alike() -> Result<()> {
    let redis = Redis::start()?;
    let remote = Admission::Redis(RedisAdmission::connect(&redis.url(), "story:").await?);
    let local = Admission::Memory(MemoryAdmission::default());
    for seed in 0..HISTORIES {
        live(seed, &local, &remote).await.map_err(|error| error.context(format!("seed {seed}")))?;
    }
    Ok(())
}

async fn live(seed: u64, local: &Admission, remote: &Admission) -> Result<()> {
    let mut history = History::new(seed)?;
    for admission in [local, remote] {
        assert_eq!(admission.facts(history.now, &history.id).await?, None, "not loaded is not empty");
        admission.load(&history.id, &history.wallet, history.now).await?;
    }
    for step in 0..STEPS {
        match history.dice.below(15) {
            0..=3 => {
                let (hold, decision) = (history.hold()?, format!("decision {step}"));
                let request = HoldRequest {
                    wallet: &history.id,
                    leg: &hold.leg,
                    amount: hold.amount,
                    date: history.wallet.limits().date(history.now),
                    expires_at: hold.expires_at,
                    decision: decision.as_bytes(),
                };
                let replies = (local.hold(history.now, request).await?, remote.hold(history.now, request).await?);
                assert_eq!(replies.0, replies.1, "seed {seed} step {step}: hold");
            }
            4 => {
                let leg = history.leg();
                local.free(&history.id, &leg).await?;
                remote.free(&history.id, &leg).await?;
            }
            // A call later, the next day, or the next month.
            5 => {
                let most_secs = [2_000, 90_000, 3_000_000][history.dice.below(3) as usize];
                history.now += SignedDuration::from_secs(i64::try_from(history.dice.below(most_secs))?);
            }
            6 => {
                let now = history.now;
                history.post(|wallet, dice| {
                    let grant = terms(dice, now)?;
                    Ok(command::top_up(wallet, currency(), TopUp { grant, ..top_up(dice)? })?)
                })?;
            }
            7 => {
                let hold = history.hold()?;
                history.post(|wallet, _| Ok(command::place(wallet, &hold)?))?;
            }
            8 => {
                let (leg, at) = (history.leg(), history.now);
                history.post(|wallet, dice| {
                    let ended = Ended {
                        answered: dice.below(3) > 0,
                        duration_secs: dice.below(90) as u32,
                        answered_at: at,
                        at,
                    };
                    Ok(command::settle(wallet, &leg, ended)?)
                })?;
            }
            9 => {
                let (leg, at) = (history.leg(), history.now);
                history.post(|wallet, dice| Ok(command::expire(wallet, &leg, (dice.below(2) > 0).then_some(at))?))?;
            }
            10 => {
                let now = history.now;
                history.post(|wallet, _| {
                    let expired = wallet.grants().map(|lot| command::expire_grant(wallet, &lot.grant, now));
                    Ok(expired.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next())
                })?;
            }
            11 => history.post(|wallet, dice| {
                let status =
                    [WalletStatus::Active, WalletStatus::Active, WalletStatus::Blocked][dice.below(3) as usize];
                let change = Change {
                    status: Some(status),
                    credit_limit: Some(dice.amount()?),
                    limits: Some(limits(dice)?),
                    ..Change::default()
                };
                Ok(command::change(wallet, currency(), change)?)
            })?,
            12 => {
                let log = history.log.clone();
                history.post(|wallet, dice| {
                    let postings = log.iter().flat_map(|(_, _, _, event)| &event.postings);
                    let Some(charged) = postings.filter_map(Charged::of).next_back() else { return Ok(None) };
                    let (id, note, by) = (PostingId::new(step.to_string())?, String::new(), "story".to_owned());
                    // Many are refused.
                    let amount = Micros::new(dice.amount()?.get() / 8)?;
                    let posting = match dice.below(2) {
                        0 => command::refund(wallet, &charged, id, Some(amount), note, by),
                        _ => command::correct(wallet, &charged, id, amount, note, by),
                    };
                    Ok(posting.unwrap_or_default())
                })?;
            }
            _ => tell(&mut history, local, remote).await?,
        }
        let facts = (local.facts(history.now, &history.id).await?, remote.facts(history.now, &history.id).await?);
        assert_eq!(facts.0, facts.1, "seed {seed} step {step}: balances");
        let firm = (local.firm(&history.id).await?, remote.firm(&history.id).await?);
        // What is available goes by the time, which stands still here.
        let untimed = |firm: Option<(u64, WalletFacts)>| {
            firm.map(|(seq, facts)| (seq, WalletFacts { available: Micros::ZERO, ..facts }))
        };
        assert_eq!(untimed(firm.0), untimed(firm.1), "seed {seed} step {step}: what is in the log");
    }
    Ok(())
}

/// Tells both what is in the log: the next event, one that is old, or one too early.
async fn tell(history: &mut History, local: &Admission, remote: &Admission) -> Result<()> {
    let index = history.told + 1 - usize::try_from(history.dice.below(3))?.min(history.told + 1);
    let Some((prev, seq, time, event)) = history.log.get(index) else { return Ok(()) };
    // What is told too early or again is read by the limits of some other time, and moves nothing.
    let limits = local.position(&history.id).await?.map(|at| at.limits).unwrap_or_default();
    let after = Position { seq: *prev, limits };
    let replies = (local.apply(&after, *seq, *time, event).await?, remote.apply(&after, *seq, *time, event).await?);
    assert_eq!(replies.0, replies.1, "apply");
    if replies.0 == ApplyReply::Done(Applied::Ok) {
        history.told = index + 1;
    }
    Ok(())
}
