//! `POST /v1/calls/outbound`, `POST /v1/calls/click-to-call` and `DELETE /v1/calls/{id}`: calls that we place.
//!
//! An order is one event. Once it is in the log it is answered 202, and whoever places calls does the rest. The same
//! `Idempotency-Key` is the same call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use axum::extract::State;
use bus::{Bus, Recorded, Unavailable};
use delivery::Dial;
use delivery::callback::{self, Family};
use jiff::{SignedDuration, Timestamp};
use policy::suggestion;
use proto::event::json;
use proto::svaml::{Action, Instruction};
use proto::{
    AppName, CallId, Event, EventId, Filter, Kind, Moment, Order, Partition, PhoneNumber, Placed, Progressed, Redial,
    Stream, Subject, Svaml, Target,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use tokio::task::spawn_blocking;
use workers::policies::newest;

use crate::address::Path;
use crate::body::Shape;
use crate::form::{IdempotencyKey, JsonOrForm};
use crate::problem::Problem;
use crate::reply::Accepted;
use crate::server::Desk;

const BY: &str = "api";
/// Longer than anybody lets it ring.
const RING_SECS: std::ops::RangeInclusive<u16> = 5..=120;
const RING_SECS_DEFAULT: u16 = 45;
/// The platform's own limit.
const MAX_SECS: std::ops::RangeInclusive<u32> = 1..=14_400;
const MAX_SECS_DEFAULT: u32 = 3_600;
const REDIALS_MAX: u8 = 10;
const PAUSE_SECS: std::ops::RangeInclusive<u16> = 5..=3_600;
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
const CUSTOM_BYTES_MAX: usize = 500;
const MENU_BYTES_MAX: usize = 100;
const KEY_BYTES_MAX: usize = 255;
/// Orders whose keys are remembered; the newest.
const ORDERS_MAX: usize = 200_000;

/// Somebody is to be called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboundOrder {
    to: PhoneNumber,
    /// The number that is shown.
    from: PhoneNumber,
    target: Target,
    /// May be left out where there is one.
    app: Option<AppName>,
    /// Seconds it may ring, 5 to 120; 45 without it.
    timeout: Option<u16>,
    /// Seconds each leg may last, up to 14,400; 3,600 without it.
    max_duration: Option<u32>,
    retry: Option<Retry>,
    /// Not before, at most 7 days ahead; at once without it.
    at: Option<Timestamp>,
    /// Found again in whatever is told of the call.
    #[serde(default)]
    custom: String,
    /// Whom to tell of what: `{"call_end": {"callback_profile": ["SG_…"], "url": ["https://…"]}}`, or the same as text.
    callback: Option<Box<RawValue>>,
}

/// Two are to be called, and joined.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClickToCallOrder {
    from: PhoneNumber,
    to: PhoneNumber,
    /// The number that is shown to both.
    bridge: PhoneNumber,
    /// May be left out where there is one.
    app: Option<AppName>,
    /// Seconds it may ring, 5 to 120; 45 without it.
    timeout: Option<u16>,
    /// Seconds each leg may last, up to 14,400; 3,600 without it.
    max_duration: Option<u32>,
    retry: Option<Retry>,
    /// Not before, at most 7 days ahead; at once without it.
    at: Option<Timestamp>,
    /// Found again in whatever is told of the call.
    #[serde(default)]
    custom: String,
    /// Whom to tell of what: `{"call_end": {"callback_profile": ["SG_…"], "url": ["https://…"]}}`, or the same as text.
    callback: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    times: u8,
    interval: u16,
}

/// What both have.
struct Terms {
    app: Option<AppName>,
    timeout: Option<u16>,
    max_duration: Option<u32>,
    retry: Option<Retry>,
    at: Option<Timestamp>,
    custom: String,
    tell: Named,
}

/// Whom to tell of what, before it is known what of it is in force.
type Named = BTreeMap<Moment, Vec<callback::Named>>;

/// It is in the log.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ordered {
    /// Ours.
    call: CallId,
}

type Reply = Result<Accepted<Ordered>, Problem>;

