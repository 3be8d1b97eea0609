//! How rows get into a table and out of it: as one JSON document, in the words of either engine.
//!
//! A batch of any size is one statement with one argument, and what is written as a struct is read as the same struct.

use std::fmt::Write;

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Text,
    Integer,
    /// Whole millionths of a currency. The name ends in `_micros`.
    Micros,
    Time,
    Boolean,
    Json,
}

/// A table, or a view of some; the columns as a struct of the same names has them.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub name: &'a str,
    pub columns: &'a [(&'a str, Holds)],
}

impl Holds {
    /// PostgreSQL's name; SQLite needs none.
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer | Self::Micros => "bigint",
            Self::Time => "timestamptz",
            Self::Boolean => "boolean",
            Self::Json => "jsonb",
        }
    }
}

impl Table<'_> {
    /// The column names with commas between.
    pub(crate) fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// A statement in which `r` is the rows of the first argument, a JSON list of objects.
    pub(crate) fn with_rows(&self, engine: Engine, statement: &str) -> String {
        let rows = match engine {
            Engine::Sqlite => {
                let columns = self.columns.iter().map(|(name, _)| format!("value->>'{name}' as {name}"));
                format!("select {} from json_each($1)", columns.collect::<Vec<_>>().join(", "))
            }
            Engine::Postgres => {
                let columns = self.columns.iter().map(|(name, holds)| format!("{name} {}", holds.name()));
                format!("select * from json_to_recordset($1::json) as x({})", columns.collect::<Vec<_>>().join(", "))
            }
        };
        format!("with r as ({rows}) {statement}")
    }

    /// Inserts the rows of the first argument; `conflict` says what becomes of those that are there.
    pub(crate) fn insert(&self, engine: Engine, conflict: &str) -> String {
        let (table, names) = (self.name, self.names());
        // SQLite reads `from r on conflict` as a join without this condition.
        self.with_rows(engine, &format!("insert into {table} ({names}) select {names} from r where true {conflict}"))
    }

    /// The table's rows, each as a JSON object; `rest` is what comes after `from`.
    pub(crate) fn select(&self, engine: Engine, rest: &str) -> String {
        let (table, names) = (self.name, self.names());
        let rows = format!("select {names} from {table} {rest}");
        match engine {
            Engine::Sqlite => {
                let mut pairs = String::new();
                for (name, holds) in self.columns {
                    let value = match holds {
                        Holds::Text | Holds::Integer | Holds::Micros | Holds::Time => (*name).to_owned(),
                        Holds::Boolean => format!("json(iif({name}, 'true', 'false'))"),
                        Holds::Json => format!("json({name})"),
                    };
                    let comma = if pairs.is_empty() { "" } else { ", " };
                    // Writing to a String cannot fail.
                    let _ = write!(pairs, "{comma}'{name}', {value}");
                }
                format!("select json_object({pairs}) from ({rows}) t")
            }
            Engine::Postgres => format!("select row_to_json(t)::text from ({rows}) t"),
        }
    }
}
