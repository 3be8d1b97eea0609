//! The names an expression may read, event by event.
//!
//! A name nobody sets is a typing error, and in CEL it would only fail when a call is waiting; so names are checked
//! when the file is loaded. Fields of the callback have Sinch's own spelling.

use proto::Kind;

use crate::hours::Hours;
use crate::list::Lists;

/// Where an expression stands, which decides what it may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Ice,
    Ace,
    Pie,
    Dice,
    Notify,
    /// The `wallet:` expression, which is asked for any event and before the wallet is known.
    Wallet,
    /// Outside a policy: any recorded event, whatever is in it.
    Event,
}

/// Names that the file itself gives.
#[derive(Debug, Default)]
pub(crate) struct Defined {
    pub(crate) lists: Lists,
    pub(crate) hours: Hours,
}

/// What stands behind a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Text, a number or a truth value.
    Leaf,
    /// A map with keys of the caller's or the policy's choice.
    Open,
    Record(Fields),
}

pub(crate) type Fields = &'static [(&'static str, Shape)];

const MONEY: Fields = &[("currencyId", Shape::Leaf), ("amount", Shape::Leaf)];
const ENDPOINT: Fields = &[("type", Shape::Leaf), ("endpoint", Shape::Leaf)];
const AMD: Fields = &[("status", Shape::Leaf), ("reason", Shape::Leaf), ("duration", Shape::Leaf)];

const COMMON: Fields = &[
    ("id", Shape::Leaf),
    ("event", Shape::Leaf),
    ("timestamp", Shape::Leaf),
    ("version", Shape::Leaf),
    ("custom", Shape::Leaf),
    ("applicationKey", Shape::Leaf),
    ("conferenceId", Shape::Leaf),
    ("user", Shape::Leaf),
    ("cookies", Shape::Open),
    ("memory", Shape::Open),
];
const ICE: Fields = &[
    ("cli", Shape::Leaf),
    ("to", Shape::Record(ENDPOINT)),
    ("domain", Shape::Leaf),
    ("originationType", Shape::Leaf),
    ("duration", Shape::Leaf),
    ("rdnis", Shape::Leaf),
    ("userRate", Shape::Record(MONEY)),
    ("callHeaders", Shape::Open),
    ("callResourceUrl", Shape::Leaf),
];
const ACE: Fields = &[("amd", Shape::Record(AMD)), ("callResourceUrl", Shape::Leaf)];
const PIE: Fields = &[("reference", Shape::Leaf)];
const DICE: Fields = &[
    ("result", Shape::Leaf),
    ("reason", Shape::Leaf),
    ("duration", Shape::Leaf),
    ("from", Shape::Leaf),
    ("to", Shape::Record(ENDPOINT)),
    ("debit", Shape::Record(MONEY)),
    ("userRate", Shape::Record(MONEY)),
    ("callHeaders", Shape::Open),
];
const NOTIFY: Fields = &[
    ("type", Shape::Leaf),
    ("destination", Shape::Leaf),
    ("amd", Shape::Record(AMD)),
    ("errorCode", Shape::Leaf),
    ("errorMsg", Shape::Leaf),
];

const MENU: Fields =
    &[("id", Shape::Leaf), ("type", Shape::Leaf), ("value", Shape::Leaf), ("inputMethod", Shape::Leaf)];
const APP: Fields = &[("name", Shape::Leaf), ("wallet", Shape::Leaf)];
const WALLET: Fields = &[("available", Shape::Leaf), ("currency", Shape::Leaf)];
const PRICE: Fields = &[
    ("destination", Shape::Leaf),
    ("prefix", Shape::Leaf),
    ("perMinute", Shape::Leaf),
    ("connectFee", Shape::Leaf),
    ("currency", Shape::Leaf),
];

const EVENT: Fields =
    &[("kind", Shape::Leaf), ("app", Shape::Leaf), ("call", Shape::Leaf), ("time", Shape::Leaf), ("id", Shape::Leaf)];

/// Everything an expression of a policy can begin with.
pub(crate) const ROOTS: &[&str] = &["call", "menu", "app", "wallet", "price", "lists", "hours", "now", "env"];