impl Shape for OutboundOrder {
    const SHAPE: &'static str = "{to: \"+46…\", from: \"+46…\", target: {say: \"…\"}} (docs/placing-calls.md)";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("say", r#"{ "to": "+46701234567", "from": "+46850000001", "target": { "say": "Your parcel has arrived." } }"#),
        (
            "connect",
            r#"{ "to": "+46701234567", "from": "+46850000001", "target": { "connect": "+46850000002" }, "timeout": 30,
                "retry": { "times": 2, "interval": 60 }, "custom": "order 17",
                "callback": { "call_end": { "url": ["https://example.com/over?call={{call_id}}"] } } }"#,
        ),
        ("policy", r#"{ "to": "+46701234567", "from": "+46850000001", "target": "policy" }"#),
    ];
}

impl Shape for ClickToCallOrder {
    const SHAPE: &'static str = "{from: \"+46…\", to: \"+46…\", bridge: \"+46…\"} (docs/placing-calls.md)";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[(
        "sales",
        r#"{ "from": "+46850000002", "to": "+46701234567", "bridge": "+46850000001", "custom": "lead 4711" }"#,
    )];
}

pub(crate) async fn outbound(
    State(desk): State<Arc<Desk>>,
    key: IdempotencyKey,
    JsonOrForm(order): JsonOrForm<OutboundOrder>,
) -> Reply {
    let OutboundOrder { to, from, target, app, timeout, max_duration, retry, at, custom, callback } = order;
    let tell = named(callback.as_deref(), Family::Outbound)?;
    if let Target::Say(text) = &target {
        let answer = Svaml { instructions: vec![Instruction::say(text)], action: Action::Hangup };
        answer.check(Kind::Ace).map_err(|problems| Problem::Invalid(format!("target.say: {problems}")))?;
    }
    let terms = Terms { app, timeout, max_duration, retry, at, custom, tell };
    place(&desk, key, Order::Outbound { to, target }, from, terms).await
}

pub(crate) async fn click_to_call(
    State(desk): State<Arc<Desk>>,
    key: IdempotencyKey,
    JsonOrForm(order): JsonOrForm<ClickToCallOrder>,
) -> Reply {
    let ClickToCallOrder { from, to, bridge, app, timeout, max_duration, retry, at, custom, callback } = order;
    let tell = named(callback.as_deref(), Family::ClickToCall)?;
    if from == to {
        return Err(Problem::Invalid("from and to are the same number".to_owned()));
    }
    let terms = Terms { app, timeout, max_duration, retry, at, custom, tell };
    place(&desk, key, Order::ClickToCall { from, to }, bridge, terms).await
}

/// Whoever looks after the call ends it.
pub(crate) async fn hang_up(State(desk): State<Arc<Desk>>, Path(call): Path<CallId>) -> Reply {
    let Some(seq) = placed_at(&desk, &call).await? else {
        return Err(Problem::NotFound(format!("call {call} that was placed here")));
    };
    if !delivery::hang_up(&desk.bus, &call, BY).await.map_err(Problem::unavailable)? {
        let mut dial = None;
        let mut lane = desk.bus.events(&Filter::Partition(Partition::of(&call)), seq.saturating_sub(1));
        while let Some(next) = lane.next().await.map_err(Problem::unavailable)? {
            if next.event.about == call.as_str() {
                fold(&mut dial, &next);
            }
        }
        return Err(match dial.is_some_and(|dial| dial.is_over()) {
            true => Problem::Conflict(format!("the call {call} is over")),
            false => Problem::Unavailable("nobody looks after the call just now; try again".to_owned()),
        });
    }
    Ok(Accepted(Ordered { call }))
}

/// Folds a call that was placed from its own events.
pub(crate) fn fold(dial: &mut Option<Dial>, Recorded { seq, event }: &Recorded) {
    match event.subject.kind() {
        Some(Kind::Placed) => {
            if let Ok(placed) = serde_json::from_slice(&event.data) {
                dial.get_or_insert_with(|| Dial::new(*seq, placed, event.time));
            }
        }
        Some(Kind::Progressed) => {
            if let (Some(dial), Ok(Progressed { step, .. })) = (dial, serde_json::from_slice(&event.data)) {
                dial.apply(event.time, &step);
            }
        }
        Some(_) | None => {}
    }
}

/// Where the order of a call stands, if it was placed here.
///
/// # Errors
/// When the log cannot be reached.
pub(crate) async fn placed_at(desk: &Desk, call: &CallId) -> Result<Option<u64>, Problem> {
    let mut orders = desk.orders.lock().await;
    orders.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    Ok(orders.seqs.get(call).copied())
}

