//! `/v1/wallets`: balances, histories, money coming in, and what a wallet may be used for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use billing::history;
use billing::order::{Order, OrderError, Ordered, Receipt, order};
use billing::rebuild::Rebuilt;
use billing::verify::Verified;
use jiff::Timestamp;
use money::lots::PRIORITY_DEFAULT;
use money::posting::{Change, TopUp};
use money::statement::{PriceUsed, entry};
use money::{
    Currency, Destination, Destinations, Edit, GrantKind, GrantTerms, Hold, LimitsEdit, Line, Lot, Micros, Posting,
    PostingId, Wallet, WalletFacts, WalletStatus,
};
use proto::{CallId, Kind, Stream, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use views::decisions::DecisionRow;

use crate::address::{Path, Query};
use crate::body::{self, Body, Shape};
use crate::calls::LEVEL_WITHIN;
use crate::masked;
use crate::problem::Problem;
use crate::reply::Posted;
use crate::server::Desk;

/// Wallets on one page; the next begins after the last id of this one.
const WALLETS_MAX: usize = 1_000;
/// Postings on one page, the newest.
const POSTINGS_MAX: usize = 10_000;
const POSTINGS_DEFAULT: usize = 1_000;
/// Who posts, as the ledger knows it: the API has one token.
const BY: &str = "api";

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Wallets {
    wallets: Vec<WalletSummary>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WalletSummary {
    wallet: WalletId,
    facts: WalletFacts,
    open_holds: usize,
}

/// One wallet.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WalletPage {
    wallet: WalletId,
    facts: WalletFacts,
    /// Those with something left, in the order of spending.
    grants: Vec<Lot>,
    holds: Vec<Hold>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LedgerPage {
    wallet: WalletId,
    currency: Option<Currency>,
    /// Oldest first.
    postings: Vec<PostingLine>,
    /// Why no posting has a cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    causes_missing: Option<String>,
}

/// One posting, what the wallet held after it, and the callback that caused it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct PostingLine {
    seq: u64,
    time: Timestamp,
    /// As in a statement.
    what: &'static str,
    /// What it did to the balance: top-ups add, charges take, holds leave it as it is.
    amount: Micros,
    balance: Micros,
    held: Micros,
    /// What a charge was rated by.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<PriceUsed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    #[schemars(with = "Posting")]
    posting: Value,
}

/// The callback that let a leg through, and what decided so.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Cause {
    app: String,
    kind: Kind,
    /// Its event id.
    callback: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

/// `?after=<wallet>`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    after: Option<String>,
}

/// `?limit=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LedgerQuery {
    limit: Option<usize>,
}

/// Body of a top-up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopUpRequest {
    id: PostingId,
    amount: Micros,
    currency: Currency,
    #[serde(default)]
    note: String,
}

/// Body of a grant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRequest {
    id: PostingId,
    amount: Micros,
    currency: Currency,
    #[serde(default = "granted")]
    kind: GrantKind,
    #[serde(default = "priority_default")]
    priority: u16,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    note: String,
}

fn granted() -> GrantKind {
    GrantKind::Granted
}

fn priority_default() -> u16 {
    PRIORITY_DEFAULT
}

/// Body of a refund; without an amount, of all that is left of the charge.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRequest {
    id: PostingId,
    call: CallId,
    amount: Option<Micros>,
    #[serde(default)]
    note: String,
}

/// Body of a correction.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorrectionRequest {
    id: PostingId,
    call: CallId,
    /// What the call should have cost.
    to: Micros,
    #[serde(default)]
    note: String,
}

/// Body of a change; what is absent stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    /// For a wallet that is not there yet.
    currency: Option<Currency>,
    status: Option<WalletStatus>,
    credit_limit: Option<Micros>,
    limits: Option<LimitsEdit>,
    #[serde(default)]
    note: String,
}

impl Shape for TopUpRequest {
    const SHAPE: &'static str = "{id, amount: \"12.50\", currency: \"EUR\", note}";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("invoice", r#"{ "id": "invoice-2026-0042", "amount": "100.00", "currency": "EUR", "note": "by bank" }"#)];
}

impl Shape for GrantRequest {
    const SHAPE: &'static str = "{id, amount: \"5\", currency: \"EUR\", kind, priority, expires_at, note}";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[(
        "welcome",
        r#"{ "id": "welcome-alice", "amount": "5.00", "currency": "EUR", "expires_at": "2027-01-01T00:00:00Z" }"#,
    )];
}

impl Shape for RefundRequest {
    const SHAPE: &'static str = "{id, call, amount: \"0.50\", note}";
}

