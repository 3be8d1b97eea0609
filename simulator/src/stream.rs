//! A call whose sound goes to a WebSocket server. The simulator speaks HTTP only: it plays what that server would get and say.

use proto::Svaml;
use proto::svaml::{ConnectStream, Header};
use serde::Serialize;

use crate::call::{CALL_MAX_SECS, Call};
use crate::report::{CallResult, Ending, Reason, What};
use crate::script::Callee;

const VERSION_DEFAULT: u32 = 1;
const SAMPLE_RATE_DEFAULT: u32 = 44_100;

/// The first message, text; sound follows in binary ones.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connect<'a> {
    command: &'static str,
    version: u32,
    call_id: &'a str,
    application_key: &'a str,
    codec: &'static str,
    sample_rate: u32,
    call_headers: &'a [Header],
}

impl Call<'_> {
    /// The server says `answer`, `busy` or `reject`, by what the script has for the callee. There is no ACE.
    pub(crate) async fn stream(&mut self, connect: ConnectStream) -> Result<Svaml, Ending> {
        let to = connect.destination.endpoint;
        let options = connect.streaming_options.unwrap_or_default();
        let first = Connect {
            command: "connect",
            version: options.version.unwrap_or(VERSION_DEFAULT),
            call_id: self.facts.call.as_str(),
            application_key: self.facts.app_key.as_str(),
            codec: "PCM",
            sample_rate: options.sample_rate.unwrap_or(SAMPLE_RATE_DEFAULT),
            call_headers: &connect.call_headers,
        };
        #[expect(clippy::expect_used, reason = "text, numbers and plain structs of them always serialise")]
        let message = serde_json::to_string(&first).expect("a message is JSON");
        self.line.note(What::StreamOpened { to: to.clone(), message });
        match self.script.callee {
            Callee::Answers { .. } | Callee::Machine { .. } => {}
            Callee::Busy => return Err(Ending { result: CallResult::Busy, reason: Reason::NotApplicable }),
            Callee::NoAnswer | Callee::Fails => {
                return Err(Ending { result: CallResult::Failed, reason: Reason::Congestion });
            }
        }
        self.answered_by(&to);
        self.connect(&to, self.line.at_ms(), connect.max_duration.unwrap_or(CALL_MAX_SECS));
        self.talk().await
    }
}