async fn place(desk: &Desk, key: IdempotencyKey, order: Order, cli: PhoneNumber, terms: Terms) -> Reply {
    let Some(payers) = &desk.payers else {
        return Err(Problem::Conflict("no calls are placed here: set [platform] url".to_owned()));
    };
    let Terms { app, timeout, max_duration, retry, at, custom, tell } = terms;
    let app = match (app, payers.keys().next()) {
        (Some(app), _) => app,
        (None, Some(only)) if payers.len() == 1 => only.clone(),
        (None, _) => return Err(Problem::Invalid("app: there are several; name one".to_owned())),
    };
    let wallet = payers.get(&app).cloned().ok_or_else(|| Problem::NotFound(format!("app {app}")))?;
    let now = desk.clock.now();
    let (call, repeated) = match key.0 {
        Some(key) => (id_of(&app, key.as_bytes())?, true),
        None => (CallId::new(format!("placed-{}", random()?)).map_err(Problem::unavailable)?, false),
    };
    let within = |name: &str, value: u32, range: std::ops::RangeInclusive<u32>| match range.contains(&value) {
        true => Ok(value),
        false => Err(Problem::Invalid(format!("{name}: from {} to {} seconds", range.start(), range.end()))),
    };
    let wide = |range: std::ops::RangeInclusive<u16>| u32::from(*range.start())..=u32::from(*range.end());
    let ring_secs = timeout.unwrap_or(RING_SECS_DEFAULT);
    within("timeout", ring_secs.into(), wide(RING_SECS))?;
    let redial = match retry {
        Some(Retry { times, .. }) if times > REDIALS_MAX => {
            return Err(Problem::Invalid(format!("retry.times: at most {REDIALS_MAX}")));
        }
        Some(Retry { times, interval }) => {
            within("retry.interval", interval.into(), wide(PAUSE_SECS))?;
            Redial { times, pause_secs: interval }
        }
        None => Redial::default(),
    };
    if at.is_some_and(|at| at.duration_since(now) > AHEAD_MAX) {
        return Err(Problem::Invalid("at: at most 7 days ahead".to_owned()));
    }
    if custom.len() > CUSTOM_BYTES_MAX || custom.chars().any(char::is_control) {
        return Err(Problem::Invalid(format!("custom: one line of at most {CUSTOM_BYTES_MAX} bytes")));
    }
    let placed = Placed {
        call,
        app,
        wallet,
        order,
        cli,
        ring_secs,
        max_secs: within("max_duration", max_duration.unwrap_or(MAX_SECS_DEFAULT), MAX_SECS)?,
        redial,
        at,
        custom,
        tell: BTreeMap::new(),
        by: BY.to_owned(),
    };
    write(desk, placed, tell, repeated, now).await
}

/// Puts the order into the log, unless the same one is there. It tells by the profiles as they are now.
async fn write(desk: &Desk, placed: Placed, tell: Named, repeated: bool, now: Timestamp) -> Reply {
    let call = placed.call.clone();
    let mut found = if repeated { placed_at(desk, &call).await? } else { None };
    if found.is_none() {
        let profiles = match tell.is_empty() {
            true => BTreeMap::new(),
            false => desk.profiles().all().await.map_err(Problem::unavailable)?,
        };
        let told = callback::resolve(tell.clone(), &profiles, &desk.outbound);
        let placed = Placed { tell: told.map_err(|error| Problem::Invalid(error.to_string()))?, ..placed.clone() };
        if let Order::Outbound { target: Target::Menu(menu), .. } = &placed.order {
            check_menu(desk, &placed.app, menu).await?;
        }
        let event = Event {
            id: EventId::of(&["placed", call.as_str()]),
            subject: Subject::Call { kind: Kind::Placed, app: placed.app.clone(), partition: Partition::of(&call) },
            about: call.to_string(),
            source: BY.to_owned(),
            time: now,
            extra: Vec::new(),
            data: json(&placed).into(),
        };
        let appended = desk.bus.append(&event, None).await.map_err(Problem::unavailable)?;
        found = appended.duplicate.then_some(appended.seq);
    }
    if let Some(seq) = found {
        let before = desk.bus.event(Stream::Calls, seq).await.map_err(Problem::unavailable)?;
        let before: Option<Placed> = before.and_then(|before| serde_json::from_slice(&before.event.data).ok());
        let same = before.is_some_and(|mut before| {
            let named_before = std::mem::take(&mut before.tell);
            before == placed && callback::names(&named_before) == tell
        });
        if !same {
            let todo = "this Idempotency-Key stands for another call; use a new key for each call";
            return Err(Problem::Conflict(todo.to_owned()));
        }
    }
    Ok(Accepted(Ordered { call }))
}

