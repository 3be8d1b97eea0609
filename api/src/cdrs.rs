//! `/v1/cdrs`: what calls came to, as a page, or all of a time as a file.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use proto::{AppName, CallId, Stream, WalletId};
use serde::Deserialize;
use serde_json::{Value, json};
use views::export::{Encoder, Format, told};
use views::{Cdr, CdrFilter, CdrPlace, Order, Store};

use crate::calls::LEVEL_WITHIN;
use crate::masked;
use crate::problem::Problem;
use crate::server::Desk;

/// CDRs of one page.
const CDRS_MAX: usize = 1_000;
const CDRS_DEFAULT: usize = 50;
/// CDRs of a file that are in memory at a time.
const ROWS_AT_ONCE: usize = 5_000;

/// `?since=&until=&app=&wallet=&call=&reveal=1`, and `limit=&after=` for a page or `format=` for a file; `since`
/// belongs to it, `until` does not. A call belongs to the time it ended.
#[derive(Debug, Deserialize)]
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
    format: Option<String>,
    #[serde(default)]
    reveal: u8,
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<CdrsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let CdrsQuery { since, until, app, wallet, call, limit, after, format, reveal } = query;
    let (filter, reveal) = (CdrFilter { app, wallet, call, since, until }, reveal != 0);
    let behind = desk.views.behind(&desk.bus, Stream::Calls, LEVEL_WITHIN).await.map_err(Problem::unavailable)?;
    if let Some(format) = format {
        let format = Format::parse(&format)
            .ok_or_else(|| Problem::Invalid(format!("{format:?} is no format; write csv, json or parquet")))?;
        return file(desk.views.clone(), filter, format, reveal);
    }
    let after = after.map(|after| after.parse::<CdrPlace>()).transpose().map_err(Problem::Invalid)?;
    let limit = limit.unwrap_or(CDRS_DEFAULT).min(CDRS_MAX);
    let rows = page(&desk.views, &filter, Order::NewestFirst, after, limit, reveal).await;
    let rows = rows.map_err(Problem::unavailable)?;
    let next = rows.last().filter(|_| rows.len() == limit).and_then(CdrPlace::of);
    let cdrs: Vec<Value> = rows.iter().map(|row| Value::Object(told(row))).collect();
    let mut page = json!({ "cdrs": cdrs });
    if let Some(next) = next {
        page["next"] = json!(next.to_string());
    }
    if behind > 0 {
        page["behind"] = json!(behind);
    }
    Ok(Json(page).into_response())
}

/// A file of any length, page by page. What goes wrong on the way breaks it off, so that nobody takes a part for the
/// whole.
fn file(store: Store, filter: CdrFilter, format: Format, reveal: bool) -> Result<Response, Problem> {
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
    Ok((headers, Body::from_stream(pages)).into_response())
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
