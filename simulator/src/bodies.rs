//! The JSON of the callbacks, field by field as Sinch's documents and samples have them.

use bytes::Bytes;
use jiff::Timestamp;
use proto::svaml::Header;
use proto::{AppKey, CallId};
use rust_decimal::Decimal;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::report::Ending;
use crate::script::{Caller, Endpoint};

/// What stays the same through a call, and its cookies.
#[derive(Debug, Clone)]
pub struct CallFacts {
    pub call: CallId,
    pub app_key: AppKey,
    pub from: Caller,
    pub to: Endpoint,
    pub custom: Option<String>,
    pub rdnis: String,
    pub call_headers: Vec<Header>,
    /// Price per minute.
    pub user_rate: Money,
    /// What `setCookie` kept, in the order it was set.
    pub cookies: Vec<(String, String)>,
}

/// An amount, written as a JSON number with exactly its decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    pub currency_id: String,
    #[serde(serialize_with = "number")]
    pub amount: Decimal,
}

/// Answering machine detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amd {
    pub status: AmdStatus,
    pub reason: &'static str,
    /// Seconds until the verdict; of the two units sources give, the likelier.
    pub duration: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AmdStatus {
    /// In the ACE of asynchronous detection.
    InProgress,
    Machine,
    Human,
    NotSure,
    Hangup,
}

/// How a menu ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuResult {
    pub menu_id: String,
    pub kind: MenuResultKind,
    /// Text of `return(…)`, or the digits; empty otherwise.
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MenuResultKind {
    Return,
    Sequence,
    Timeout,
    InvalidInput,
    Hangup,
    Error,
}

/// What a notify tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    RecordingFinished,
    Amd(Amd),
    CallingError { code: u32, message: String },
}

impl CallFacts {
    pub fn ice(&self, at: Timestamp) -> Bytes {
        // No region of Sinch owns this call, so the address is one that nobody can register.
        let resource = format!("https://calling.simulator.invalid/calling/v1/calls/id/{}", self.call);
        let (cli, origination_type) = match &self.from {
            Caller::Number(number) => (Some(number.as_str()), "PSTN"),
            Caller::Private => (Some("private"), "PSTN"),
            Caller::User(_) => (None, "MXP"),
            Caller::Sip(address) => (Some(address.as_str()), "SIP"),
        };
        let domain = match &self.to {
            Endpoint::Did(_) | Endpoint::Number(_) => "pstn",
            Endpoint::Username(_) => "mxp",
            Endpoint::Sip(_) => "sip",
        };
        bytes(&Wire {
            call_resource_url: Some(&resource),
            user_rate: Some(&self.user_rate),
            cli,
            to: Some(To::of(&self.to)),
            domain: Some(domain),
            origination_type: Some(origination_type),
            rdnis: Some(&self.rdnis),
            call_headers: &self.call_headers,
            user: self.user(),
            // Nothing can have been kept yet.
            cookies: Vec::new(),
            ..self.wire("ice", Some(at))
        })
    }

    pub fn ace(&self, at: Timestamp, amd: Option<Amd>) -> Bytes {
        bytes(&Wire { amd, user: self.user(), ..self.wire("ace", Some(at)) })
    }

    pub fn pie(&self, at: Timestamp, result: &MenuResult) -> Bytes {
        let menu_result = Some(WireMenuResult {
            kind: result.kind,
            value: &result.value,
            menu_id: &result.menu_id,
            input_method: "dtmf",
        });
        bytes(&Wire { menu_result, ..self.wire("pie", Some(at)) })
    }

    pub fn dice(&self, at: Timestamp, ending: Ending, duration_secs: Option<u32>) -> Bytes {
        let from = match &self.from {
            Caller::Number(text) | Caller::User(text) | Caller::Sip(text) => text.as_str(),
            Caller::Private => "private",
        };
        let debit = self.debit(duration_secs);
        bytes(&Wire {
            reason: Some(ending.reason.as_str()),
            result: Some(ending.result.as_str()),
            duration: duration_secs,
            debit: Some(&debit),
            user_rate: Some(&self.user_rate),
            to: Some(To::of(&self.to)),
            from: Some(from),
            call_headers: &self.call_headers,
            user: self.user(),
            ..self.wire("dice", Some(at))
        })
    }

    /// Notifies bear neither time nor application key in any sample.
    pub fn notify(&self, notice: &Notice) -> Bytes {
        let wire = Wire { application_key: None, cookies: Vec::new(), ..self.wire("notify", None) };
        bytes(&match notice {
            Notice::RecordingFinished => Wire { notify_type: Some("recording_finished"), ..wire },
            Notice::Amd(amd) => Wire { notify_type: Some("amd"), amd: Some(*amd), ..wire },
            Notice::CallingError { code, message } => Wire {
                notify_type: Some("callingerror"),
                error_code: Some(*code),
                error_msg: Some(message),
                user: self.user(),
                ..wire
            },
        })
    }

    /// The rate by the second, to four decimals; how Sinch rounds is not public.
    pub fn debit(&self, duration_secs: Option<u32>) -> Money {
        let minutes = Decimal::from(duration_secs.unwrap_or(0)) / Decimal::from(60);
        let amount = (self.user_rate.amount * minutes).round_dp(4);
        Money { currency_id: self.user_rate.currency_id.clone(), amount }
    }

    fn user(&self) -> Option<&str> {
        match &self.from {
            Caller::User(user) => Some(user),
            Caller::Number(_) | Caller::Private | Caller::Sip(_) => None,
        }
    }