/// Whether the app's policy in force has such a menu. Where code decides for it nobody can say.
async fn check_menu(desk: &Desk, app: &AppName, menu: &str) -> Result<(), Problem> {
    if menu.len() > MENU_BYTES_MAX {
        return Err(Problem::Invalid(format!("target.menu: at most {MENU_BYTES_MAX} bytes")));
    }
    let policies = desk.policies();
    let history = policies.history(app).await.map_err(Problem::unavailable)?;
    let Some(in_force) = newest(&history, false) else { return Ok(()) };
    let revision = &in_force.what.revision;
    let mut menus = desk.menus.lock().await;
    if menus.get(app).is_none_or(|(of, _)| of != revision) {
        let bundle = policies.bundle(revision).await.map_err(Problem::unavailable)?;
        let Some(bundle) = bundle else { return Ok(()) };
        let loaded = spawn_blocking(move || bundle.load()).await.map_err(Problem::unavailable)?;
        let Ok(policy) = loaded else { return Ok(()) };
        menus.insert(app.clone(), (revision.clone(), policy.menus().map(str::to_owned).collect()));
    }
    let known: Vec<&str> = menus.get(app).into_iter().flat_map(|(_, menus)| menus).map(String::as_str).collect();
    if known.contains(&menu) {
        return Ok(());
    }
    let hint = suggestion(menu, &known);
    Err(Problem::Invalid(format!("target.menu: the policy of {app} has no menu {menu:?}; {hint}")))
}

/// Whom to tell, as the parameter `callback` says: a JSON document, or the text of one.
fn named(callback: Option<&RawValue>, family: Family) -> Result<Named, Problem> {
    let Some(callback) = callback else { return Ok(Named::new()) };
    let text = serde_json::from_str::<String>(callback.get()).unwrap_or_else(|_| callback.get().to_owned());
    let named = callback::parse(&text, family).map_err(|error| Problem::Invalid(error.to_string()))?;
    // Nobody to be told of a moment is the same as no word of it.
    Ok(named.into_iter().filter(|(_, named)| !named.is_empty()).collect())
}

/// The same key of the same app is the same call.
fn id_of(app: &AppName, key: &[u8]) -> Result<CallId, Problem> {
    let text = str::from_utf8(key).ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
    let text =
        text.ok_or_else(|| Problem::Invalid(format!("Idempotency-Key: 1 to {KEY_BYTES_MAX} visible characters")))?;
    let digest = EventId::of(&["placed by key", app.as_str(), text]);
    CallId::new(format!("placed-{}", &digest.as_str()[..32])).map_err(Problem::unavailable)
}

/// Nobody can guess it.
fn random() -> Result<String, Problem> {
    let halves = [getrandom::u64(), getrandom::u64()];
    let [Ok(one), Ok(other)] = halves else { return Err(Problem::Unavailable("there is no randomness".to_owned())) };
    Ok(format!("{one:016x}{other:016x}"))
}

/// The menus of each app's policy, with the revision they are of.
pub(crate) type Menus = HashMap<AppName, (String, Vec<String>)>;

/// Where the orders stand, as the log has them.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    seqs: HashMap<CallId, u64>,
    by_age: VecDeque<CallId>,
    last_seq: u64,
}

impl Orders {
    async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        let mut events = bus.events(&Filter::Kind(Kind::Placed), self.last_seq);
        while let Some(Recorded { seq, event }) = events.next().await? {
            if let Ok(call) = CallId::new(event.about)
                && !self.seqs.contains_key(&call)
            {
                self.seqs.insert(call.clone(), seq);
                self.by_age.push_back(call);
            }
            if self.by_age.len() > ORDERS_MAX
                && let Some(oldest) = self.by_age.pop_front()
            {
                self.seqs.remove(&oldest);
            }
            // Whoever asks may be gone before the end, and the next one goes on from here.
            self.last_seq = seq;
        }
        self.last_seq = events.passed_seq();
        Ok(())
    }
}
