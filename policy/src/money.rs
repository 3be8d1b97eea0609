//! The expression language: standard CEL and one function of our own, `money('1.90')`.

use std::str::FromStr;

use cel::common::types::{CelInt, CelString};
use cel::{DeclarationError, Env, ExecutionError};
use rust_decimal::Decimal;

use crate::facts::micros;

/// What expressions are evaluated in.
pub(crate) fn environment() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    cel::add_overload!(env, fn money: (CelString) -> Result<CelInt>)?;
    Ok(env)
}

/// An amount written as plain decimal text, as whole micro-units.
fn money(text: &CelString<'_>) -> Result<CelInt, ExecutionError> {
    let amount = Decimal::from_str(text.inner()).ok().and_then(micros);
    let wrong = || ExecutionError::function_error("money", "wants an amount such as '1.90', with at most six decimals");
    amount.map(CelInt::from).ok_or_else(wrong)
}