impl Shape for CorrectionRequest {
    const SHAPE: &'static str = "{id, call, to: \"0.50\", note}";
}

impl Shape for ChangeRequest {
    const SHAPE: &'static str = "{status, credit_limit, limits, currency, note}";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[(
        "limits",
        r#"{ "credit_limit": "20.00", "limits": { "concurrent_max": 2, "allowed": ["SE", "+47"], "denied": null } }"#,
    )];
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Wallets>, Problem> {
    let mut list = desk.wallets.lock().await;
    list.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    let after = query.after.unwrap_or_default();
    let page = list.all().filter(|(id, _)| id.as_str() > after.as_str()).take(WALLETS_MAX);
    let now = desk.clock.now();
    let wallets = page.map(|(id, wallet)| WalletSummary {
        wallet: id.clone(),
        facts: wallet.facts_at(now),
        open_holds: wallet.holds().count(),
    });
    Ok(Json(Wallets { wallets: wallets.collect() }))
}

pub(crate) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<WalletId>) -> Result<Json<WalletPage>, Problem> {
    let mut list = desk.wallets.lock().await;
    list.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    let wallet = list.get(&id).ok_or_else(|| no_wallet(&id))?;
    let (facts, holds) = (wallet.facts_at(desk.clock.now()), wallet.holds().cloned().collect());
    Ok(Json(WalletPage { wallet: id, facts, grants: wallet.grants().collect(), holds }))
}

pub(crate) async fn ledger(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<WalletId>,
    Query(query): Query<LedgerQuery>,
) -> Result<Json<LedgerPage>, Problem> {
    let mut wallet = Wallet::default();
    let mut postings = Vec::new();
    for posted in history::events(&desk.bus, &id, 0).await.map_err(Problem::unavailable)? {
        for posting in posted.event.postings {
            let line = entry(&mut wallet, posted.seq, posted.time, posted.event.currency, &posting);
            let Line { seq, time, what, amount, balance, held, price, leg, .. } = line.map_err(Problem::unavailable)?;
            let posting = without_numbers(&posting);
            postings.push((leg, PostingLine { seq, time, what, amount, balance, held, price, cause: None, posting }));
        }
    }
    if postings.is_empty() {
        return Err(no_wallet(&id));
    }
    let limit = query.limit.unwrap_or(POSTINGS_DEFAULT).min(POSTINGS_MAX);
    postings.drain(..postings.len().saturating_sub(limit));
    let legs: BTreeSet<String> = postings.iter().filter_map(|(leg, _)| Some(leg.as_ref()?.to_string())).collect();
    let (causes, causes_missing) = match causes(&desk, legs.into_iter().collect()).await {
        Ok(causes) => (causes, None),
        // The money is told all the same: it is in the log.
        Err(error) => (HashMap::new(), Some(error.to_string())),
    };
    let postings = postings.into_iter().map(|(leg, line)| {
        let cause = leg.and_then(|leg| causes.get(leg.as_str()).cloned());
        PostingLine { cause, ..line }
    });
    let (currency, postings) = (wallet.facts().currency, postings.collect());
    Ok(Json(LedgerPage { wallet: id, currency, postings, causes_missing }))
}

/// A posting as it stands in the log, but for numbers that a person wrote into its note.
fn without_numbers(posting: &Posting) -> Value {
    let mut posting = json!(posting);
    if let Some(note) = posting.get_mut("note") {
        masked::value(note);
    }
    posting
}

/// What let each leg through.
async fn causes(desk: &Desk, legs: Vec<String>) -> Result<HashMap<String, Cause>, views::Error> {
    desk.views.behind(&desk.bus, Stream::Calls, LEVEL_WITHIN).await?;
    let grants = desk.views.grants(&legs).await?.into_iter();
    // Of several the largest comes last, and counts.
    Ok(grants
        .map(|DecisionRow { leg, app, kind, callback, rule, policy, .. }| {
            (leg, Cause { app, kind, callback, rule, policy })
        })
        .collect())
}

/// Whether admission says what the log says.
pub(crate) async fn verify(State(desk): State<Arc<Desk>>, Path(id): Path<WalletId>) -> Result<Json<Verified>, Problem> {
    let verified = billing::verify::verify(&desk.bus, &id).await;
    verified.map(Json).map_err(Problem::Unavailable)
}

/// Loads the wallet into admission anew. Safe at any time.
pub(crate) async fn rebuild(State(desk): State<Arc<Desk>>, Path(id): Path<WalletId>) -> Result<Json<Rebuilt>, Problem> {
    let rebuilt = billing::rebuild::rebuild(&desk.bus, &id).await;
    rebuilt.map(Json).map_err(Problem::Unavailable)
}

