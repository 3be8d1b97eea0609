use proptest::prelude::*;
use proto::{CallFacts, Moment, Side};

use super::*;

fn facts(custom: &str) -> CallFacts {
    CallFacts {
        caller: "+46850000001".to_owned(),
        callee: "+46701234567".to_owned(),
        status: "ended".to_owned(),
        direction: "outbound".to_owned(),
        duration_secs: Some(61),
        custom: custom.to_owned(),
        leg: Some(Side::To),
        ..CallFacts::default()
    }
}

fn scene(facts: &CallFacts) -> Scene<'_> {
    Scene { call: "placed/1", moment: Moment::CallEnd, facts }
}

#[test]
fn values_are_encoded_for_their_place() {
    let facts = facts("50% \"off\" & more\r\n{{caller}}");
    let scene = scene(&facts);
    let url = UrlTemplate::compile(
        "https://example.com/calls/{{call_id}}.json?who={{ caller }}&n={{custom}}&z={{cost}}",
        Spelling::Doubled,
    );
    let url = url.expect("template").render(&scene).expect("fits");
    assert_eq!(
        url.as_str(),
        "https://example.com/calls/placed%2F1.json?who=%2B46850000001&n=50%25%20%22off%22%20%26%20more%0D%0A%7B%7Bcaller%7D%7D&z="
    );
    let body = BodyTemplate::compile("{\"a\": [\"<{{custom}}>\", 1], \"s\": \"{{duration}} s\"}", Spelling::Doubled);
    assert_eq!(
        body.expect("template").render(&scene),
        "{\"a\": [\"<50% \\\"off\\\" & more\\r\\n{{caller}}>\", 1], \"s\": \"61 s\"}"
    );
    let header = HeaderTemplate::compile("leg {{leg}} of {{event}}", Spelling::Doubled).expect("template");
    assert_eq!(header.render(&scene).as_deref(), Ok("leg to of call_end"));
    let header = HeaderTemplate::compile("{{custom}}", Spelling::Doubled).expect("template");
    assert_eq!(header.render(&scene), Err(Unfit::Control { name: "custom" }));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let url = |text: &str| UrlTemplate::compile(text, Spelling::Doubled).map(drop).map_err(|error| error.to_string());
    let body = |text: &str| BodyTemplate::compile(text, Spelling::Doubled).map(drop).map_err(|error| error.to_string());
    for (found, says) in [
        (url("https://example.com/{{calee}}"), "line 1, column 21: there is no \"calee\"; did you mean callee?"),
        (url("https://example.com/{{caller"), "line 1, column 21: {{ has no }}"),
        (url("https://{{caller}}/x"), "line 1, column 9: scheme, host and port are not for placeholders"),
        (url("https://example.com{{custom}}"), "line 1, column 20: scheme, host"),
        (url("https://example.com:{{custom}}/"), "line 1, column 21: scheme, host"),
        (url("{{custom}}://example.com/"), "line 1, column 1: scheme, host"),
        (url("{{custom}}"), "line 1, column 1: it does not begin"),
        (url("https://example.com/?{{caller}}=1"), "line 1, column 22: the name of a query parameter"),
        (url("https://example.com/?a=1&b{{caller}}=1"), "line 1, column 27: the name of a query parameter"),
        (url("https://example.com/#{{caller}}"), "line 1, column 21: what follows #"),
        (url("https://example.com\\@evil.com/{{caller}}"), "line 1, column 20: an address has no '\\\\'"),
        (url("https://example.com/a b"), "line 1, column 22: an address has no ' '"),
        (url("https://u:p@example.com/"), "line 1, column 1: it holds a user or a password"),
        (url("https://example.com/a/%2E%2e/{{caller}}"), "line 1, column 1: a segment of its path"),
        (url("ftp://example.com/"), "line 1, column 1: \"ftp\" is not called"),
        (body("{\n  \"n\": {{duration}}\n}"), "line 2, column 8: a placeholder stands in a string"),
        (body("{\"{{caller}}\": 1}"), "line 1, column 3: a key is not for placeholders"),
        (body("{\"a\": 1,}"), "line 1, column 9: the body is no JSON"),
        (body(""), "line 1, column 1: the body is no JSON"),
        (body("{\"a\": \"{{nonsense}}\"}"), "line 1, column 8: there is no \"nonsense\"; one of: caller, "),
    ] {
        let error = found.expect_err(says);
        assert!(error.starts_with(says), "{error:?} does not begin with {says:?}");
    }
}

