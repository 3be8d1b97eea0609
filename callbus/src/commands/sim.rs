//! `callbus sim`: be the platform, for one call that comes in, or for those that are placed.

use std::time::Duration;

use bus::Clock;
use simulator::{
    CallReport, CallScript, Callee, CalleeScript, Caller, DEFAULT_AGE_MAX, DEFAULT_TIMEOUT, Endpoint, Hangup, Outcome,
    Party, Platform, PlatformConfig, What,
};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval, sleep};

use super::call::{self, Call};
use crate::cli::{PickedUpBy, SimCall, SimPlatform};
use crate::client::{self, ApiClient};
use crate::config::{App, Config};
use crate::exit::{Exit, Failure};
use crate::ladder::Ladder;
use crate::output::{Output, Tone};

/// A call that has ended is settled well within this.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// Who calls, where nobody says.
pub(crate) const CALLER: &str = "+15550100200";
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// # Errors
/// When there is no such app, or nobody takes the callbacks.
pub(crate) async fn run(asked: SimCall, config: &Config, output: Output) -> Result<(), Failure> {
    let app = app(config, asked.app.as_deref())?;
    let url = match asked.url.clone() {
        Some(url) => url,
        None => {
            let ours = config.callback_url();
            client::look(&ours).await?;
            ours
        }
    };
    let platform = platform(app, &url, None)?;
    let script = script(asked);
    if output.json {
        let report = platform.call(script).await;
        output.json(&report);
        return reached(&report, &url);
    }
    let report = play(&platform, script, output).await;
    reached(&report, &url)?;
    // The ladder is the answer; reasons and bill are added where the API can be asked.
    if let Ok(api) = ApiClient::new(config)
        && let Ok(call) = settled(&api, &report).await
    {
        tell(output, &call);
    }
    output.line(format!("{}  {}", output.toned(Tone::Strong, "call"), report.call));
    Ok(())
}

/// Is the platform by which calls are placed, for as long as it is let.
///
/// # Errors
/// When it cannot listen, or there is no such app.
pub(crate) async fn serve(asked: SimPlatform, config: &Config, output: Output) -> Result<(), Failure> {
    let SimPlatform { listen, url, app: name, answer_after, hangup_after, busy, no_answer } = asked;
    let platform = platform(app(config, name.as_deref())?, &url.unwrap_or_else(|| config.callback_url()), None)?;
    let callee = match (busy, no_answer) {
        (true, _) => Callee::Busy,
        (false, true) => Callee::NoAnswer,
        (false, false) => Callee::Answers { after_secs: answer_after },
    };
    platform.everybody(CalleeScript { callee, talks_secs: hangup_after, ..CalleeScript::default() });
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::say(Exit::Failed, format!("listen on {listen}: {error}; is another process there? Use --listen"))
    })?;
    output.line(format!("the platform is at http://{}", listener.local_addr()?));
    output.line("callbus.toml needs it as [platform] url, and its network in [outbound] allow");
    output.line("whoever is called stands here:");
    tokio::select! {
        served = platform.clone().serve(listener) => Ok(served?),
        () = tell_of_callouts(&platform, output) => Ok(()),
    }
}

/// A line for each call that is placed, for whoever watches the terminal.
async fn tell_of_callouts(platform: &Platform, output: Output) {
    let (mut looks, mut told) = (interval(LOOK_EVERY), 0);
    loop {
        looks.tick().await;
        let placed = platform.placed();
        for call in placed.iter().skip(told) {
            output.line(format!(
                "{}  {} is called, as call {}",
                Clock::System.now().strftime("%T"),
                call.to,
                call.call
            ));
        }
        told = placed.len();
    }
}

fn app<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a App, Failure> {
    let app = match name {
        Some(name) => config.apps.iter().find(|app| app.name.as_str() == name),
        None => config.apps.first(),
    };
    app.ok_or_else(|| Failure::say(Exit::NotFound, "there is no such app in the configuration"))
}

