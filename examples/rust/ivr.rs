//! A whole IVR in Rust: greet, ask, route to sales or support, leave no message on a machine, log at the end.
//!
//! It is callbus with all its roles and commands. Embedded: `cargo run --example ivr` beside a `callbus.toml` that has
//! the app `acme`. On NATS, `cargo run --example ivr -- worker` joins the workers' queue.

use std::process::ExitCode;
use std::time::Duration;

use callbus::svaml::{Ace, Answer, ConnectPstn, Ice, Menu, Pie};
use callbus::{CallHandler, Context, HandlerError, Program, Svaml, callback};

const SALES: &str = "+15551111111";
const SUPPORT: &str = "+15552222222";
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Ivr;

impl CallHandler for Ivr {
    async fn ice(&self, call: &callback::Ice, context: &Context<'_>) -> Result<Answer<Ice>, HandlerError> {
        let caller = call.cli.as_deref().unwrap_or("private");
        let again = context.cache().has(caller).await?;
        context.cache().set(caller, &context.now(), DAY).await?;
        let greeting = if again { "Welcome back to Acme." } else { "Welcome to Acme." };
        let menu = Menu::ask("For sales, press 1. For support, press 2.").key('1', "sales").key('2', "support");
        Ok(Svaml::ice().say(greeting).run_menu(menu.timeout_secs(7).repeats(2)))
    }

    async fn pie(&self, input: &callback::Pie, context: &Context<'_>) -> Result<Answer<Pie>, HandlerError> {
        let (team, number) = match input.value() {
            Some("sales") => ("sales", SALES),
            Some("support") => ("support", SUPPORT),
            _ => return Ok(Svaml::pie().say("Goodbye!").hangup()),
        };
        context.log(format!("wants {team}"));
        let call = ConnectPstn::to(number).max_duration_secs(3600).amd();
        Ok(Svaml::pie().say(format!("Connecting you to {team}.")).reserve().connect_pstn(call))
    }

    async fn ace(&self, call: &callback::Ace, _: &Context<'_>) -> Result<Answer<Ace>, HandlerError> {
        Ok(if call.by_machine() { Svaml::ace().hangup() } else { Svaml::ace().go_on() })
    }

    async fn dice(&self, call: &callback::Dice, context: &Context<'_>) -> Result<(), HandlerError> {
        context.log(format!("{} after {} s", call.result.as_deref().unwrap_or("?"), call.duration_secs.unwrap_or(0)));
        Ok(())
    }
}

fn main() -> ExitCode {
    Program::default().handler("acme", Ivr).run()
}
