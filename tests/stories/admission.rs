//! Admission in Redis says what the pure one says: random histories through both, every reply and balance compared.

use anyhow::{Result, ensure};
use billing::admission::{
    Admission, AdmissionError, ApplyReply, HoldRequest, MemoryAdmission, Position, RedisAdmission,
};
use jiff::{SignedDuration, Timestamp};
use money::posting::{Change, TopUp};
use money::{
    Applied, Charged, Currency, Edit, Ended, GrantKind, GrantTerms, Hold, LimitsEdit, Micros, Nanos, Posting,
    PostingId, Price, Rounding, Tier, Wallet, WalletEvent, WalletFacts, WalletStatus, Zone, command,
};
use proto::{EventId, Leg, WalletId};
use tests::redis::Redis;
use tokio::task::JoinSet;

const HISTORIES: u64 = 10_000;
/// Steps of the longest of them.
const STEPS_MAX: u64 = 40;
/// Told at the same time, on one connection.
const AT_ONCE: usize = 32;
/// A history that a busy machine broke off is told again, so often.
const ATTEMPTS_MAX: u32 = 5;
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

    fn time(&mut self) -> Result<SignedDuration> {
        let most_millis = [8_000, 2_000_000, 90_000_000, 3_000_000_000][self.below(4) as usize];
        Ok(SignedDuration::from_millis(i64::try_from(self.below(most_millis))?))
    }
}

/// One wallet's life: what the log would hold, and what both admissions were told of it.
struct History {
    dice: Dice,
    id: WalletId,
    now: Timestamp,
    wallet: Wallet,
    /// Decided, and not in the log yet.
    batch: Vec<Posting>,
    log: Vec<(u64, u64, Timestamp, WalletEvent)>,
    told: usize,
}

impl History {
    fn new(seed: u64, attempt: u32) -> Result<Self> {
        let now = "2026-01-01T00:00:00Z".parse()?;
        let id = WalletId::new(format!("wallet {seed} {attempt}"))?;
        let wallet = Wallet::default();
        let mut history = Self { dice: Dice(seed), id, now, wallet, batch: Vec::new(), log: Vec::new(), told: 0 };
        history.post(|wallet, dice| Ok(command::top_up(wallet, currency("EUR"), top_up(dice)?)?))?;
        history.write("EUR");
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
            price: Price::new(currency("EUR"), Micros::ZERO, vec![tier], Rounding::default())?,
            deck: money::DeckRef { name: "deck".into(), version: "1".into() },
            prefix: "46".into(),
            placed_at: self.now,
            expires_at: self.now + SignedDuration::from_secs(300),
            in_place_of: None,
        })
    }

    /// Decides a posting as billing would; many are refused. It is written alone, or together with those that follow.
    fn post(&mut self, decide: impl FnOnce(&Wallet, &mut Dice) -> Result<Option<Posting>>) -> Result<()> {
        let Ok(Some(posting)) = decide(&self.wallet, &mut self.dice) else { return Ok(()) };
        self.wallet.post(self.now, currency("EUR"), &posting);
        self.batch.push(posting);
        if self.dice.below(3) > 0 {
            self.write("EUR");
        }
        Ok(())
    }

    fn write(&mut self, in_currency: &str) {
        let postings = std::mem::take(&mut self.batch);
        if !postings.is_empty() {
            let (prev, seq) = (self.wallet.last_seq(), self.wallet.last_seq() + 1 + self.dice.below(5));
            let event = WalletEvent { wallet: self.id.clone(), currency: currency(in_currency), postings };
            self.wallet.apply(seq, self.now, &event);
            self.log.push((prev, seq, self.now, event));
        }
    }
}

fn currency(code: &str) -> Currency {
    code.parse().unwrap_or_else(|_| unreachable!("{code} is a currency"))
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
    let mut telling = JoinSet::new();
    for seed in 0..HISTORIES {
        if telling.len() == AT_ONCE
            && let Some(told) = telling.join_next().await
        {
            told??;
        }
        let (local, remote) = (local.clone(), remote.clone());
        telling.spawn(async move {
            let mut attempt = 0;
            while let Err(error) = live(seed, attempt, &local, &remote).await {
                attempt += 1;
                if attempt == ATTEMPTS_MAX || !error.is::<AdmissionError>() {
                    return Err(error.context(format!("history {seed}")));
                }
            }
            Ok(())
        });
    }
    while let Some(told) = telling.join_next().await {
        told??;
    }
    Ok(())
}

async fn live(seed: u64, attempt: u32, local: &Admission, remote: &Admission) -> Result<()> {
    let mut history = History::new(seed, attempt)?;
    let mut loaded = false;
    for step in 0..history.dice.below(STEPS_MAX) {
        match history.dice.below(18) {
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
                ensure!(replies.0 == replies.1, "step {step}: hold: {replies:?}");
            }
            4 => {
                let leg = history.leg();
                local.free(&history.id, &leg).await?;
                remote.free(&history.id, &leg).await?;
            }
            // A moment or a call later, the next day, or the next month.
            5 => history.now += history.dice.time()?,
            // The clock was wrong, and is set.
            13 => history.now -= history.dice.time()?,
            // What is loaded stays as it is, and misses nothing of the log.
            14 if history.batch.is_empty() => {
                for admission in [local, remote] {
                    admission.load(&history.id, &history.wallet, history.now).await?;
                }
                if !loaded {
                    (loaded, history.told) = (true, history.log.len());
                }
            }
            // Nobody writes this: it moves nothing.
            15 if history.batch.is_empty() && step % 4 == 0 => {
                let foreign = top_up(&mut history.dice)?;
                history.batch.push(Posting::TopUpPosted(foreign));
                history.write("USD");
            }
            6 => {
                let now = history.now;
                history.post(|wallet, dice| {
                    let grant = terms(dice, now)?;
                    Ok(command::top_up(wallet, currency("EUR"), TopUp { grant, ..top_up(dice)? })?)
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
                Ok(command::change(wallet, currency("EUR"), change)?)
            })?,
            12 => {
                let log = history.log.clone();
                history.post(|wallet, dice| {
                    let postings = log.iter().flat_map(|(_, _, _, event)| &event.postings);
                    let Some(charged) = postings.filter_map(Charged::of).next_back() else { return Ok(None) };
                    let (id, note, by) = (PostingId::new(step.to_string())?, String::new(), "story".to_owned());
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
        ensure!(facts.0 == facts.1 && facts.0.is_some() == loaded, "step {step}: balances: {facts:?}");
    }
    let firm = (local.firm(&history.id).await?, remote.firm(&history.id).await?);
    // What is available goes by the time, which stands still here.
    let untimed = |firm: Option<(u64, WalletFacts)>| {
        firm.map(|(seq, facts)| (seq, WalletFacts { available: Micros::ZERO, ..facts }))
    };
    let firm = (untimed(firm.0), untimed(firm.1));
    ensure!(firm.0 == firm.1, "what is in the log: {firm:?}");
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
    ensure!(replies.0 == replies.1, "apply: {replies:?}");
    if replies.0 == ApplyReply::Done(Applied::Ok) {
        history.told = index + 1;
    }
    Ok(())
}
