//! What an operator can do, one file for each command.

use std::path::Path;

use crate::cli::{CallCommand, ConfigCommand, DeckCommand, LogCommand, Operation, SimCommand, WalletCommand};
use crate::commands::deck::Filter;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::health;
use crate::output::Output;

mod init;
mod check;
mod demo;
mod sim;
mod call;
mod wallet;
mod deck;
mod verify;

/// Does what was asked.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn run(
    operation: Operation,
    file: &Path,
    environment: &Environment,
    output: Output,
) -> Result<(), Failure> {
    let config = || Config::load(file, environment);
    match operation {
        Operation::Demo(demo) => demo::run(&demo, environment, output).await,
        Operation::Init => init::run(file, output),
        Operation::Config(ConfigCommand::Check) => check::run(file, environment, output),
        Operation::Sim(SimCommand::Call(call)) => sim::run(*call, &config()?, output).await,
        Operation::Call(CallCommand::Ls { limit, app, reveal }) => {
            call::ls(&config()?, output, limit, app.as_deref(), reveal).await
        }
        Operation::Call(CallCommand::Show { id, reveal }) => call::show(&config()?, output, &id, reveal).await,
        Operation::Call(CallCommand::Why { id, reveal }) => call::why(&config()?, output, &id, reveal).await,
        Operation::Wallet(WalletCommand::Ls) => wallet::ls(&config()?, output).await,
        Operation::Wallet(WalletCommand::Show { wallet }) => wallet::show(&config()?, output, &wallet).await,
        Operation::Wallet(WalletCommand::Ledger { wallet, limit }) => {
            wallet::ledger(&config()?, output, &wallet, limit).await
        }
        Operation::Wallet(WalletCommand::Statement(asked)) => wallet::statement(&config()?, output, asked).await,
        Operation::Wallet(WalletCommand::Verify { wallet }) => wallet::verify(&config()?, output, wallet).await,
        Operation::Wallet(WalletCommand::Topup(top_up)) => wallet::top_up(&config()?, output, top_up).await,
        Operation::Wallet(WalletCommand::Grant(grant)) => wallet::grant(&config()?, output, grant).await,
        Operation::Wallet(WalletCommand::Refund(refund)) => wallet::refund(&config()?, output, refund).await,
        Operation::Wallet(WalletCommand::Correct(correction)) => wallet::correct(&config()?, output, correction).await,
        Operation::Wallet(WalletCommand::Set(set)) => wallet::set(&config()?, output, *set).await,
        Operation::Deck(DeckCommand::Import { file, name }) => deck::import(&config()?, output, &file, &name).await,
        Operation::Deck(DeckCommand::Ls) => deck::ls(&config()?, output).await,
        Operation::Deck(DeckCommand::Price(asked)) => deck::price(&config()?, output, &asked).await,
        Operation::Deck(DeckCommand::Rate) => deck::filter(Filter::Rate, output),
        Operation::Deck(DeckCommand::Grant) => deck::filter(Filter::Grant, output),
        Operation::Deck(DeckCommand::Match) => deck::filter(Filter::Match, output),
        Operation::Log(LogCommand::Verify) => verify::run(&config()?, environment, output).await,
        Operation::Health { role } => health::check(&config()?, environment, role, output).await,
    }
}
