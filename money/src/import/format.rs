//! The formats of rate sheets: what their columns are called, and which of ours they are.

use std::fmt;
use std::str::FromStr;

use csv::StringRecord;

use super::Reason;
use super::columns::COLUMNS;
use crate::currency::Currency;

/// Whose format a sheet is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeckFormat {
    /// Our own: every column has exactly its name.
    Callbus,
    /// The A–Z sheet of a carrier, under the headings that are common.
    Carrier,
    Astpp,
    Cgrates,
    Didww,
    Fusionpbx,
    Ivozprovider,
    Kazoo,
}

/// Text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a format of rate sheets: write {}", DeckFormat::ALL.map(DeckFormat::as_str).join(", "))]
pub struct NotAFormat;

/// Our column, and the headings it has in a format: lower-case letters and digits only.
///
/// Beside our own columns there are others, which [`super::columns`] reads: `country`, `rate_s` (per second), `first_s`,
/// `next_s`, `effective`, `ends`, what CGRateS splits in two, and columns whose rows are taken only when they say what
/// they must: `@on`, `@off`, `@empty`, `@zero`, `@outbound`, `@everywhere`. [`SAYS_NOTHING`] is about anything but the price.
type Headings = &'static [(&'static str, &'static [&'static str])];

pub(super) const SAYS_NOTHING: &str = "";

const CARRIER: Headings = &[
    (
        "prefix",
        &[
            "prefix",
            "prefixes",
            "code",
            "codes",
            "dialcode",
            "dialcodes",
            "dialingcode",
            "diallingcode",
            "dialprefix",
            "destinationcode",
            "destinationprefix",
            "destcode",
            "dstcode",
            "dstprefix",
            "fullcode",
        ],
    ),
    ("destination", &["destination", "destinationname", "description", "name", "network", "route", "zone", "area"]),
    ("country", &["country", "countryname"]),
    (
        "rate",
        &[
            "rate",
            "rates",
            "price",
            "cost",
            "ratemin",
            "rateminute",
            "rateperminute",
            "ratepermin",
            "pricemin",
            "priceminute",
            "priceperminute",
            "pricepermin",
            "costmin",
            "costminute",
            "costperminute",
            "costpermin",
            "permin",
            "perminute",
            "perminuterate",
            "perminutecost",
            "minuterate",
            "minuteprice",
            "sellrate",
        ],
    ),
    (
        "rate_s",
        &["ratesec", "ratesecond", "ratepersecond", "ratepersec", "pricepersecond", "costpersecond", "persecond"],
    ),
    (
        "connect_fee",
        &[
            "connectfee",
            "connectionfee",
            "connectcost",
            "connectioncost",
            "connectcharge",
            "connectioncharge",
            "setupfee",
            "setupcharge",
            "surcharge",
            "callsetupfee",
            "setup",
            "flagfall",
        ],
    ),
    (
        "increments",
        &["interval", "intervals", "increments", "billing", "billingincrement", "billingincrements", "billinginterval"],
    ),
    (
        "first_s",
        &[
            "initialincrement",
            "initialinterval",
            "firstincrement",
            "firstinterval",
            "initial",
            "minduration",
            "minimumduration",
            "minimum",
            "minimumtime",
            "mintime",
            "interval1",
        ],
    ),
    (
        "next_s",
        &[
            "increment",
            "nextincrement",
            "nextinterval",
            "subsequentincrement",
            "subsequentinterval",
            "additionalincrement",
            "recurringincrement",
            "subsequent",
            "intervaln",
            "interval2",
        ],
    ),
    ("currency", &["currency", "currencycode", "cur", "ccy"]),
    (
        "effective",
        &[
            "effective",
            "effectivedate",
            "effectivefrom",
            "effectiveon",
            "effdate",
            "validfrom",
            "startdate",
            "datefrom",
            "datestart",
        ],
    ),
    ("ends", &["enddate", "validto", "validuntil", "validtill", "expires", "expirydate", "expirationdate", "dateend"]),
    (SAYS_NOTHING, &["iso", "isocode", "countryiso", "isocountrycode", "mcc", "mnc", "mccmnc", "region", "continent"]),
];

const ASTPP: Headings = &[
    ("prefix", &["code"]),
    ("destination", &["destination"]),
    ("country", &["country"]),
    ("connect_fee", &["connectcost", "connectioncost"]),
    // The same field under its old and its new label.
    ("included_s", &["includedseconds", "gracetime"]),
    ("rate", &["perminutecost", "costmin"]),
    ("first_s", &["initialincrement"]),
    ("next_s", &["increment"]),
    (SAYS_NOTHING, &["precedence", "priority", "strip", "prepend"]),
];

