//! All rows of the SQL tables, alike in both engines.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use views::Store;

/// Table or view, and what its rows are ordered by.
const TABLES: [(&str, &str); 6] = [
    ("calls", "app, call"),
    ("decisions", "id"),
    ("cdr_legs", "cdr, leg_number"),
    ("cdrs", "cdr, leg_number"),
    ("wallet_entries", "id, entry_number"),
    ("wallet_ledger", "id, entry_number"),
];

/// By table.
pub type Rows = BTreeMap<&'static str, Vec<Value>>;

/// Every row of every table.
pub async fn all(store: &Store) -> Result<Rows> {
    let mut all = Rows::new();
    for (table, order) in TABLES {
        let rows: Vec<String> = match store {
            Store::Postgres { pool, .. } => {
                let sql = format!("select row_to_json(t)::text from {table} t order by {order}");
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await?
            }
            Store::Sqlite { pool, .. } => {
                let columns = format!("select name from pragma_table_info('{table}')");
                let columns: Vec<String> = sqlx::query_scalar(AssertSqlSafe(columns)).fetch_all(pool).await?;
                let pairs: Vec<String> = columns.iter().map(|name| format!("'{name}', {name}")).collect();
                let sql = format!("select json_object({}) from {table} order by {order}", pairs.join(", "));
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await?
            }
        };
        let rows = rows.iter().map(|row| Ok(alike(serde_json::from_str(row)?)));
        all.insert(table, rows.collect::<Result<_>>()?);
    }
    Ok(all)
}

/// SQLite has no times, no truth and no JSON of its own.
fn alike(mut row: Value) -> Value {
    for (name, value) in row.as_object_mut().into_iter().flatten() {
        match (name.as_str(), &*value) {
            ("overrun" | "estimate" | "unmatched" | "reserve", Value::Number(number)) => {
                *value = Value::Bool(number.as_u64() == Some(1));
            }
            ("price" | "grants", Value::String(text)) => *value = serde_json::from_str(text).unwrap_or_default(),
            (_, Value::String(text)) if name.ends_with("_at") => {
                if let Ok(time) = text.parse::<Timestamp>() {
                    *value = Value::String(time.to_string());
                }
            }
            _ => {}
        }
    }
    row
}