    fn wire(&self, event: &'static str, at: Option<Timestamp>) -> Wire<'_> {
        Wire {
            event,
            callid: self.call.as_str(),
            timestamp: at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            version: 1,
            custom: self.custom.as_deref(),
            application_key: Some(self.app_key.as_str()),
            cookies: self.cookies.iter().map(|(key, value)| Cookie { key, value }).collect(),
            ..Wire::default()
        }
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    event: &'static str,
    callid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_resource_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    version: u32,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    notify_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debit: Option<&'a Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_rate: Option<&'a Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cli: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<To<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origination_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdnis: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amd: Option<Amd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    menu_result: Option<WireMenuResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_msg: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Header]>::is_empty")]
    call_headers: &'a [Header],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<Cookie<'a>>,
}

#[derive(Serialize)]
struct To<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    endpoint: &'a str,
}

impl<'a> To<'a> {
    fn of(to: &'a Endpoint) -> Self {
        let kind = match to {
            Endpoint::Did(_) => "did",
            Endpoint::Number(_) => "number",
            Endpoint::Username(_) => "username",
            Endpoint::Sip(_) => "sip",
        };
        Self { kind, endpoint: to.text() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireMenuResult<'a> {
    #[serde(rename = "type")]
    kind: MenuResultKind,
    value: &'a str,
    menu_id: &'a str,
    input_method: &'static str,
}

#[derive(Serialize)]
struct Cookie<'a> {
    key: &'a str,
    value: &'a str,
}

fn number<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(amount.to_string()).map_err(S::Error::custom)?.serialize(serializer)
}

fn bytes(wire: &Wire<'_>) -> Bytes {
    #[expect(clippy::expect_used, reason = "plain structs with text keys always serialise")]
    serde_json::to_vec(wire).expect("a callback is JSON").into()
}

#[cfg(test)]
mod tests {
    use proto::Callback;
    use proto::callback::Details;
    use proto::signature::Verified;

    use super::*;
    use crate::report::{CallResult, Reason};

    fn facts() -> CallFacts {
        CallFacts {
            call: CallId::new("c1").expect("id"),
            app_key: AppKey::new("key").expect("key"),
            from: Caller::Number("12015555555".into()),
            to: Endpoint::Did("+12017777777".into()),
            custom: Some("Custom text".into()),
            rdnis: String::new(),
            call_headers: Vec::new(),
            user_rate: Money { currency_id: "EUR".into(), amount: Decimal::new(95, 4) },
            cookies: vec![("lang".into(), "sv".into())],
        }
    }

    fn at() -> Timestamp {
        "2024-06-06T17:20:14.987Z".parse().expect("time")
    }

    fn text(body: &Bytes) -> &str {
        std::str::from_utf8(body).expect("text")
    }

    #[test]
    fn an_ice_reads_as_the_samples_do() {
        assert_eq!(
            text(&facts().ice(at())),
            concat!(
                r#"{"event":"ice","callid":"c1","#,
                r#""callResourceUrl":"https://calling.simulator.invalid/calling/v1/calls/id/c1","#,
                r#""timestamp":"2024-06-06T17:20:14Z","version":1,"custom":"Custom text","#,
                r#""userRate":{"currencyId":"EUR","amount":0.0095},"cli":"12015555555","#,
                r#""to":{"type":"did","endpoint":"+12017777777"},"domain":"pstn","applicationKey":"key","#,
                r#""originationType":"PSTN","rdnis":""}"#
            )
        );
    }

    #[test]
    fn a_pie_and_a_dice_read_as_the_samples_do() {
        let result = MenuResult { menu_id: "main".into(), kind: MenuResultKind::Return, value: "cancel".into() };
        assert_eq!(
            text(&facts().pie(at(), &result)),
            concat!(
                r#"{"event":"pie","callid":"c1","timestamp":"2024-06-06T17:20:14Z","version":1,"#,
                r#""custom":"Custom text","applicationKey":"key","menuResult":{"type":"return","value":"cancel","#,
                r#""menuId":"main","inputMethod":"dtmf"},"cookies":[{"key":"lang","value":"sv"}]}"#
            )
        );
        let ending = Ending { result: CallResult::Answered, reason: Reason::ManagerHangup };
        assert_eq!(
            text(&facts().dice(at(), ending, Some(90))),
            concat!(
                r#"{"event":"dice","callid":"c1","timestamp":"2024-06-06T17:20:14Z","reason":"MANAGERHANGUP","#,
                r#""result":"ANSWERED","version":1,"custom":"Custom text","#,
                r#""debit":{"currencyId":"EUR","amount":0.0142},"#,
                r#""userRate":{"currencyId":"EUR","amount":0.0095},"to":{"type":"did","endpoint":"+12017777777"},"#,
                r#""applicationKey":"key","duration":90,"from":"12015555555","cookies":[{"key":"lang","value":"sv"}]}"#
            )
        );
    }

    #[test]
    fn notifies_and_detection_are_read_back() {
        let read = |body: Bytes| Callback::parse(&Verified::unchecked(body)).expect("a callback").details;
        let amd = Amd { status: AmdStatus::NotSure, reason: "n/a", duration: 4 };
        let Details::Ace(ace) = read(facts().ace(at(), Some(amd))) else { panic!("not an ACE") };
        assert_eq!(ace.amd.and_then(|amd| amd.status).as_deref(), Some("notsure"));
        let error = Notice::CallingError { code: 40_001, message: "no".into() };
        let Details::Notify(notify) = read(facts().notify(&error)) else { panic!("not a notify") };
        assert_eq!((notify.notify_type.as_deref(), notify.error_code), (Some("callingerror"), Some(40_001)));
        let Details::Notify(notify) = read(facts().notify(&Notice::Amd(amd))) else { panic!("not a notify") };
        assert_eq!(notify.amd.and_then(|amd| amd.duration), Some(4));
    }
}