const CGRATES: Headings = &[
    ("prefix", &["prefix"]),
    ("destination", &["destination", "destinationid", "destinationtag", "destinationstag"]),
    ("connect_fee", &["connectfee"]),
    ("rate", &["rate"]),
    ("unit_s", &["rateunit"]),
    ("next_s", &["rateincrement"]),
    ("start_s", &["groupintervalstart"]),
    ("rounding_method", &["roundingmethod"]),
    ("rounding_decimals", &["roundingdecimals"]),
    ("max_cost_amount", &["maxcost"]),
    ("max_cost_strategy", &["maxcoststrategy"]),
    ("currency", &["currency"]),
    (SAYS_NOTHING, &["id", "tag", "tpid", "ratestag", "ratesid"]),
];

const DIDWW: Headings = &[
    ("@everywhere", &["category"]),
    ("country", &["country"]),
    ("destination", &["network"]),
    ("prefix", &["prefix"]),
    ("rate", &["rate"]),
    ("connect_fee", &["connectionfee"]),
    ("first_s", &["initialincrement", "initialinterval"]),
    ("next_s", &["recurringincrement", "nextinterval"]),
    ("@off", &["rejectcalls"]),
    // The price that follows this one, and when it does.
    (
        SAYS_NOTHING,
        &[
            "nextrate",
            "nextconnectionfee",
            "nextinitialincrement",
            "nextrecurringincrement",
            "nextrejectcalls",
            "comment",
        ],
    ),
    ("ends", &["effectiveat"]),
];

const FUSIONPBX: Headings = &[
    ("prefix", &["digits"]),
    ("destination", &["description"]),
    ("rate", &["rate"]),
    // Its meaning has changed with the versions of FusionPBX.
    ("@zero", &["connectrate"]),
    ("first_s", &["connectincrement"]),
    ("next_s", &["talkincrement"]),
    ("currency", &["currency"]),
    ("effective", &["datestart"]),
    ("ends", &["dateend"]),
    ("@on", &["enabled"]),
    ("@outbound", &["lcrdirection"]),
    ("@empty", &["originationdigits"]),
    (
        SAYS_NOTHING,
        &[
            "lcruuid",
            "carrieruuid",
            "carrier",
            "carriername",
            "leadstrip",
            "trailstrip",
            "prefix",
            "suffix",
            "lcrprofile",
            "quality",
            "reliability",
            "cid",
            "random",
            "intrastaterate",
            "intralatarate",
        ],
    ),
];

const IVOZPROVIDER: Headings = &[
    ("destination", &["destinationname", "name"]),
    ("prefix", &["destinationprefix", "prefix"]),
    ("rate", &["perminuterate", "rate", "ratecost", "cost"]),
    ("connect_fee", &["connectioncharge", "connectionfee", "connectfee"]),
    ("next_s", &["chargeperiod", "rateincrement"]),
];

const KAZOO: Headings = &[
    ("prefix", &["prefix"]),
    ("destination", &["description"]),
    ("rate", &["ratecost"]),
    ("next_s", &["rateincrement"]),
    ("first_s", &["rateminimum"]),
    ("no_charge_s", &["ratenochargetime"]),
    ("connect_fee", &["ratesurcharge"]),
    ("@outbound", &["direction"]),
    ("@empty", &["calleridnumbers", "options", "accountid"]),
    (
        SAYS_NOTHING,
        &[
            "isocountrycode",
            "ratename",
            "rateversion",
            "ratedeckid",
            "routes",
            "weight",
            "carrier",
            "internalratecost",
            "pvtratecost",
            "pvtratesurcharge",
            "pvtinternalratecost",
        ],
    ),
];

/// Codes that headings such as `Rate (USD)` name. Others are read from a column, or said with the import.
const CURRENCIES: [&str; 24] = [
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "INR", "JPY", "MXN", "NOK", "NZD",
    "PLN", "RON", "SEK", "SGD", "TRY", "UAH", "USD", "ZAR",
];

