//! Admission in Redis or Valkey: functions of the server, because they are kept and replicated with the data, where
//! cached scripts are not.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use money::admission::ENDED_MEMORY_MILLIS;
use money::posting::{Change, Charge, Expiry, Release};
use money::{Applied, Currency, Micros, Posting, Wallet, WalletEvent, WalletFacts, WalletStatus};
use proto::{Leg, WalletId};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, Value};

use super::{AdmissionError, ApplyReply, HoldReply, HoldRequest};

const LIBRARY: &str = include_str!("functions.lua");

/// No call of a function may take longer: a caller waits on a phone.
const REPLY_WITHIN: Duration = Duration::from_millis(250);

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

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

    pub(super) async fn hold(&self, now: Timestamp, request: HoldRequest<'_>) -> Result<HoldReply, AdmissionError> {
        let mut call = self.function("callbus_1_hold", request.wallet);
        call.arg(now.as_millisecond())
            .arg(request.leg.as_str())
            .arg(request.amount.get())
            .arg(request.expires_at.as_millisecond())
            .arg(request.decision);
        let reply = self.call(&call).await?;
        match (reply.word(), reply.rest()) {
            ("OK", []) => Ok(HoldReply::Ok),
            ("DUP", [Value::BulkString(decision)]) => Ok(HoldReply::Dup(Bytes::copy_from_slice(decision))),
            ("INSUFFICIENT", [available]) => Ok(HoldReply::Insufficient { available: micros(available)? }),
            ("CLOSED", []) => Ok(HoldReply::Closed),
            ("NOT_LOADED", []) => Ok(HoldReply::NotLoaded),
            _ => Err(reply.unexpected()),
        }
    }

    pub(super) async fn decision(&self, wallet: &WalletId, leg: &Leg) -> Result<Option<Bytes>, AdmissionError> {
        let mut get = redis::cmd("HGET");
        get.arg(format!("{}:decisions", self.slot(wallet))).arg(leg.as_str());
        let decision: Result<Option<Vec<u8>>, _> = get.query_async(&mut self.connection.clone()).await;
        let decision = decision.map_err(|error: redis::RedisError| AdmissionError(error.to_string()))?;
        Ok(decision.map(Bytes::from))
    }

    pub(super) async fn free(&self, wallet: &WalletId, leg: &Leg) -> Result<(), AdmissionError> {
        let mut call = self.function("callbus_1_free", wallet);
        self.call(call.arg(leg.as_str())).await.map(drop)
    }

    pub(super) async fn last_seq(&self, wallet: &WalletId) -> Result<Option<u64>, AdmissionError> {
        let mut get = redis::cmd("HGET");
        get.arg(self.slot(wallet)).arg("seq");
        let seq = get.query_async(&mut self.connection.clone()).await;
        seq.map_err(|error: redis::RedisError| AdmissionError(error.to_string()))
    }

    pub(super) async fn facts(&self, now: Timestamp, wallet: &WalletId) -> Result<Option<WalletFacts>, AdmissionError> {
        let mut call = self.function("callbus_1_facts", wallet);
        let reply = self.call(call.arg(now.as_millisecond())).await?;
        let [currency, status, posted, limit, held] = reply.0.as_slice() else {
            return if reply.word() == "NOT_LOADED" { Ok(None) } else { Err(reply.unexpected()) };
        };
        let (posted, credit_limit, held) = (micros(posted)?, micros(limit)?, micros(held)?);
        Ok(Some(WalletFacts {
            currency: Some(text(currency)).filter(|c| !c.is_empty()).and_then(|c| c.parse::<Currency>().ok()),
            status: status_of(text(status)).ok_or_else(|| reply.unexpected())?,
            posted,
            credit_limit,
            held,
            available: posted.saturating_add(credit_limit).saturating_sub(held),
        }))
    }

    pub(super) async fn apply(
        &self,
        prev_seq: u64,
        seq: u64,
        time: Timestamp,
        event: &WalletEvent,
    ) -> Result<ApplyReply, AdmissionError> {
        let mut call = self.function("callbus_1_apply", &event.wallet);
        call.arg(prev_seq).arg(seq).arg(ended_until(time)).arg(event.currency.to_string());
        for posting in &event.postings {
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

    pub(super) async fn load(&self, id: &WalletId, wallet: &Wallet, now: Timestamp) -> Result<(), AdmissionError> {
        let facts = wallet.facts();
        let mut call = self.function("callbus_1_load", id);
        call.arg(facts.currency.map(|currency| currency.to_string()).unwrap_or_default())
            .arg(status_word(facts.status))
            .arg(facts.posted.get())
            .arg(facts.credit_limit.get())
            .arg(facts.held.get())
            .arg(wallet.last_seq())
            .arg(wallet.holds().count());
        for hold in wallet.holds() {
            call.arg(hold.leg.as_str()).arg(hold.amount.get());
        }
        for (leg, closed) in wallet.closed() {
            let until = ended_until(closed.at);
            if until > now.as_millisecond() {
                call.arg(leg.as_str()).arg(until);
            }
        }
        self.call(&call).await.map(drop)
    }

    /// All keys of a wallet hash to one slot.
    fn slot(&self, wallet: &WalletId) -> String {
        format!("{}{{w:{wallet}}}", self.prefix)
    }

    fn function(&self, name: &str, wallet: &WalletId) -> Cmd {
        let slot = self.slot(wallet);
        let mut call = redis::cmd("FCALL");
        call.arg(name).arg(5).arg(&slot);
        for part in ["open", "tentative", "ended", "decisions"] {
            call.arg(format!("{slot}:{part}"));
        }
        call
    }

    /// Calls a function; a server that lost its functions (an empty one took over) is given them again.
    async fn call(&self, call: &Cmd) -> Result<Reply, AdmissionError> {
        let mut connection = self.connection.clone();
        let failed = |error: redis::RedisError| AdmissionError(error.to_string());
        match call.query_async(&mut connection).await {
            Ok(values) => Ok(Reply(values)),
            Err(error) if error.to_string().contains("Function not found") => {
                self.load_functions().await?;
                call.query_async(&mut connection).await.map(Reply).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
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

fn posting_args(call: &mut Cmd, posting: &Posting) {
    let mut three = |what: &str, leg: &str, amount: i64| {
        call.arg(what).arg(leg).arg(amount);
    };
    match posting {
        Posting::TopUpPosted(top_up) => three("top_up", "", top_up.amount.get()),
        Posting::HoldPlaced(hold) => three("place", hold.leg.as_str(), hold.amount.get()),
        Posting::CallCharged(Charge { leg, amount, .. }) | Posting::HoldExpired(Expiry { leg, amount, .. }) => {
            three("end", leg.as_str(), amount.get());
        }
        Posting::HoldReleased(Release { leg, .. }) => three("end", leg.as_str(), 0),
        Posting::WalletChanged(Change { status, credit_limit, .. }) => {
            if let Some(status) = status {
                three("status", status_word(*status), 0);
            }
            if let Some(limit) = credit_limit {
                three("limit", "", limit.get());
            }
        }
    }
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

fn ended_until(at: Timestamp) -> i64 {
    at.as_millisecond().saturating_add(ENDED_MEMORY_MILLIS)
}
