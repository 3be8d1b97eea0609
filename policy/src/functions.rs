//! The expression language: standard CEL and functions of our own.

use std::str::FromStr;

use cel::common::types::CelBool;
use cel::common::types::{CelInt, CelMap, CelString};
use cel::{DeclarationError, Env, ExecutionError};
use proto::PhoneNumber;
use rust_decimal::Decimal;

use crate::country;
use crate::facts::micros;
use crate::hash::Hash;

/// Functions an expression may call, beside the operators.
pub(crate) const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "double",
    "string",
    "bool",
    "money",
    "e164",
    "country",
    "prefix",
    "percent",
    "pick",
];
/// Our own ones: how each is written, and with how many arguments.
pub(crate) const OWN: &[(&str, &str, usize)] = &[
    ("money", "money('1.90')", 1),
    ("e164", "e164(call.cli)", 1),
    ("country", "country(call.cli)", 1),
    ("prefix", "prefix(call.cli, '+46')", 2),
    ("percent", "percent(call.id)", 1),
    ("pick", "pick(call.id, {'a': 70, 'b': 30})", 2),
];
/// The heaviest weight of a choice.
pub(crate) const WEIGHT_MAX: i64 = 1_000_000;

/// What expressions are evaluated in.
pub(crate) fn environment() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    cel::add_overload!(env, fn money: (CelString) -> Result<CelInt>)?;
    cel::add_overload!(env, fn e164: (CelString) -> CelString)?;
    cel::add_overload!(env, fn country_code: (CelString) -> CelString, name = "country")?;
    cel::add_overload!(env, fn prefix: (CelString, CelString) -> CelBool)?;
    cel::add_overload!(env, fn percent: (CelString) -> CelInt)?;
    cel::add_overload!(env, fn pick: (CelString, CelMap) -> Result<CelString>)?;
    Ok(env)
}

/// An amount written as plain decimal text, as whole micro-units.
fn money(text: &CelString<'_>) -> Result<CelInt, ExecutionError> {
    let wrong = || ExecutionError::function_error("money", "wants an amount such as '1.90', with at most six decimals");
    micros_of(text.inner()).map(CelInt::from).ok_or_else(wrong)
}

pub(crate) fn micros_of(amount: &str) -> Option<i64> {
    Decimal::from_str(amount).ok().and_then(micros)
}

/// The number with its `+` and nothing between the digits; empty where it is no number.
fn e164(text: &CelString<'_>) -> CelString<'static> {
    CelString::from(PhoneNumber::parse_lenient(text.inner()).map(String::from).unwrap_or_default())
}

/// The ISO code of the country; empty where it is no number, or of no country.
fn country_code(text: &CelString<'_>) -> CelString<'static> {
    CelString::from(country_of(text.inner()))
}

pub(crate) fn country_of(text: &str) -> &'static str {
    let number = PhoneNumber::parse_lenient(text).ok();
    number.as_ref().and_then(country::country).unwrap_or_default()
}

/// Whether a number begins so, however either of them is written.
fn prefix(text: &CelString<'_>, prefix: &CelString<'_>) -> CelBool {
    CelBool::from(begins(text.inner(), prefix.inner()))
}

pub(crate) fn begins(text: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_prefix('+').unwrap_or(prefix);
    PhoneNumber::parse_lenient(text).is_ok_and(|number| number.digits().starts_with(prefix))
}

/// 0 to 99, always the same for the same text.
fn percent(text: &CelString<'_>) -> CelInt {
    CelInt::from(percent_of(text.inner()))
}

pub(crate) fn percent_of(text: &str) -> i64 {
    i64::try_from(lot("percent", text) % 100).unwrap_or_default()
}

/// One of the choices, as often as its weight among all says, and always the same for the same text.
fn pick(text: &CelString<'_>, choices: &CelMap<'_>) -> Result<CelString<'static>, ExecutionError> {
    let wrong = || ExecutionError::function_error("pick", "wants choices with weights, such as {'a': 70, 'b': 30}");
    let mut weights = Vec::new();
    for (key, weight) in choices.inner() {
        let choice = key.inner().downcast_ref::<CelString>().ok_or_else(wrong)?.inner();
        let weight = *weight.downcast_ref::<CelInt>().ok_or_else(wrong)?.inner();
        if !(0..=WEIGHT_MAX).contains(&weight) {
            return Err(wrong());
        }
        weights.push((choice, weight.unsigned_abs()));
    }
    // A map has no order of its own.
    weights.sort_unstable();
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = lot("pick", text.inner()).checked_rem(total).ok_or_else(wrong)?;
    for (choice, weight) in weights {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return Ok(CelString::from(choice.to_owned())),
        }
    }
    Err(wrong())
}

/// A number drawn for a text: the same one on every machine and in every version. Each purpose draws its own.
fn lot(purpose: &str, text: &str) -> u64 {
    let mut hash = Hash::new();
    hash.part(purpose.as_bytes());
    hash.part(text.as_bytes());
    hash.number()
}
