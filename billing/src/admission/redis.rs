//! Admission in Redis or Valkey: functions of the server, because they are kept and replicated with the data, where
//! cached scripts are not.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use money::admission::ENDED_MEMORY_MILLIS;
use money::posting::{Change, Charge, Correction, Expiry, GrantExpiry, PostingId, Refund, Release, TopUp};
use money::{
    Applied, Currency, Limit, Limits, Micros, Posting, Share, Spent, Wallet, WalletEvent, WalletFacts, WalletStatus,
};
use proto::event::json;
use proto::{Leg, WalletId};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, RedisError, ToRedisArgs, Value};

use super::{AdmissionError, ApplyReply, HoldReply, HoldRequest, Load, Position};

const LIBRARY: &str = include_str!("functions.lua");

/// No call of a function may take longer: a caller waits on a phone.
const REPLY_WITHIN: Duration = Duration::from_millis(250);

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The same with a second try, after the connection was lost.
const RETRIED_WITHIN: Duration = Duration::from_millis(500);

/// Holds or ended legs of a wallet that one call loads.
const STAGED_MAX: usize = 2_000;

/// Ended legs that are loaded, the newest. A live ask about one of the others, after all was lost, holds credit until
/// that expires; its call is over and is not charged again.
const ENDED_LOADED_MAX: usize = 20_000;

/// Time for loading the largest of wallets.
const STAGED_FOR: Duration = Duration::from_secs(60);

/// Admission shared by many processes.
#[derive(Clone)]
pub struct RedisAdmission {
    connection: ConnectionManager,
    /// Before every key, so that installations can share a server.
    prefix: String,
}