/// A platform whose calls differ from those of every other run.
///
/// # Errors
/// When the app's secret cannot be read, or the address is wrong.
pub(crate) fn platform(app: &App, url: &str, fallback_url: Option<String>) -> Result<Platform, Failure> {
    let secret = app.secrets()?.into_iter().next();
    let secret = secret.ok_or_else(|| Failure::say(Exit::Failed, format!("the app {} has no secret", app.name)))?;
    Ok(Platform::new(PlatformConfig {
        callback_url: url.to_owned(),
        fallback_url,
        app_key: app.key.clone(),
        secret,
        seed: getrandom::u64().map_err(std::io::Error::other)?,
        timeout: DEFAULT_TIMEOUT,
        age_max: DEFAULT_AGE_MAX,
        now: || Clock::System.now(),
    })?)
}

/// Plays the call and draws its ladder as it happens.
pub(crate) async fn play(platform: &Platform, script: CallScript, output: Output) -> CallReport {
    let ladder = Ladder::begin(output);
    platform.call_with(script, |step| ladder.step(step)).await
}

/// The call as the log has it, once it is settled; or as far as it is by then.
///
/// # Errors
/// When the API cannot be asked.
pub(crate) async fn settled(api: &ApiClient, report: &CallReport) -> Result<Call, Failure> {
    let give_up = Instant::now() + SETTLED_WITHIN;
    loop {
        let call = Call::fetch(api, report.call.as_str(), true).await?;
        if call.settled().is_some() || Instant::now() >= give_up {
            return Ok(call);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Why it went as it did, and what it cost.
pub(crate) fn tell(output: Output, call: &Call) {
    output.line("");
    for decision in call.decisions() {
        call::reasons(output, decision);
    }
    call::bill(output, call);
}

/// A call of which nobody took the first callback was not placed.
fn reached(report: &CallReport, url: &str) -> Result<(), Failure> {
    let mut outcomes = report
        .steps
        .iter()
        .filter_map(|step| if let What::Callback { outcome, .. } = &step.what { Some(outcome) } else { None });
    let first = outcomes.next();
    match first {
        Some(Outcome::Failed { why }) => Err(Failure::say(Exit::Unreachable, format!("{url}: {why}"))),
        Some(Outcome::Replied { .. }) | None => Ok(()),
    }
}

fn script(asked: SimCall) -> CallScript {
    let from = match (asked.user, asked.from) {
        (Some(user), _) => Caller::User(user),
        (None, from) if from == "private" => Caller::Private,
        (None, from) if from.contains('@') => Caller::Sip(from),
        (None, from) => Caller::Number(from),
    };
    let to = asked.did.map_or_else(|| dialled(asked.to.unwrap_or_default()), Endpoint::Did);
    let mut script = CallScript::new(from, to);
    script.inputs = asked.keys;
    script.lost = asked.lose;
    script.in_conference = asked.conference_keys;
    script.beep_after_secs = asked.beep_after;
    script.callee = match (asked.busy, asked.no_answer, asked.amd) {
        (true, _, _) => Callee::Busy,
        (false, true, _) => Callee::NoAnswer,
        (false, false, Some(PickedUpBy::Machine)) => Callee::Machine { after_secs: 5 },
        (false, false, Some(PickedUpBy::Human) | None) => Callee::default(),
    };
    if let Some(after_secs) = asked.hangup_after {
        script.hangup = Hangup { after_secs, by: Party::Caller };
    }
    script
}

/// A call to a destination as a person writes it.
pub(crate) fn to(destination: &str) -> CallScript {
    CallScript::new(Caller::Number(CALLER.to_owned()), dialled(destination.to_owned()))
}

/// What a person means by a destination.
fn dialled(to: String) -> Endpoint {
    if to.contains('@') {
        Endpoint::Sip(to)
    } else if to.chars().any(char::is_alphabetic) {
        Endpoint::Username(to)
    } else {
        Endpoint::Number(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_says_what_it_is() {
        let kinds = ["+46701234567", "46701234567", "bob", "bob@example.com"].map(|to| dialled(to.to_owned()));
        let [plus, digits, user, sip] = &kinds;
        assert!(matches!((plus, digits), (Endpoint::Number(_), Endpoint::Number(_))), "{kinds:?}");
        assert!(matches!((user, sip), (Endpoint::Username(_), Endpoint::Sip(_))), "{kinds:?}");
    }
}
