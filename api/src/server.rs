//! The listener: routes, the token, body limits, drain.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use bus::{Bus, Clock};
use delivery::{Profiles, Register};
use outbound::Outbound;
use proto::{AppName, WalletId};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use views::Store;
use workers::policies::Policies;

use crate::flagged::FlaggedCalls;
use crate::lists::Lists;
use crate::placing::Orders;
use crate::problem::Problem;
use crate::token::Token;
use crate::wallet_list::WalletList;
use crate::{
    calls, cdrs, decks, deliveries, destinations, flagged, lists, placing, policies, profiles, rejected, standing,
    wallet_statement, wallets,
};

/// Bodies other than price lists are short.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the API is told at start.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    pub listen: SocketAddr,
    pub token: Token,
    /// The apps whose policies can be changed.
    pub apps: Vec<AppName>,
    /// With which ids of new callback profiles begin.
    pub region: String,
    /// Who pays for the calls that each app places; none where no platform is named, so that nobody can be called.
    pub payers: Option<BTreeMap<AppName, WalletId>>,
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listen for the API on {address}: {cause}; is another process there? set [api] listen")]
pub struct BuildError {
    address: SocketAddr,
    cause: io::Error,
}

/// A bound API, ready to run.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    settings: ApiSettings,
    bus: Bus,
    views: Store,
    outbound: Outbound,
}

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub bus: Bus,
    pub views: Store,
    /// What may be called, for checking what is to be saved. It calls nobody.
    pub outbound: Outbound,
    pub clock: Clock,
    pub token: Token,
    pub apps: Vec<AppName>,
    pub region: String,
    pub payers: Option<BTreeMap<AppName, WalletId>>,
    pub orders: Mutex<Orders>,
    pub flagged: Mutex<FlaggedCalls>,
    pub wallets: Mutex<WalletList>,
    pub lists: Mutex<Lists>,
}

impl Desk {
    pub(crate) fn policies(&self) -> Policies {
        Policies::new(self.bus.clone(), self.clock.clone())
    }

    pub(crate) fn destinations(&self) -> Register {
        Register::new(self.bus.clone(), self.clock.clone())
    }

    pub(crate) fn profiles(&self) -> Profiles {
        Profiles::new(self.bus.clone(), self.clock.clone())
    }
}

impl Api {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn build(settings: ApiSettings, bus: Bus, views: Store, outbound: Outbound) -> Result<Self, BuildError> {
        let address = settings.listen;
        let listener = TcpListener::bind(address).await.map_err(|cause| BuildError { address, cause })?;
        Ok(Self { listener, settings, bus, views, outbound })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.listen)
    }

    /// Serves until asked to stop, then answers what it has taken.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let desk = Arc::new(Desk {
            bus: self.bus,
            views: self.views,
            outbound: self.outbound,
            clock: Clock::System,
            token: self.settings.token,
            apps: self.settings.apps,
            region: self.settings.region,
            payers: self.settings.payers,
            orders: Mutex::default(),
            flagged: Mutex::default(),
            wallets: Mutex::default(),
            lists: Mutex::default(),
        });
        axum::serve(self.listener, router(desk)).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

fn router(desk: Arc<Desk>) -> Router {
    let decks = put(decks::put).get(decks::get).layer(DefaultBodyLimit::max(decks::BYTES_MAX));
    let policies = get(policies::show).post(policies::push).layer(DefaultBodyLimit::max(policies::BYTES_MAX));
    let lists = get(lists::show).post(lists::change).layer(DefaultBodyLimit::max(lists::BYTES_MAX));
    let v1 = Router::new()
        .route("/calls", get(calls::list))
        .route("/calls/outbound", post(placing::outbound))
        .route("/calls/click-to-call", post(placing::click_to_call))
        .route("/calls/{id}", get(calls::show).delete(placing::hang_up))
        .route("/cdrs", get(cdrs::list))
        .route("/views", get(standing::show))
        .route("/wallets", get(wallets::list))
        .route("/wallets/{id}", get(wallets::show).patch(wallets::change))
        .route("/wallets/{id}/ledger", get(wallets::ledger))
        .route("/wallets/{id}/verify", get(wallets::verify))
        .route("/wallets/{id}/rebuild", post(wallets::rebuild))
        .route("/wallets/{id}/statement", get(wallet_statement::show))
        .route("/wallets/{id}/topups", post(wallets::top_up))
        .route("/wallets/{id}/grants", post(wallets::grant))
        .route("/wallets/{id}/refunds", post(wallets::refund))
        .route("/wallets/{id}/corrections", post(wallets::correct))
        .route("/decks/{name}", decks)
        .route("/decks/{name}/versions", get(decks::versions))
        .route("/decks/{name}/diff", get(decks::diff::show))
        .route("/decks/{name}/price", get(decks::price::price))
        .route("/policies/{app}", policies)
        .route("/policies/{app}/rollback", post(policies::rollback))
        .route("/policies/{app}/shadow", delete(policies::end_shadow))
        .route("/policies/{app}/{revision}", get(policies::text))
        .route("/lists", get(lists::all))
        .route("/lists/{name}", lists)
        .route("/destinations", get(destinations::all))
        .route("/destinations/{name}", put(destinations::put).get(destinations::show).delete(destinations::remove))
        .route("/destinations/{name}/preview", get(destinations::preview))
        .route("/destinations/{name}/pause", post(destinations::pause))
        .route("/destinations/{name}/resume", post(destinations::resume))
        .route("/destinations/{name}/rotate", post(destinations::rotate))
        .route("/destinations/{name}/retry", post(deliveries::retry_all))
        .route("/destinations/{name}/replay", post(deliveries::replay))
        .route("/profiles", get(profiles::list).post(profiles::create))
        .route("/profiles/{id}", get(profiles::show).patch(profiles::change).delete(profiles::remove))
        .route("/profiles/{id}/duplicate", post(profiles::duplicate))
        .route("/profiles/{id}/enable", post(profiles::enable))
        .route("/profiles/{id}/disable", post(profiles::disable))
        .route("/profiles/{id}/preview", post(profiles::preview))
        .route("/profiles/{id}/retrigger", post(profiles::retrigger))
        .route("/profiles/{id}/report", get(profiles::report))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/dead", get(deliveries::dead))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/retry", post(deliveries::retry))
        .route("/rejected", get(rejected::list))
        .route("/flagged", get(flagged::list))
        .fallback(nothing_here)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(from_fn_with_state(Arc::clone(&desk), require_token));
    Router::new()
        .route("/healthz", get(health))
        .nest("/v1", v1)
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(desk)
}

async fn require_token(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match header.and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && desk.token.admits(token.trim()) => {
            next.run(request).await
        }
        _ => Problem::Unauthorized.into_response(),
    }
}

async fn nothing_here() -> Problem {
    Problem::NotFound(
        "such address; see /v1/calls, /v1/cdrs, /v1/flagged, /v1/views, /v1/wallets, /v1/decks/<name>, /v1/policies/<app>, /v1/lists, /v1/destinations, /v1/profiles, /v1/deliveries, /v1/rejected"
            .to_owned(),
    )
}

/// Whether this process can read and ask. Says nothing about anybody's calls, so it needs no token.
async fn health(State(desk): State<Arc<Desk>>) -> Response {
    match desk.bus.healthy() {
        Ok(()) => Json(json!({ "status": "ok" })).into_response(),
        Err(cause) => Problem::Unavailable(cause).into_response(),
    }
}