impl std::fmt::Debug for RedisAdmission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisAdmission").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisAdmission {
    /// Connects, and loads the functions.
    ///
    /// # Errors
    /// When the address is wrong or the server cannot be reached.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self, AdmissionError> {
        // User and password stay out of logs.
        let shown = url.rsplit('@').next().unwrap_or_default();
        let failed = |error: redis::RedisError| AdmissionError(format!("at {shown}: {error}"));
        let client = redis::Client::open(url).map_err(failed)?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(REPLY_WITHIN))
            .set_connection_timeout(Some(CONNECT_WITHIN));
        let connection = ConnectionManager::new_with_config(client, config).await.map_err(failed)?;
        let admission = Self { connection, prefix: prefix.to_owned() };
        admission.load_functions().await?;
        Ok(admission)
    }

    /// Whether the server knows no wallet at all. One that knows wallets of another log would take its postings for old
    /// ones of its own.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn is_empty(&self) -> Result<bool, AdmissionError> {
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(format!("{}2:{{w:*", self.prefix)).arg("COUNT").arg(1000);
            let reply = self.call(&scan).await?;
            match reply.0.as_slice() {
                [_, Value::Array(found)] if !found.is_empty() => return Ok(false),
                [next, Value::Array(_)] if text(next) == "0" => return Ok(true),
                [next, Value::Array(_)] => text(next).clone_into(&mut cursor),
                _ => return Err(reply.unexpected()),
            }
        }
    }

    pub(super) async fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> Result<HoldReply, AdmissionError> {
        let mut call = self.function("callbus_3_hold", request.wallet, &[]);
        call.arg(now.as_millisecond())
            .arg(request.leg.as_str())
            .arg(request.amount.get())
            .arg(request.expires_at.as_millisecond())
            .arg(request.decision)
            .arg(day(request.date));
        let reply = self.call(&call).await?;
        match (reply.word(), reply.rest()) {
            ("OK", []) => Ok(HoldReply::Ok),
            ("DUP", [Value::BulkString(decision)]) => Ok(HoldReply::Dup(Bytes::copy_from_slice(decision))),
            ("CLOSED", []) => Ok(HoldReply::Closed),
            ("NOT_LOADED", []) => Ok(HoldReply::NotLoaded),
            (word, rest) => match limit(word, rest)? {
                Some(limit) => Ok(HoldReply::Limited(limit)),
                None => Err(reply.unexpected()),
            },
        }
    }

    pub(super) async fn free(&self, wallet: &WalletId, leg: &Leg) -> Result<(), AdmissionError> {
        let mut call = self.function("callbus_3_free", wallet, &[]);
        self.call(call.arg(leg.as_str())).await.map(drop)
    }

    pub(super) async fn position(&self, wallet: &WalletId) -> Result<Option<Position>, AdmissionError> {
        let mut get = redis::cmd("HMGET");
        get.arg(self.slot(wallet)).arg("seq").arg("limits");
        let reply = self.call(&get).await?;
        match reply.0.as_slice() {
            [Value::Nil, _] | [_, Value::Nil] => Ok(None),
            [seq, limits] => {
                let seq = text(seq).parse().map_err(|_| reply.unexpected())?;
                Ok(Some(Position { seq, limits: parse_limits(text(limits))? }))
            }
            _ => Err(reply.unexpected()),
        }
    }

    pub(super) async fn facts(&self, now: Timestamp, wallet: &WalletId) -> Result<Option<WalletFacts>, AdmissionError> {
        let mut call = self.function("callbus_3_facts", wallet, &[]);
        let reply = self.call(call.arg(now.as_millisecond())).await?;
        if reply.word() == "NOT_LOADED" { Ok(None) } else { reply.facts().map(Some) }
    }

    pub(super) async fn firm(&self, wallet: &WalletId) -> Result<Option<(u64, WalletFacts)>, AdmissionError> {
        let reply = self.call(&self.function("callbus_3_firm", wallet, &[])).await?;
        if reply.word() == "NOT_LOADED" {
            return Ok(None);
        }
        let seq = reply.0.last().and_then(|seq| text(seq).parse().ok()).ok_or_else(|| reply.unexpected())?;
        Ok(Some((seq, reply.facts()?)))
    }

    pub(super) async fn apply(
        &self,
        after: &Position,
        seq: u64,
        time: Timestamp,
        event: &WalletEvent,
    ) -> Result<ApplyReply, AdmissionError> {
        let mut call = self.function("callbus_3_apply", &event.wallet, &[]);
        call.arg(after.seq).arg(seq).arg(ended_until(time)).arg(event.currency.to_string());
        let mut limits = after.limits.clone();
        three(&mut call, "date", &day(limits.date(time)), "");
        for posting in &event.postings {
            if let Some(edit) = posting.limits_edit() {
                limits = limits.edited(edit);
                for (field, value) in limit_fields(&limits) {
                    three(&mut call, "set", field, value);
                }
                three(&mut call, "date", &day(limits.date(time)), "");
            }
            posting_args(&mut call, posting);
        }
        let reply = self.call(&call).await?;
        match (reply.word(), reply.rest()) {
            ("OK", []) => Ok(ApplyReply::Done(Applied::Ok)),
            ("OLD", []) => Ok(ApplyReply::Done(Applied::Old)),
            ("GAP", [have]) => {
                let have = text(have).parse().map_err(|_| reply.unexpected())?;
                Ok(ApplyReply::Done(Applied::Gap { have }))
            }
            ("NOT_LOADED", []) => Ok(ApplyReply::NotLoaded),
            _ => Err(reply.unexpected()),
        }
    }

    /// Without its state a wallet is not loaded, and its next load leaves nothing of the rest.
    pub(super) async fn unload(&self, id: &WalletId) -> Result<(), AdmissionError> {
        self.call(redis::cmd("UNLINK").arg(self.slot(id))).await.map(drop)
    }

    /// What may be long, holds and ended legs, is staged in pieces under keys of its own first; then one call puts all
    /// of it in place.
    pub(super) async fn load(
        &self,
        id: &WalletId,
        wallet: &Wallet,
        now: Timestamp,
        load: Load,
    ) -> Result<bool, AdmissionError> {
        let facts = wallet.facts();
        let fields = [
            ("currency", facts.currency.map(|currency| currency.to_string()).unwrap_or_default()),
            ("status", status_word(facts.status).to_owned()),
            ("posted", facts.posted.get().to_string()),
            ("limit", facts.credit_limit.get().to_string()),
            ("held", facts.held.get().to_string()),
            ("seq", wallet.last_seq().to_string()),
            ("date", day(facts.spent.date)),
            ("spent_day", facts.spent.day.get().to_string()),
            ("spent_month", facts.spent.month.get().to_string()),
        ];
        let holds: Vec<_> = wallet.holds().map(|hold| (hold.leg.clone(), hold.amount.get())).collect();
        let ended = wallet.closed().map(|(leg, closed)| (leg, ended_until(closed.at)));
        let known = ended.rev().take_while(|(_, until)| *until > now.as_millisecond());
        let ended: Vec<_> = known.take(ENDED_LOADED_MAX).collect();
        let staged = self.staged(id, &holds, &ended).await?;

        let mut call = self.function("callbus_3_load", id, &staged);
        call.arg(match load {
            Load::First => "first",
            Load::Again => "again",
        });
        call.arg(wallet.last_seq()).arg(holds.len()).arg(ended.len());
        let fields: Vec<_> = fields.into_iter().chain(limit_fields(&facts.limits)).collect();
        call.arg(fields.len());
        for (field, value) in fields {
            call.arg(field).arg(value);
        }
        for lot in wallet.grants() {
            if let Some(expires_at) = lot.terms.expires_at {
                call.arg(lot.grant.as_str()).arg(expires_at.as_millisecond()).arg(lot.left.get());
            }
        }
        let reply = self.call(&call).await?;
        match reply.word() {
            "OK" => Ok(true),
            "OLD" => Ok(false),
            _ => Err(reply.unexpected()),
        }
    }

    /// Writes the pieces, each small enough not to hold the others up. They free themselves, should nobody put them in
    /// place.
    async fn staged(
        &self,
        id: &WalletId,
        holds: &[(Leg, i64)],
        ended: &[(Leg, i64)],
    ) -> Result<[String; 2], AdmissionError> {
        let [open, over] =
            ["open", "ended"].map(|part| format!("{}:staged-{:016x}:{part}", self.slot(id), fastrand::u64(..)));
        let holds = holds.chunks(STAGED_MAX).map(|piece| (piece, &[][..]));
        let ended = ended.chunks(STAGED_MAX).map(|piece| (&[][..], piece));
        for (holds, ended) in holds.chain(ended) {
            let mut call = redis::cmd("FCALL");
            call.arg("callbus_3_stage")
                .arg(2)
                .arg(&open)
                .arg(&over)
                .arg(STAGED_FOR.as_millis() as u64)
                .arg(holds.len());
            for (leg, number) in holds.iter().chain(ended) {
                call.arg(leg.as_str()).arg(number);
            }
            self.call(&call).await?;
        }
        Ok([open, over])
    }

    pub(super) async fn grants(
        &self,
        wallet: &WalletId,
    ) -> Result<Option<BTreeMap<PostingId, Micros>>, AdmissionError> {
        let slot = self.slot(wallet);
        let mut both = redis::pipe();
        both.atomic().exists(&slot).hgetall(format!("{slot}:left"));
        let asked = both.query_async(&mut self.connection.clone()).await;
        let (loaded, left): (bool, BTreeMap<String, i64>) =
            asked.map_err(|error: RedisError| AdmissionError(error.to_string()))?;
        let read = |(grant, left): (String, i64)| {
            let unexpected = || AdmissionError(format!("unexpected grant {grant:?} with {left} left"));
            Ok((PostingId::new(grant.clone()).map_err(|_| unexpected())?, Micros::new(left).map_err(|_| unexpected())?))
        };
        let left: Result<_, AdmissionError> = left.into_iter().map(read).collect();
        Ok(if loaded { Some(left?) } else { None })
    }

    /// All keys of a wallet hash to one slot. The shape of what lies there is part of the name: what another version of
    /// the functions left behind is not loaded, and so read from the log.
    fn slot(&self, wallet: &WalletId) -> String {
        format!("{}2:{{w:{wallet}}}", self.prefix)
    }

    fn function(&self, name: &str, wallet: &WalletId, more: &[String]) -> Cmd {
        let slot = self.slot(wallet);
        let mut call = redis::cmd("FCALL");
        call.arg(name).arg(7 + more.len()).arg(&slot);
        for part in ["open", "tentative", "ended", "decisions", "grants", "left"] {
            call.arg(format!("{slot}:{part}"));
        }
        call.arg(more);
        call
    }

    /// Calls a function. What a lost server leaves behind is made good once, within the time a caller has: the first
    /// command after a restart finds the old connection dead, and an empty server that took over has no functions.
    async fn call(&self, call: &Cmd) -> Result<Reply, AdmissionError> {
        let within = tokio::time::timeout(RETRIED_WITHIN, async {
            match self.ask(call).await {
                Err(error) if is_gone(&error) => {}
                Err(error) if lacks_functions(&error) => self.load_functions().await?,
                replied => return replied.map_err(failed),
            }
            match self.ask(call).await {
                // Both at once: another server, and an empty one.
                Err(error) if lacks_functions(&error) => {
                    self.load_functions().await?;
                    self.ask(call).await.map_err(failed)
                }
                replied => replied.map_err(failed),
            }
        });
        within.await.unwrap_or_else(|_| Err(AdmissionError(format!("no reply within {RETRIED_WITHIN:?}"))))
    }

    async fn ask(&self, call: &Cmd) -> Result<Reply, RedisError> {
        call.query_async(&mut self.connection.clone()).await.map(Reply)
    }

    async fn load_functions(&self) -> Result<(), AdmissionError> {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(LIBRARY);
        let loaded: Result<Value, _> = load.query_async(&mut self.connection.clone()).await;
        loaded
            .map(drop)
            .map_err(|error| AdmissionError(format!("load its functions (Redis 7 or Valkey is needed): {error}")))
    }
}

