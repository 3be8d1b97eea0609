//! callbus: one program, all roles and commands.
//!
//! [`cli`] says what can be asked, [`config`] what this process is told to be, [`roles`] what serves, [`commands`] what
//! an operator does. Everything printed goes through [`output`], every exit code stands in [`exit`].

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cli::{Cli, Command, Role};
use config::Config;
use environment::Environment;
use exit::Failure;
use output::Output;

mod cli;
mod environment;
mod config;
mod exit;
mod output;
mod telemetry;
mod roles;
mod health;
mod client;
mod ladder;
mod commands;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let output = Output::new(cli.json, &environment);
    match run(cli, &environment, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.code()
        }
    }
}

async fn run(cli: Cli, environment: &Environment, output: Output) -> Result<(), Failure> {
    let role = match cli.command {
        None => Role::All,
        Some(Command::Serve(role)) => role,
        Some(Command::Operate(operation)) => {
            telemetry::start_quiet(environment)?;
            return commands::run(operation, &cli.config, environment, output).await;
        }
    };
    let config = Config::load(&cli.config, environment)?;
    let telemetry = telemetry::start(role, config.otlp.as_deref(), environment)?;
    let served = serve(role, &config, environment, output).await;
    telemetry.flush();
    served
}

/// Runs a role until it is asked to stop, then drains it.
async fn serve(role: Role, config: &Config, environment: &Environment, output: Output) -> Result<(), Failure> {
    let mut asked = Asked::to_stop()?;
    let mut running = roles::start(role, config, environment).await?;
    if let Some(address) = running.callbacks {
        output.line(format!("callbacks: http://{address}{}", config.ingress.path));
    }
    if let Some(address) = running.api {
        output.line(format!("api: http://{address}"));
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
pub struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Asked {
    pub fn to_stop() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
