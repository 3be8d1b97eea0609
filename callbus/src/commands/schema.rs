//! `callbus log schema`: what the events of the log look like.

use crate::contracts;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// # Errors
/// Exit 5 when there is no such type.
pub(crate) fn run(name: Option<&str>, output: Output) -> Result<(), Failure> {
    let Some(name) = name else {
        output.json(&contracts::asyncapi());
        return Ok(());
    };
    let contracts = contracts::all();
    let Some(found) = contracts.iter().find(|contract| contract.name == name) else {
        let names: Vec<&str> = contracts.iter().map(|contract| contract.name.as_str()).collect();
        return Err(Failure::say(Exit::NotFound, format!("there is no type {name:?}, but {}", names.join(", "))));
    };
    output.json(&found.schema);
    Ok(())
}