fn failed(error: RedisError) -> AdmissionError {
    AdmissionError(error.to_string())
}

/// The connection is, not the answer: a server that is slow may yet do what it was asked.
fn is_gone(error: &RedisError) -> bool {
    !error.is_timeout() && (error.is_connection_dropped() || error.is_connection_refusal() || error.is_io_error())
}

fn lacks_functions(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}

fn posting_args(call: &mut Cmd, posting: &Posting) {
    match posting {
        Posting::TopUpPosted(TopUp { id, amount, grant, .. }) => {
            three(call, "add", "", amount.get());
            add_to_grant(call, id, grant.and_then(|terms| terms.expires_at), *amount);
        }
        Posting::GrantExpired(GrantExpiry { grant, amount, expires_at, .. }) => {
            three(call, "add", "", amount.negated().get());
            add_to_grant(call, grant, Some(*expires_at), amount.negated());
        }
        Posting::HoldPlaced(hold) => three(call, "place", hold.leg.as_str(), hold.amount.get()),
        Posting::CallCharged(Charge { leg, amount, paid_by, .. })
        | Posting::HoldExpired(Expiry { leg, amount, paid_by, .. }) => {
            take(call, paid_by);
            three(call, "charge", "", amount.get());
            three(call, "end", leg.as_str(), "");
        }
        Posting::RefundPosted(Refund { amount, returned_to, .. }) => {
            three(call, "add", "", amount.get());
            give(call, returned_to);
        }
        Posting::ChargeCorrected(Correction { from, to, paid_by, returned_to, .. }) => {
            three(call, "add", "", from.saturating_sub(*to).get());
            take(call, paid_by);
            give(call, returned_to);
        }
        Posting::HoldReleased(Release { leg, .. }) => three(call, "end", leg.as_str(), ""),
        // Its limits are set beside this: they need those before it.
        Posting::WalletChanged(Change { status, credit_limit, .. }) => {
            if let Some(status) = status {
                three(call, "set", "status", status_word(*status));
            }
            if let Some(limit) = credit_limit {
                three(call, "set", "limit", limit.get());
            }
        }
    }
}