impl DeckFormat {
    pub const ALL: [Self; 8] = [
        Self::Callbus,
        Self::Carrier,
        Self::Astpp,
        Self::Cgrates,
        Self::Didww,
        Self::Fusionpbx,
        Self::Ivozprovider,
        Self::Kazoo,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Callbus => "callbus",
            Self::Carrier => "carrier",
            Self::Astpp => "astpp",
            Self::Cgrates => "cgrates",
            Self::Didww => "didww",
            Self::Fusionpbx => "fusionpbx",
            Self::Ivozprovider => "ivozprovider",
            Self::Kazoo => "kazoo",
        }
    }

    /// Which of our columns has this heading, letters and digits only.
    fn column(self, heading: &str) -> Option<&'static str> {
        let headings = match self {
            Self::Callbus => return COLUMNS.into_iter().find(|column| *column == heading),
            Self::Carrier => CARRIER,
            Self::Astpp => ASTPP,
            Self::Cgrates => CGRATES,
            Self::Didww => DIDWW,
            Self::Fusionpbx => FUSIONPBX,
            Self::Ivozprovider => IVOZPROVIDER,
            Self::Kazoo => KAZOO,
        };
        headings.iter().find(|(_, known)| known.contains(&heading)).map(|(column, _)| *column)
    }
}

/// What the header line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub format: DeckFormat,
    /// Which of our columns each is.
    pub columns: Vec<&'static str>,
    /// The one that the headings name.
    pub currency: Option<Currency>,
}

impl Header {
    /// As the format that was asked for, or the one that knows every column.
    pub(super) fn read(names: &StringRecord, asked: Option<DeckFormat>) -> Result<Self, Reason> {
        if let Some(format) = asked {
            return Self::of(names, format);
        }
        let mut fitting = DeckFormat::ALL.into_iter().filter_map(|format| Self::of(names, format).ok());
        let Some(header) = fitting.next() else {
            // The reason of the format that knows the most of it; of equals the first.
            let known = |format: &DeckFormat| names.iter().filter(|name| column_of(*format, name).is_some()).count();
            let nearest = DeckFormat::ALL.into_iter().rev().max_by_key(known).unwrap_or(DeckFormat::Callbus);
            return Self::of(names, nearest);
        };
        match fitting.find(|other| other.columns != header.columns) {
            Some(other) if header.format != DeckFormat::Callbus => {
                Err(Reason::Formats { one: header.format, other: other.format })
            }
            Some(_) | None => Ok(header),
        }
    }

    fn of(names: &StringRecord, format: DeckFormat) -> Result<Self, Reason> {
        let mut header = Self { format, columns: Vec::with_capacity(names.len()), currency: None };
        for name in names {
            let Some((column, currency)) = column_of(format, name) else {
                let column = name.to_owned();
                return Err(if format == DeckFormat::Callbus {
                    Reason::UnknownColumn(column)
                } else {
                    Reason::ForeignColumn { column, format }
                });
            };
            let may_repeat = column == SAYS_NOTHING || column.starts_with('@');
            if !may_repeat && header.columns.contains(&column) {
                return Err(Reason::RepeatedColumn(name.to_owned()));
            }
            if let (Some(found), Some(expected)) = (currency, header.currency)
                && found != expected
            {
                return Err(Reason::OtherCurrency { found, expected });
            }
            header.columns.push(column);
            header.currency = header.currency.or(currency);
        }
        let has = |column| header.columns.contains(&column);
        match (has("prefix"), has("rate"), has("rate_s")) {
            (false, _, _) => Err(Reason::MissingColumn("prefix")),
            (true, false, false) => Err(Reason::MissingColumn("rate")),
            (true, true, true) => Err(Reason::RepeatedColumn("rate".to_owned())),
            (true, true, false) | (true, false, true) => Ok(header),
        }
    }
}

/// Which of our columns a heading is, and the currency it names.
fn column_of(format: DeckFormat, name: &str) -> Option<(&'static str, Option<Currency>)> {
    if format == DeckFormat::Callbus {
        return Some((format.column(name)?, None));
    }
    let words = || name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let whole: String = words().collect();
    if let Some(column) = format.column(&whole.to_ascii_lowercase()) {
        return Some((column, None));
    }
    let currency = words().find(|word| CURRENCIES.contains(word))?;
    let rest: String = words().filter(|word| *word != currency).collect();
    let column = format.column(&rest.to_ascii_lowercase())?;
    let is_money = ["rate", "rate_s", "connect_fee"].contains(&column);
    Some((column, Some(currency.parse().ok()?))).filter(|_| is_money)
}

impl FromStr for DeckFormat {
    type Err = NotAFormat;
    fn from_str(text: &str) -> Result<Self, NotAFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(NotAFormat)
    }
}

impl fmt::Display for DeckFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
