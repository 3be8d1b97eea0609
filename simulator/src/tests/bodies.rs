//! The callbacks, to the byte.

use bytes::Bytes;
use jiff::Timestamp;
use proto::callback::Details;
use proto::signature::Verified;
use proto::{AppKey, CallId, Callback};
use rust_decimal::Decimal;

use proto::svaml::Header;

use crate::bodies::{Amd, AmdStatus, CallFacts, InputMethod, MenuResult, MenuResultKind, Money, Notice};
use crate::report::{CallResult, Ending, Reason};
use crate::script::{Caller, Endpoint};

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
        cookies: vec![Header { key: "lang".into(), value: "sv".into() }],
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
            r#"{"event":"ice","callid":"c1","version":1,"custom":"Custom text","#,
            r#""timestamp":"2024-06-06T17:20:14Z","applicationKey":"key","#,
            r#""callResourceUrl":"https://calling.simulator.invalid/calling/v1/calls/id/c1","#,
            r#""userRate":{"currencyId":"EUR","amount":0.0095},"cli":"12015555555","#,
            r#""to":{"type":"did","endpoint":"+12017777777"},"domain":"pstn","#,
            r#""originationType":"PSTN","rdnis":""}"#
        )
    );
}

#[test]
fn a_pie_and_a_dice_read_as_the_samples_do() {
    let result = MenuResult {
        menu_id: "main".into(),
        kind: MenuResultKind::Return,
        value: "cancel".into(),
        input_method: InputMethod::Dtmf,
    };
    assert_eq!(
        text(&facts().pie(at(), &result)),
        concat!(
            r#"{"event":"pie","callid":"c1","version":1,"custom":"Custom text","#,
            r#""timestamp":"2024-06-06T17:20:14Z","applicationKey":"key","menuResult":{"type":"return","value":"cancel","#,
            r#""menuId":"main","inputMethod":"dtmf"},"cookies":[{"key":"lang","value":"sv"}]}"#
        )
    );
    let ending = Ending { result: CallResult::Answered, reason: Reason::ManagerHangup };
    assert_eq!(
        text(&facts().dice(at(), ending, Some(90))),
        concat!(
            r#"{"event":"dice","callid":"c1","version":1,"custom":"Custom text","#,
            r#""timestamp":"2024-06-06T17:20:14Z","applicationKey":"key","#,
            r#""reason":"MANAGERHANGUP","result":"ANSWERED","duration":90,"#,
            r#""debit":{"currencyId":"EUR","amount":0.0142},"#,
            r#""userRate":{"currencyId":"EUR","amount":0.0095},"to":{"type":"did","endpoint":"+12017777777"},"#,
            r#""from":"12015555555","cookies":[{"key":"lang","value":"sv"}]}"#
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
