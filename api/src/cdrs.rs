//! `/v1/cdrs`: what calls came to, as a page, or all of a time as a file.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use proto::{AppName, CallId, Stream, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use views::export::{Encoder, Format, ToldCdr};
use views::{Cdr, CdrFilter, CdrPlace, Order, Store};

use crate::address::Query;
use crate::calls::{LEVEL_WITHIN, is_zero};
use crate::masked;
use crate::openapi::{Operation, Replies, Schemas};
use crate::problem::Problem;
use crate::reply::Either;
use crate::server::Desk;

/// CDRs of one page.
const CDRS_MAX: usize = 1_000;
const CDRS_DEFAULT: usize = 50;
/// CDRs of a file that are in memory at a time.
const ROWS_AT_ONCE: usize = 5_000;

/// `?since=&until=&app=&wallet=&call=&reveal=1`, and `limit=&after=` for a page or `format=` for a file; `since`
/// belongs to it, `until` does not. A call belongs to the time it ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CdrsQuery {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    app: Option<AppName>,
    wallet: Option<WalletId>,
    call: Option<CallId>,
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
    /// `csv`, `json` or `parquet`: a file, and not a page.
    format: Option<String>,
    #[serde(default)]
    reveal: u8,
}

/// A page, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Cdrs {
    cdrs: Vec<ToldCdr>,
    /// `after` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Events of the log that the tables do not have yet.
    #[serde(skip_serializing_if = "is_zero")]
    behind: u64,
}

/// All of a time, the oldest first.
#[derive(Debug)]
pub(crate) struct File(Response);

impl IntoResponse for File {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Replies for File {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        for format in Format::ALL {
            // A schema can say what a line of JSON is, and nothing of the others.
            let schema = match format {
                Format::Json => schemas.told::<ToldCdr>(),
                Format::Csv | Format::Parquet => json!({}),
            };
            operation.replies(StatusCode::OK, "As asked.", format.content_type(), schema);
        }
    }
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<CdrsQuery>,
) -> Result<Either<Json<Cdrs>, File>, Problem> {
    let CdrsQuery { since, until, app, wallet, call, limit, after, format, reveal } = query;
    let (filter, reveal) = (CdrFilter { app, wallet, call, since, until }, reveal != 0);
    let behind = desk.views.behind(&desk.bus, Stream::Calls, LEVEL_WITHIN).await.map_err(Problem::unavailable)?;
    if let Some(format) = format {
        let format = Format::parse(&format)
            .ok_or_else(|| Problem::Invalid(format!("{format:?} is no format; write csv, json or parquet")))?;
        return file(desk.views.clone(), filter, format, reveal).map(Either::Other);
    }
    let after = after.map(|after| after.parse::<CdrPlace>()).transpose().map_err(Problem::Invalid)?;
    let limit = limit.unwrap_or(CDRS_DEFAULT).min(CDRS_MAX);
    let rows = page(&desk.views, &filter, Order::NewestFirst, after, limit, reveal).await;
    let rows = rows.map_err(Problem::unavailable)?;
    let next = rows.last().filter(|_| rows.len() == limit).and_then(CdrPlace::of);
    let cdrs = rows.iter().map(ToldCdr::from).collect();
    Ok(Either::One(Json(Cdrs { cdrs, next: next.map(|next| next.to_string()), behind })))
}

/// A file of any length, page by page. What goes wrong on the way breaks it off, so that nobody takes a part for the
/// whole.
fn file(store: Store, filter: CdrFilter, format: Format, reveal: bool) -> Result<File, Problem> {
    let encoder = Encoder::new(format).map_err(Problem::unavailable)?;
    let pages = stream::try_unfold(Some((encoder, None)), move |state| {
        let (store, filter) = (store.clone(), filter.clone());
        async move {
            let Some((mut encoder, after)) = state else { return Ok::<_, views::Error>(None) };
            let rows = page(&store, &filter, Order::OldestFirst, after, ROWS_AT_ONCE, reveal).await?;
            let mut bytes = encoder.rows(&rows)?;
            match rows.last().filter(|_| rows.len() == ROWS_AT_ONCE).and_then(CdrPlace::of) {
                Some(last) => Ok(Some((Bytes::from(bytes), Some((encoder, Some(last)))))),
                None => {
                    bytes.extend(encoder.finish()?);
                    Ok(Some((Bytes::from(bytes), None)))
                }
            }
        }
    });
    let name = format!("attachment; filename=\"cdrs.{}\"", format.as_str());
    let headers = [(CONTENT_TYPE, format.content_type().to_owned()), (CONTENT_DISPOSITION, name)];
    Ok(File((headers, Body::from_stream(pages)).into_response()))
}

async fn page(
    store: &Store,
    filter: &CdrFilter,
    order: Order,
    after: Option<CdrPlace>,
    limit: usize,
    reveal: bool,
) -> Result<Vec<Cdr>, views::Error> {
    let mut rows = store.cdrs(filter, order, after, limit).await?;
    if !reveal {
        for row in &mut rows {
            for name in ["caller", "callee"] {
                if let Some(Value::String(number)) = row.get_mut(name) {
                    *number = masked::text(number);
                }
            }
        }
    }
    Ok(rows)
}
