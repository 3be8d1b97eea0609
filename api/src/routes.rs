//! The table of routes: path, handler, and what it does in one sentence. The router and the document are made of it.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};
use serde_json::Value;

use crate::openapi::{Described, Document, Operation, op};
use crate::server::{self, Desk};
use crate::{
    calls, cdrs, decks, deliveries, destinations, flagged, lists, placing, policies, profiles, rejected, standing,
    wallet_statement, wallets,
};

/// Beneath it the token is needed, but for what is open to everybody.
pub(crate) const V1: &str = "/v1";

const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;

/// The only way to the router, so that no route is missing in the document.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Within [`V1`].
    guarded: Router<Arc<Desk>>,
    open: Router<Arc<Desk>>,
    tag: &'static str,
    document: Document,
}

/// All there are.
pub(crate) fn all() -> Routes {
    Routes::new()
        .about("calls", "Calls that came in, and calls that we place.")
        .get("/v1/calls", calls::list, op("listCalls", "Lists calls, the newest first."))
        .post(
            "/v1/calls/outbound",
            placing::outbound,
            op("placeCall", "Calls somebody, who hears a text, is connected, or is led by the app's policy.")
                .or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/calls/click-to-call",
            placing::click_to_call,
            op("clickToCall", "Calls two, one after the other, and joins them.").or([NOT_FOUND, CONFLICT]),
        )
        .get(
            "/v1/calls/{id}",
            calls::show,
            op("showCall", "Shows a call with all its events, and how it stands if we placed it.").or([NOT_FOUND]),
        )
        .delete(
            "/v1/calls/{id}",
            placing::hang_up,
            op("hangUp", "Ends a call that we placed.").or([NOT_FOUND, CONFLICT]),
        )
        .about("CDRs", "What calls came to.")
        .get("/v1/cdrs", cdrs::list, op("listCdrs", "Lists what calls came to, as a page or all of a time as a file."))
        .get("/v1/flagged", flagged::list, op("listFlagged", "Lists calls whose money somebody should look at."))
        .about("wallets", "Who pays: balances, histories, and money coming in.")
        .get("/v1/wallets", wallets::list, op("listWallets", "Lists wallets by name, a thousand at a time."))
        .get(
            "/v1/wallets/{wallet}",
            wallets::show,
            op("showWallet", "Shows what a wallet has, its grants and its open holds.").or([NOT_FOUND]),
        )
        .patch(
            "/v1/wallets/{wallet}",
            wallets::change,
            op("changeWallet", "Changes status, credit limit or limits; what is absent stays.").or([CONFLICT]),
        )
        .get(
            "/v1/wallets/{wallet}/ledger",
            wallets::ledger,
            op("showLedger", "Lists the newest postings, each with the balance after it and its cause.")
                .or([NOT_FOUND]),
        )
        .get(
            "/v1/wallets/{wallet}/statement",
            wallet_statement::show,
            op("showStatement", "Opening balance, every posting of a time, closing balance.").or([NOT_FOUND]),
        )
        .post(
            "/v1/wallets/{wallet}/topups",
            wallets::top_up,
            op("topUp", "Puts money into a wallet. Once for each id, however often it is sent.").or([CONFLICT]),
        )
        .post(
            "/v1/wallets/{wallet}/grants",
            wallets::grant,
            op("grant", "Puts money with terms into a wallet: a kind, a turn, an end. Once for each id.")
                .or([CONFLICT]),
        )
        .post(
            "/v1/wallets/{wallet}/refunds",
            wallets::refund,
            op("refund", "Gives back what a call cost, or a part of it. Once for each id.").or([CONFLICT]),
        )
        .post(
            "/v1/wallets/{wallet}/corrections",
            wallets::correct,
            op("correct", "Sets what a call should have cost. Once for each id.").or([CONFLICT]),
        )
        .get(
            "/v1/wallets/{wallet}/verify",
            wallets::verify,
            op("verifyWallet", "Compares what admission says of a wallet with what the log says."),
        )
        .post(
            "/v1/wallets/{wallet}/rebuild",
            wallets::rebuild,
            op("rebuildWallet", "Loads a wallet into admission anew. Safe at any time."),
        )
        .about("price lists", "Price lists and their versions.")
        .put(
            "/v1/decks/{deck}",
            decks::put,
            op("importDeck", "Puts a price list in force, now or later, or says what would change.").or([CONFLICT]),
        )
        .get(
            "/v1/decks/{deck}",
            decks::get,
            op("showDeck", "Shows which version of a price list is in force.").or([NOT_FOUND]),
        )
        .get(
            "/v1/decks/{deck}/versions",
            decks::versions,
            op("listDeckVersions", "Lists the versions of a price list, the one that begins last on top.")
                .or([NOT_FOUND]),
        )
        .get(
            "/v1/decks/{deck}/diff",
            decks::diff::show,
            op("compareDecks", "Says what changes from one version to another.").or([NOT_FOUND]),
        )
        .get(
            "/v1/decks/{deck}/price",
            decks::price::price,
            op("priceCall", "Says what a call costs, step by step.").or([NOT_FOUND]),
        )
        .about("policies", "What decides for an app, and since when.")
        .get(
            "/v1/policies/{app}",
            policies::show,
            op("showPolicies", "Lists the policies that were in force, the newest first, and what workers decide by.")
                .or([NOT_FOUND]),
        )
        .post(
            "/v1/policies/{app}",
            policies::push,
            op("pushPolicy", "Checks a policy as a worker would, and puts it in force.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/policies/{app}/rollback",
            policies::rollback,
            op("rollBackPolicy", "Puts an earlier policy in force again.").or([NOT_FOUND, CONFLICT]),
        )
        .delete(
            "/v1/policies/{app}/shadow",
            policies::end_shadow,
            op("endShadow", "Ends the policy that decides beside the one in force.").or([NOT_FOUND, CONFLICT]),
        )
        .get(
            "/v1/policies/{app}/{revision}",
            policies::text,
            op("showPolicy", "Shows the text of a policy and its list files, as it was put in force.").or([NOT_FOUND]),
        )
        .about("lists", "Live lists, which policies ask and operators edit while calls go on.")
        .get("/v1/lists", lists::all, op("listLists", "Lists the live lists."))
        .get(
            "/v1/lists/{list}",
            lists::show,
            op("showList", "Lists the entries, page by page, or says whether one is there.").or([NOT_FOUND]),
        )
        .post("/v1/lists/{list}", lists::change, op("changeList", "Adds, removes or replaces entries.").or([CONFLICT]))
        .about("destinations", "Whom events are delivered to.")
        .get("/v1/destinations", destinations::all, op("listDestinations", "Lists the destinations."))
        .put(
            "/v1/destinations/{destination}",
            destinations::put,
            op("putDestination", "Makes a destination, or another of one that is there.").or([CONFLICT]),
        )
        .get(
            "/v1/destinations/{destination}",
            destinations::show,
            op("showDestination", "Shows a destination, and how it stands.").or([NOT_FOUND]),
        )
        .delete(
            "/v1/destinations/{destination}",
            destinations::remove,
            op("removeDestination", "Removes a destination, and shows what it was.").or([NOT_FOUND, CONFLICT]),
        )
        .get(
            "/v1/destinations/{destination}/preview",
            destinations::preview,
            op("previewDestination", "Shows what would be sent of an event. Sends nothing.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/destinations/{destination}/pause",
            destinations::pause,
            op("pauseDestination", "Lets what is to be delivered wait.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/destinations/{destination}/resume",
            destinations::resume,
            op("resumeDestination", "Delivers again, beginning with what waited.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/destinations/{destination}/rotate",
            destinations::rotate,
            op("rotateSecret", "Signs with a new secret; for a while with the one before too.")
                .or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/destinations/{destination}/retry",
            deliveries::retry_all,
            op("retryDeliveries", "A step of retrying what was given up; again until there is no more."),
        )
        .post(
            "/v1/destinations/{destination}/replay",
            deliveries::replay,
            op("replayDeliveries", "A step of delivering a time's events once more; again until there is no more.")
                .or([NOT_FOUND]),
        )
        .about("profiles", "Callback profiles, as calls that we place name them.")
        .get("/v1/profiles", profiles::list, op("listProfiles", "Lists the profiles in the order they were created."))
        .post("/v1/profiles", profiles::create, op("createProfile", "Makes a profile.").or([CONFLICT]))
        .get("/v1/profiles/{profile}", profiles::show, op("showProfile", "Shows a profile.").or([NOT_FOUND]))
        .patch(
            "/v1/profiles/{profile}",
            profiles::change,
            op("changeProfile", "Changes what is given, and nothing else.").or([NOT_FOUND, CONFLICT]),
        )
        .delete(
            "/v1/profiles/{profile}",
            profiles::remove,
            op("removeProfile", "Removes a profile, and shows what it was.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/profiles/{profile}/duplicate",
            profiles::duplicate,
            op("duplicateProfile", "Makes a new profile as this one is, but for what is given.")
                .or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/profiles/{profile}/enable",
            profiles::enable,
            op("enableProfile", "Tells a profile again, beginning with what waited.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/profiles/{profile}/disable",
            profiles::disable,
            op("disableProfile", "Lets what a profile is to be told wait.").or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/profiles/{profile}/preview",
            profiles::preview,
            op("previewProfile", "Shows what a profile would be told of a call. Sends nothing.")
                .or([NOT_FOUND, CONFLICT]),
        )
        .post(
            "/v1/profiles/{profile}/retrigger",
            profiles::retrigger,
            op("retriggerProfile", "Tells again what was told or given up.").or([NOT_FOUND, CONFLICT]),
        )
        .get("/v1/profiles/{profile}/report", profiles::report, op("reportProfile", "Counts what a profile was told."))
        .about("deliveries", "What became of everything that was to be delivered.")
        .get("/v1/deliveries", deliveries::list, op("listDeliveries", "Lists deliveries, the newest first."))
        .get(
            "/v1/deliveries/dead",
            deliveries::dead,
            op("listDead", "Counts what was given up, by destination and cause."),
        )
        .get("/v1/deliveries/{delivery}", deliveries::show, op("showDelivery", "Shows a delivery.").or([NOT_FOUND]))
        .post(
            "/v1/deliveries/{delivery}/retry",
            deliveries::retry,
            op("retryDelivery", "Tries again what was given up.").or([NOT_FOUND, CONFLICT]),
        )
        .about("installation", "How this installation stands.")
        .get("/v1/views", standing::show, op("showViews", "Says how far the tables are behind the log."))
        .get("/v1/rejected", rejected::list, op("listRejected", "Lists callbacks that were turned away."))
        .get("/v1/openapi.json", server::document, op("showDocument", "This document.").open())
        .get("/healthz", server::health, op("health", "Whether this process can read and ask.").open())
}

macro_rules! verbs {
    ($($verb:ident $filter:ident),*) => {
        impl Routes {
            $(fn $verb<H, T, D>(self, path: &str, handler: H, operation: Operation) -> Self
            where
                H: Handler<T, Arc<Desk>> + Described<D>,
                T: 'static,
            {
                self.on(MethodFilter::$filter, stringify!($verb), path, handler, operation)
            })*
        }
    };
}

verbs!(get GET, put PUT, post POST, patch PATCH, delete DELETE);

impl Routes {
    fn new() -> Self {
        Self { guarded: Router::new(), open: Router::new(), tag: "", document: Document::new() }
    }

    /// What follows is about this noun.
    fn about(mut self, noun: &'static str, sentence: &str) -> Self {
        self.tag = noun;
        self.document.tag(noun, sentence);
        self
    }

    fn on<H, T, D>(mut self, filter: MethodFilter, verb: &str, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Arc<Desk>> + Described<D>,
        T: 'static,
    {
        let (open, route) = (operation.open, on(filter, handler));
        match path.strip_prefix(V1).filter(|_| !open) {
            Some(within) => self.guarded = self.guarded.route(within, route),
            None => self.open = self.open.route(path, route),
        }
        self.document.add::<H, D>(self.tag, verb, path, operation);
        self
    }

    /// Those within [`V1`] that need the token, the others, and the document of both.
    pub(crate) fn finish(self) -> (Router<Arc<Desk>>, Router<Arc<Desk>>, Value) {
        (self.guarded, self.open, self.document.finish())
    }
}