#[test]
fn a_value_does_not_climb_out_of_its_folder() {
    let url = UrlTemplate::compile("https://example.com/a/{{custom}}/b", Spelling::Doubled).expect("template");
    for dots in [".", ".."] {
        assert_eq!(url.render(&scene(&facts(dots))), Err(Unfit::Dots(dots.to_owned())));
    }
    assert!(url.render(&scene(&facts("..."))).is_ok());
}

#[test]
fn the_old_spelling_needs_leave_and_is_warned_of() {
    let text = "https://example.com/{caller}?x={custom}";
    let facts = facts("a");
    let kept = UrlTemplate::compile(text, Spelling::Doubled).expect("template");
    assert_eq!(kept.render(&scene(&facts)).expect("fits").as_str(), "https://example.com/%7Bcaller%7D?x={custom}");
    assert_eq!(kept.warnings().len(), 2);
    let old = UrlTemplate::compile(text, Spelling::Single).expect("template");
    assert_eq!(old.render(&scene(&facts)).expect("fits").as_str(), "https://example.com/%2B46850000001?x=a");
    assert_eq!(old.warnings()[0], "line 1, column 21: {caller} is the old spelling; write {{caller}}");
    assert!(UrlTemplate::compile("https://example.com/{calle}", Spelling::Single).is_err());
    // Braces of the JSON itself are none.
    let body = BodyTemplate::compile("{\"a\":{},\"b\":\"{leg}\"}", Spelling::Single).expect("template");
    assert_eq!(body.render(&scene(&facts)), "{\"a\":{},\"b\":\"to\"}");
}

proptest! {
    /// Whatever the value: the same host, as many segments and parameters, each holding exactly the value.
    #[test]
    fn a_value_stays_in_its_place(value in ".*") {
        let facts = facts(&value);
        let scene = scene(&facts);
        let url = UrlTemplate::compile("https://example.com:8443/a/{{custom}}/b?x={{custom}}&y=1", Spelling::Doubled);
        match url.expect("template").render(&scene) {
            Ok(url) => {
                prop_assert_eq!(url.host_str(), Some("example.com"));
                prop_assert_eq!(url.port(), Some(8443));
                let segments: Vec<_> = url.path_segments().expect("path").collect();
                prop_assert_eq!(segments.len(), 3);
                prop_assert_eq!(percent_encoding::percent_decode_str(segments[1]).decode_utf8_lossy(), &*value);
                let pairs: Vec<_> = url.query_pairs().collect();
                prop_assert_eq!(pairs.len(), 2);
                prop_assert_eq!(&pairs[0].1, &*value);
                prop_assert!(url.fragment().is_none());
            }
            Err(unfit) => prop_assert!(matches!(unfit, Unfit::Dots(_) | Unfit::Url(_)), "{}", unfit),
        }
        let body = BodyTemplate::compile("{\"a\": \"[{{custom}}]\", \"b\": 1}", Spelling::Doubled).expect("template");
        let read: serde_json::Value = serde_json::from_str(&body.render(&scene)).expect("JSON");
        prop_assert_eq!(read, serde_json::json!({ "a": format!("[{value}]"), "b": 1 }));
        let header = HeaderTemplate::compile("<{{custom}}>", Spelling::Doubled).expect("template").render(&scene);
        prop_assert_eq!(header.is_err(), value.chars().any(char::is_control));
    }

    /// Whatever is saved: refused with its place, or rendered to what it must be.
    #[test]
    fn whatever_is_written(text in "(https://|[a-z:/@?#\\[\\]\\\\]{0,6})([a-z./?&=#@:\\\\{}\"é \n]|\\{\\{caller\\}\\}|\\{\\{custom\\}\\}){0,24}") {
        let facts = facts("a/b?c=d&e#f@g:h\\i");
        let scene = scene(&facts);
        for spelling in [Spelling::Doubled, Spelling::Single] {
            if let Ok(url) = UrlTemplate::compile(&text, spelling)
                && let Ok(rendered) = url.render(&scene)
            {
                prop_assert_eq!(rendered.origin(), url.frame().origin());
                prop_assert_eq!(rendered.path().matches('/').count(), url.frame().path().matches('/').count());
                prop_assert_eq!(rendered.query_pairs().count(), url.frame().query_pairs().count());
            }
            let _ = HeaderTemplate::compile(&text, spelling).map(|header| header.render(&scene));
            for body in [text.clone(), format!("{{\"k\": \"{text}\"}}")] {
                if let Ok(body) = BodyTemplate::compile(&body, spelling) {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&body.render(&scene)).is_ok());
                }
            }
        }
    }
}