fn take(call: &mut Cmd, shares: &[Share]) {
    shares.iter().for_each(|share| add_to_grant(call, &share.grant, share.expires_at, share.amount.negated()));
}

fn give(call: &mut Cmd, shares: &[Share]) {
    shares.iter().for_each(|share| add_to_grant(call, &share.grant, share.expires_at, share.amount));
}

/// Grants that never expire need not be told from other money here.
fn add_to_grant(call: &mut Cmd, id: &PostingId, expires_at: Option<Timestamp>, amount: Micros) {
    if let Some(expires_at) = expires_at {
        three(call, "expires", &expires_at.as_millisecond().to_string(), "");
        three(call, "grant", id.as_str(), amount.get());
    }
}

/// One instruction of `apply`.
fn three(call: &mut Cmd, what: &str, subject: &str, value: impl ToRedisArgs) {
    call.arg(what).arg(subject).arg(value);
}

/// The limits as the state has them: whole for who reads them, and those that are counted as numbers.
fn limit_fields(limits: &Limits) -> [(&'static str, String); 5] {
    let number = |max: Option<i64>| max.map(|max| max.to_string()).unwrap_or_default();
    [
        ("limits", json(limits)),
        ("concurrent_max", number(limits.concurrent_max.map(i64::from))),
        ("calls_per_sec_max", number(limits.calls_per_sec_max.map(i64::from))),
        ("spend_day_max", number(limits.spend_day_max.map(Micros::get))),
        ("spend_month_max", number(limits.spend_month_max.map(Micros::get))),
    ]
}

fn limit(word: &str, rest: &[Value]) -> Result<Option<Limit>, AdmissionError> {
    Ok(Some(match (word, rest) {
        ("STATUS", [status]) => match status_of(text(status)) {
            Some(status) => Limit::Status(status),
            None => return Ok(None),
        },
        ("CONCURRENT", []) => Limit::Concurrent,
        ("VELOCITY", []) => Limit::Velocity,
        ("SPEND_DAY", [left]) => Limit::SpendDay { left: micros(left)? },
        ("SPEND_MONTH", [left]) => Limit::SpendMonth { left: micros(left)? },
        ("CREDIT", [available]) => Limit::Credit { available: micros(available)? },
        _ => return Ok(None),
    }))
}

/// What a function replied: a word, and what belongs to it.
struct Reply(Vec<Value>);

impl Reply {
    fn word(&self) -> &str {
        self.0.first().map(text).unwrap_or_default()
    }

    fn rest(&self) -> &[Value] {
        self.0.get(1..).unwrap_or_default()
    }

    fn facts(&self) -> Result<WalletFacts, AdmissionError> {
        let [currency, status, posted, limit, held, limits, date, spent_day, spent_month, available, ..] =
            self.0.as_slice()
        else {
            return Err(self.unexpected());
        };
        Ok(WalletFacts {
            currency: Some(text(currency)).filter(|c| !c.is_empty()).and_then(|c| c.parse::<Currency>().ok()),
            status: status_of(text(status)).ok_or_else(|| self.unexpected())?,
            posted: micros(posted)?,
            credit_limit: micros(limit)?,
            held: micros(held)?,
            available: micros(available)?,
            limits: parse_limits(text(limits))?,
            spent: Spent {
                date: date_of(text(date)).ok_or_else(|| self.unexpected())?,
                day: micros(spent_day)?,
                month: micros(spent_month)?,
            },
        })
    }

    fn unexpected(&self) -> AdmissionError {
        AdmissionError(format!("unexpected reply {:?}", self.0))
    }
}

/// Functions reply in bulk strings only; anything else reads as empty, which no reply is.
fn text(value: &Value) -> &str {
    if let Value::BulkString(bytes) = value { std::str::from_utf8(bytes).unwrap_or_default() } else { "" }
}

fn micros(value: &Value) -> Result<Micros, AdmissionError> {
    let number = text(value).parse().ok().and_then(|number: i64| Micros::new(number).ok());
    number.ok_or_else(|| AdmissionError(format!("unexpected amount {value:?}")))
}

fn status_word(status: WalletStatus) -> &'static str {
    match status {
        WalletStatus::Active => "active",
        WalletStatus::Blocked => "blocked",
        WalletStatus::Closed => "closed",
    }
}

fn status_of(word: &str) -> Option<WalletStatus> {
    [WalletStatus::Active, WalletStatus::Blocked, WalletStatus::Closed].into_iter().find(|s| status_word(*s) == word)
}

fn parse_limits(json: &str) -> Result<Limits, AdmissionError> {
    serde_json::from_str(json).map_err(|error| AdmissionError(format!("unexpected limits {json:?}: {error}")))
}

/// A date as a number that grows with it: `20260131`.
fn day(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year().max(0), date.month(), date.day())
}

fn date_of(day: &str) -> Option<Date> {
    let day: i32 = day.parse().ok()?;
    let [year, month, day] = [day / 10_000, day / 100 % 100, day % 100];
    Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
}

fn ended_until(at: Timestamp) -> i64 {
    at.as_millisecond().saturating_add(ENDED_MEMORY_MILLIS)
}