/// 201 for a new top-up, 200 for one that is posted already: sending it again is always safe.
pub(crate) async fn top_up(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<WalletId>,
    Body(body): Body<TopUpRequest>,
) -> Result<Posted<Receipt>, Problem> {
    let TopUpRequest { id: top_up, amount, currency, note } = body;
    let top_up =
        TopUp { id: top_up, amount: positive(amount)?, grant: None, note: body::note(note)?, by: BY.to_owned() };
    post(&desk, id, Ordered::TopUp { currency, top_up }).await
}

/// 201 for a new grant, 200 for one that is posted already.
pub(crate) async fn grant(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<WalletId>,
    Body(body): Body<GrantRequest>,
) -> Result<Posted<Receipt>, Problem> {
    let GrantRequest { id: grant, amount, currency, kind, priority, expires_at, note } = body;
    let terms = GrantTerms { kind, priority, expires_at };
    let (amount, note) = (positive(amount)?, body::note(note)?);
    let top_up = TopUp { id: grant, amount, grant: Some(terms), note, by: BY.to_owned() };
    post(&desk, id, Ordered::TopUp { currency, top_up }).await
}

/// 201 for a new refund, 200 for one that is posted already.
pub(crate) async fn refund(
    State(desk): State<Arc<Desk>>,
    Path(wallet): Path<WalletId>,
    Body(body): Body<RefundRequest>,
) -> Result<Posted<Receipt>, Problem> {
    let RefundRequest { id, call, amount, note } = body;
    let (amount, note) = (amount.map(positive).transpose()?, body::note(note)?);
    post(&desk, wallet, Ordered::Refund { call, id, amount, note, by: BY.to_owned() }).await
}

/// 201 for a new correction, 200 for one that is posted already or changes nothing.
pub(crate) async fn correct(
    State(desk): State<Arc<Desk>>,
    Path(wallet): Path<WalletId>,
    Body(body): Body<CorrectionRequest>,
) -> Result<Posted<Receipt>, Problem> {
    let CorrectionRequest { id, call, to, note } = body;
    let note = body::note(note)?;
    post(&desk, wallet, Ordered::Correct { call, id, to, note, by: BY.to_owned() }).await
}

/// 200, whether or not it was so before.
pub(crate) async fn change(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<WalletId>,
    Body(body): Body<ChangeRequest>,
) -> Result<Json<Receipt>, Problem> {
    let ChangeRequest { currency, status, credit_limit, limits, note } = body;
    limits.iter().flat_map(|edit| [&edit.allowed, &edit.denied]).try_for_each(countries_exist)?;
    let change = Change { status, credit_limit, limits, note: body::note(note)?, by: BY.to_owned() };
    ordered(&desk, id, Ordered::Change { currency, change }).await.map(Json)
}

/// 201 for what is new, 200 for what is posted already.
async fn post(desk: &Desk, wallet: WalletId, what: Ordered) -> Result<Posted<Receipt>, Problem> {
    let receipt = ordered(desk, wallet, what).await?;
    Ok(if receipt.duplicate { Posted::Before(receipt) } else { Posted::New(receipt) })
}

async fn ordered(desk: &Desk, wallet: WalletId, what: Ordered) -> Result<Receipt, Problem> {
    order(&desk.bus, &Order { wallet, what }).await.map_err(|error| match error {
        OrderError::Refused(why) => Problem::Conflict(why),
        OrderError::Unavailable(why) => Problem::Unavailable(why),
    })
}

/// A country no number belongs to would bar nobody, or everybody. What the log has is taken as it is.
fn countries_exist(edit: &Edit<Destinations>) -> Result<(), Problem> {
    let Edit::Set(destinations) = edit else { return Ok(()) };
    match destinations.iter().filter_map(Destination::country).find(|code| !policy::is_country(code)) {
        Some(code) => Err(Problem::Invalid(format!(
            "no number belongs to a country {code:?}: write its ISO 3166 code, such as SE"
        ))),
        None => Ok(()),
    }
}

fn positive(amount: Micros) -> Result<Micros, Problem> {
    let more = amount > Micros::ZERO;
    more.then_some(amount).ok_or_else(|| Problem::Invalid(format!("the amount is {amount}; it must be more than 0")))
}

pub(crate) fn no_wallet(id: &WalletId) -> Problem {
    Problem::NotFound(format!("wallet {id}: a wallet begins with its first top-up"))
}
