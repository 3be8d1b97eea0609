//! What an operator can do, one file for each command.

use std::path::Path;

use crate::cli::{
    CallCommand, CdrCommand, ConfigCommand, DeckCommand, ListCommand, LogCommand, Operation, PolicyCommand,
    RebuildCommand, SimCommand, WalletCommand,
};
use crate::commands::deck::Filter;
use crate::commands::list::Edit;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::health;
use crate::output::Output;

mod init;
mod check;
mod demo;
pub(crate) mod sim;
mod bench;
mod call;
mod place;
mod placed;
mod cdr;
mod rebuild;
mod wallet;
mod deck;
mod verify;
mod backup;
mod lost_secrets;
mod schema;
mod policy;
mod explain;
mod diff;
mod list;
mod destination;
mod profile;
mod delivery;
mod cdrs;
mod reconcile;
mod margin;
mod keys;
pub(crate) mod consumer;
mod provision;

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
        Operation::Sim(SimCommand::Platform(asked)) => sim::serve(asked, &config()?, output).await,
        Operation::Call(CallCommand::Ls(asked)) => call::ls(&config()?, output, &asked).await,
        Operation::Call(CallCommand::Flagged { flag, limit, reveal }) => {
            call::flagged(&config()?, output, flag.as_deref(), limit, reveal).await
        }
        Operation::Call(CallCommand::Show { id, reveal }) => call::show(&config()?, output, &id, reveal).await,
        Operation::Call(CallCommand::Place(asked)) => place::place(&config()?, output, asked).await,
        Operation::Call(CallCommand::Join(asked)) => place::join(&config()?, output, asked).await,
        Operation::Call(CallCommand::Hangup { id }) => place::hang_up(&config()?, output, &id).await,
        Operation::Call(CallCommand::Why { id, reveal }) => call::why(&config()?, output, &id, reveal).await,
        Operation::Cdr(CdrCommand::Ls { limit, which }) => cdr::ls(&config()?, output, limit, &which).await,
        Operation::Cdr(CdrCommand::Show { call, reveal }) => cdr::show(&config()?, output, &call, reveal).await,
        Operation::Cdr(CdrCommand::Export { which, format, output: file }) => {
            cdr::export(&config()?, output, &which, format, file.as_deref()).await
        }
        Operation::Rebuild(RebuildCommand::Views) => rebuild::views(&config()?, environment, output).await,
        Operation::Wallet(WalletCommand::Ls) => wallet::ls(&config()?, output).await,
        Operation::Wallet(WalletCommand::Show { wallet }) => wallet::show(&config()?, output, &wallet).await,
        Operation::Wallet(WalletCommand::Ledger { wallet, limit }) => {
            wallet::ledger(&config()?, output, &wallet, limit).await
        }
        Operation::Wallet(WalletCommand::Statement(asked)) => wallet::statement(&config()?, output, asked).await,
        Operation::Wallet(WalletCommand::Verify { wallet, all: _ }) => wallet::verify(&config()?, output, wallet).await,
        Operation::Wallet(WalletCommand::Topup(top_up)) => wallet::top_up(&config()?, output, top_up).await,
        Operation::Wallet(WalletCommand::Grant(grant)) => wallet::grant(&config()?, output, grant).await,
        Operation::Wallet(WalletCommand::Refund(refund)) => wallet::refund(&config()?, output, refund).await,
        Operation::Wallet(WalletCommand::Correct(correction)) => wallet::correct(&config()?, output, correction).await,
        Operation::Wallet(WalletCommand::Set(set)) => wallet::set(&config()?, output, *set).await,
        Operation::Deck(DeckCommand::Import(import)) => deck::import(&config()?, output, &import).await,
        Operation::Deck(DeckCommand::Versions { name }) => deck::versions(&config()?, output, &name).await,
        Operation::Deck(DeckCommand::Diff(asked)) => deck::diff(&config()?, output, &asked).await,
        Operation::Deck(DeckCommand::Ls) => deck::ls(&config()?, output).await,
        Operation::Deck(DeckCommand::Price(asked)) => deck::price(&config()?, output, &asked).await,
        Operation::Deck(DeckCommand::Rate) => deck::filter(Filter::Rate, output),
        Operation::Deck(DeckCommand::Grant) => deck::filter(Filter::Grant, output),
        Operation::Deck(DeckCommand::Match) => deck::filter(Filter::Match, output),
        Operation::Policy(PolicyCommand::Check { files }) => policy::check(files, file, environment, output),
        Operation::Policy(PolicyCommand::Schema) => {
            policy::schema(output);
            Ok(())
        }
        Operation::Policy(PolicyCommand::Push { file, app, note }) => {
            policy::push(&config()?, output, &file, app.as_deref(), &note).await
        }
        Operation::Policy(PolicyCommand::Rollback { app, to, note }) => {
            policy::rollback(&config()?, output, app.as_deref(), to.as_deref(), &note).await
        }
        Operation::Policy(PolicyCommand::Unshadow { app }) => {
            policy::unshadow(&config()?, output, app.as_deref()).await
        }
        Operation::Policy(PolicyCommand::Ls { app }) => policy::ls(&config()?, output, app.as_deref()).await,
        Operation::Policy(PolicyCommand::Show { revision, app }) => {
            policy::show(&config()?, output, &revision, app.as_deref()).await
        }
        Operation::Policy(PolicyCommand::Explain { file, given, callback }) => {
            explain::run(output, &file, given.as_deref(), callback.as_deref())
        }
        Operation::Policy(PolicyCommand::Diff(diff)) => diff::run(&config()?, environment, output, &diff).await,
        Operation::Destination(command) => destination::run(&config()?, output, command).await,
        Operation::Profile(command) => profile::run(&config()?, output, command).await,
        Operation::Delivery(command) => delivery::run(&config()?, output, command).await,
        Operation::List(ListCommand::Ls) => list::ls(&config()?, output).await,
        Operation::List(ListCommand::Show { name }) => list::show(&config()?, output, &name).await,
        Operation::List(ListCommand::Has { name, entry }) => list::has(&config()?, output, &name, &entry).await,
        Operation::List(ListCommand::Add(edit)) => list::edit(&config()?, output, Edit::Add, edit).await,
        Operation::List(ListCommand::Remove(edit)) => list::edit(&config()?, output, Edit::Remove, edit).await,
        Operation::List(ListCommand::Replace(edit)) => list::edit(&config()?, output, Edit::Replace, edit).await,
        Operation::Rebuild(RebuildCommand::Wallets { wallets }) => rebuild::wallets(&config()?, output, wallets).await,
        Operation::Log(LogCommand::Schema { name }) => schema::run(name.as_deref(), output),
        Operation::Log(LogCommand::Verify) => verify::run(&config()?, environment, output).await,
        Operation::Backup { dir } => backup::take(&config()?, environment, output, &dir).await,
        Operation::Restore { dir, drill: true } => backup::drill(&config()?, environment, output, &dir).await,
        Operation::Restore { dir, drill: false } => backup::restore(&config()?, environment, output, &dir).await,
        Operation::Reconcile(asked) => reconcile::run(&config()?, environment, output, &asked).await,
        Operation::Margin { since } => margin::run(&config()?, environment, output, since).await,
        Operation::Consumer(command) => consumer::run(command, &config()?, environment, output).await,
        Operation::Bench(bench) => bench::run(bench, &config()?, output).await,
        Operation::Keys { dir, decider } => keys::run(&dir, decider.as_deref(), output),
        Operation::Provision { dry_run } => provision::run(&config()?, environment, output, dry_run).await,
        Operation::Health { role } => health::check(&config()?, environment, role, output).await,
    }
}
