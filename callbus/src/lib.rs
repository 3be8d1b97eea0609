//! callbus: one program, all roles and commands.
//!
//! [`cli`] says what can be asked, [`config`] what this process is told to be, [`roles`] what serves, [`commands`] what
//! an operator does. Everything printed goes through [`output`], every exit code stands in [`exit`].
//!
//! As a library it makes a callbus of your own: [`Program`] with a [`CallHandler`] for an app, whose calls are then
//! decided in Rust and not by a policy file.

use std::process::ExitCode;

use clap::Parser;
use proto::AppName;
use tokio::signal::unix::{SignalKind, signal};
use workers::Handlers;

use cli::{Cli, Command, Operation, Role};
use config::Config;
use environment::Environment;
use exit::Failure;
use output::Output;

pub use proto::{Callback, Svaml, callback, svaml};
pub use workers::{AppCache, CallHandler, Context, HandlerError};

mod cli;
mod environment;
mod config;
mod policy_files;
mod broker;
mod exit;
mod output;
mod telemetry;
mod roles;
mod health;
mod client;
mod platform;
mod processes;
mod ladder;
mod why;
mod contracts;
mod commands;

/// The page for those who write handlers; its examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/handlers.md")]
struct HandlersPage;

/// callbus with all its roles and commands, and handlers of your own.
///
/// ```no_run
/// use callbus::{CallHandler, Context, HandlerError, Program, Svaml, callback};
/// use callbus::svaml::{Answer, Ice};
///
/// struct Greeter;
///
/// impl CallHandler for Greeter {
///     async fn ice(&self, _: &callback::Ice, context: &Context<'_>) -> Result<Answer<Ice>, HandlerError> {
///         context.log("somebody calls");
///         Ok(Svaml::ice().say("Hello, and goodbye.").hangup())
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     Program::default().handler("acme", Greeter).run()
/// }
/// ```
#[derive(Debug, Default)]
pub struct Program {
    handlers: Handlers,
}

impl Program {
    /// The calls of an app are decided by this handler. The app stands in `callbus.toml` as any other, without
    /// `policy`.
    ///
    /// # Panics
    /// When the name is no app name: letters, digits, `-` and `_`.
    #[must_use]
    pub fn handler(mut self, app: &str, handler: impl CallHandler) -> Self {
        #[expect(clippy::expect_used, reason = "a constant of the program, wrong at its first start or never")]
        let app = AppName::new(app).expect("the name of an app");
        self.handlers.insert(app, handler);
        self
    }

    /// Does what the command line says: without a command, all roles in this process.
    pub fn run(self) -> ExitCode {
        let cli = Cli::parse();
        let environment = Environment::of_process();
        let output = Output::new(cli.json, &environment);
        let ended = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime.block_on(run(cli, &environment, output, self.handlers)),
            Err(error) => Err(Failure::from(error)),
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                output::complain(&failure);
                failure.code()
            }
        }
    }
}

async fn run(cli: Cli, environment: &Environment, output: Output, handlers: Handlers) -> Result<(), Failure> {
    let operate = async |operation| {
        telemetry::start_quiet(environment)?;
        commands::run(operation, &cli.config, environment, output).await
    };
    let role = match cli.command {
        None => Role::All,
        Some(Command::Serve(role)) => role,
        Some(Command::Delivery { command: None }) => Role::Delivery,
        Some(Command::Delivery { command: Some(command) }) => return operate(Operation::Delivery(command)).await,
        Some(Command::Operate(operation)) => return operate(operation).await,
    };
    let config = Config::load(&cli.config, environment)?;
    let telemetry = telemetry::start(role, config.otlp.as_deref(), environment)?;
    let served = serve(role, &config, environment, output, handlers).await;
    telemetry.flush();
    served
}

/// Runs a role until it is asked to stop, then drains it.
async fn serve(
    role: Role,
    config: &Config,
    environment: &Environment,
    output: Output,
    handlers: Handlers,
) -> Result<(), Failure> {
    let mut asked = Asked::to_stop()?;
    let mut running = roles::start(role, config, environment, handlers).await?;
    if let Some(address) = running.callbacks {
        output.line(format!("callbacks: http://{address}{}", config.ingress.path));
    }
    if let Some(address) = running.api {
        output.line(format!("api: http://{address}"));
    }
    if let Some(address) = running.metrics {
        output.line(format!("metrics: http://{address}/metrics"));
    }
    output.line(format!("callbus {role}: ready"));
    let ended = tokio::select! {
        () = asked.wait() => {
            tracing::info!("asked to stop: finishing what was begun");
            Ok(())
        }
        failed = running.failed() => Err(Failure::from(failed)),
    };
    running.drain().await;
    ended
}

/// SIGTERM or SIGINT.
#[derive(Debug)]
pub(crate) struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Asked {
    pub(crate) fn to_stop() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
