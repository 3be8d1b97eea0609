//! The listener: the token, what is nowhere, drain.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bus::{Bus, Clock};
use delivery::{Profiles, Register};
use outbound::Outbound;
use proto::{AppName, WalletId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use views::Store;
use workers::policies::Policies;

use crate::flagged::FlaggedCalls;
use crate::lists::Lists;
use crate::placing::{Menus, Orders};
use crate::problem::Problem;
use crate::routes::{self, V1};
use crate::token::Token;
use crate::wallet_list::WalletList;

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
    pub menus: Mutex<Menus>,
    pub flagged: Mutex<FlaggedCalls>,
    pub wallets: Mutex<WalletList>,
    pub lists: Mutex<Lists>,
    /// The OpenAPI document.
    pub document: Arc<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`
    status: &'static str,
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
        let (guarded, open, document) = routes::all().finish();
        let desk = Arc::new(Desk {
            document: Arc::new(document),
            bus: self.bus,
            views: self.views,
            outbound: self.outbound,
            clock: Clock::System,
            token: self.settings.token,
            apps: self.settings.apps,
            region: self.settings.region,
            payers: self.settings.payers,
            orders: Mutex::default(),
            menus: Mutex::default(),
            flagged: Mutex::default(),
            wallets: Mutex::default(),
            lists: Mutex::default(),
        });
        axum::serve(self.listener, router(desk, guarded, open)).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

fn router(desk: Arc<Desk>, guarded: Router<Arc<Desk>>, open: Router<Arc<Desk>>) -> Router {
    let guarded = guarded
        .fallback(nothing_here)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(from_fn_with_state(Arc::clone(&desk), require_token));
    let all = open.nest(V1, guarded).fallback(nothing_here);
    all.method_not_allowed_fallback(async || Problem::Method).with_state(desk)
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
        "such address; see /v1/calls, /v1/cdrs, /v1/flagged, /v1/views, /v1/wallets, /v1/decks/<name>, /v1/policies/<app>, /v1/lists, /v1/destinations, /v1/profiles, /v1/deliveries, /v1/rejected, and /v1/openapi.json for all of them"
            .to_owned(),
    )
}

/// Whether this process can read and ask. Says nothing about anybody's calls, so it needs no token.
pub(crate) async fn health(State(desk): State<Arc<Desk>>) -> Result<Json<Health>, Problem> {
    desk.bus.healthy().map_err(Problem::Unavailable)?;
    Ok(Json(Health { status: "ok" }))
}

/// The same for everybody who runs this version, and no secret: it needs no token, so that tools that know nothing of
/// tokens can read it.
pub(crate) async fn document(State(desk): State<Arc<Desk>>) -> Json<Arc<Value>> {
    Json(Arc::clone(&desk.document))
}