/// A name that may not be read here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl Scope {
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Ice => Some(Self::Ice),
            Kind::Ace => Some(Self::Ace),
            Kind::Pie => Some(Self::Pie),
            Kind::Dice => Some(Self::Dice),
            Kind::Notify => Some(Self::Notify),
            Kind::Unknown
            | Kind::Decided
            | Kind::Emitted
            | Kind::Asked
            | Kind::Placed
            | Kind::Dialled
            | Kind::Progressed
            | Kind::Settled => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ice => "ice",
            Self::Ace => "ace",
            Self::Pie => "pie",
            Self::Dice => "dice",
            Self::Notify => "notify",
            Self::Wallet => "the wallet expression",
            Self::Event => "an event",
        }
    }

    fn call_fields(self) -> Vec<Fields> {
        match self {
            Self::Ice => vec![COMMON, ICE],
            Self::Ace => vec![COMMON, ACE],
            Self::Pie => vec![COMMON, PIE],
            Self::Dice => vec![COMMON, DICE],
            Self::Notify => vec![COMMON, NOTIFY],
            Self::Wallet => vec![COMMON, ICE, ACE, PIE],
            Self::Event => Vec::new(),
        }
    }

    /// Checks a dotted name such as `call.to.endpoint`. Lists are checked elsewhere.
    pub(crate) fn check(self, path: &[&str], defined: &Defined) -> Result<(), Unknown> {
        let (root, fields) = path.split_first().map_or(("", path), |(root, fields)| (*root, fields));
        if self == Self::Event {
            return match (root, fields) {
                ("event", [first, below @ ..]) => self.check_fields(root, first, below, &[EVENT]),
                ("data", [_, ..]) => Ok(()),
                ("event" | "data", []) => {
                    Err(unknown(format!("{root} alone says nothing"), "name a field: event.kind"))
                }
                _ => {
                    Err(unknown(format!("unknown name '{root}'"), crate::errors::suggestion(root, &["event", "data"])))
                }
            };
        }
        let tables = match root {
            "call" => self.call_fields(),
            "menu" if self == Self::Pie => vec![MENU],
            "menu" => return Err(unknown("menu is known only in pie", "keep it in a cookie or with remember")),
            "app" => vec![APP],
            "wallet" | "price" if self == Self::Wallet => {
                return Err(unknown(format!("{root} is not known before the wallet is"), "read call, app, now or env"));
            }
            "wallet" | "price" if matches!(self, Self::Dice | Self::Notify) => {
                let what = format!("{root} is not known in {}", self.name());
                return Err(unknown(what, "nothing is paid for here: what the call cost is in its CDR"));
            }
            "wallet" => vec![WALLET],
            "price" => vec![PRICE],
            "hours" => {
                return match fields {
                    [name] if defined.hours.names().any(|known| known == *name) => Ok(()),
                    [name] => {
                        let known: Vec<&str> = defined.hours.names().collect();
                        let what = format!("there are no hours {}", crate::errors::quoted(name));
                        Err(unknown(what, crate::errors::suggestion(name, &known)))
                    }
                    _ => Err(unknown("name one of the hours", "write hours.name")),
                };
            }
            "now" if fields.is_empty() => return Ok(()),
            "now" => return Err(unknown("now is a number of seconds and has no fields", "write now alone")),
            "env" => {
                return match fields {
                    [_] => Ok(()),
                    _ => Err(unknown("env wants the name of one variable", "write env.NAME")),
                };
            }
            _ => return Err(unknown(format!("unknown name '{root}'"), crate::errors::suggestion(root, ROOTS))),
        };
        let [first, below @ ..] = fields else {
            return Err(unknown(
                format!("{root} alone says nothing"),
                format!("name a field: {root}.{}", tables[0][0].0),
            ));
        };
        self.check_fields(root, first, below, &tables)
    }

    fn check_fields(self, path: &str, first: &str, below: &[&str], tables: &[Fields]) -> Result<(), Unknown> {
        let Some((_, shape)) = tables.iter().copied().flatten().find(|(name, _)| name == &first) else {
            return Err(self.no_field(path, first, tables));
        };
        let path = format!("{path}.{first}");
        match (shape, below) {
            (_, []) | (Shape::Open, [_]) => Ok(()),
            (Shape::Leaf, _) => {
                Err(unknown(format!("{path} is a single value and has no fields"), format!("write {path}")))
            }
            (Shape::Open, _) => Err(unknown(format!("the values of {path} have no fields"), "stop after the key")),
            (Shape::Record(fields), [first, below @ ..]) => self.check_fields(&path, first, below, &[fields]),
        }
    }

    fn no_field(self, path: &str, field: &str, tables: &[Fields]) -> Unknown {
        let what = format!("unknown name '{path}.{field}'");
        let elsewhere = [Self::Ice, Self::Ace, Self::Pie, Self::Dice, Self::Notify]
            .into_iter()
            .find(|scope| path == "call" && scope.call_fields().into_iter().flatten().any(|(name, _)| name == &field));
        if let Some(scope) = elsewhere {
            let keep = if matches!(scope, Self::Dice | Self::Notify) { "" } else { ": keep it with remember" };
            let hint = format!("only {} has it, this is {}{keep}", scope.name(), self.name());
            return unknown(what, hint);
        }
        let known: Vec<&str> = tables.iter().copied().flatten().map(|(name, _)| *name).collect();
        let hint = match crate::errors::nearest(field, &known) {
            Some(near) => format!("did you mean {path}.{near}?"),
            None => crate::errors::suggestion(field, &known),
        };
        unknown(what, hint)
    }
}

fn unknown(what: impl Into<String>, hint: impl Into<String>) -> Unknown {
    Unknown { what: what.into(), hint: hint.into() }
}
