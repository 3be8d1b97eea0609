//! Callback URLs that are changed over REST are those that callbacks go to.

use proto::Kind::{Ace, Dice};
use serde_json::{Value, json};

use super::callouts::{callout, end, platform};
use super::rest::refused;
use super::server::{Canned, Server, only};
use super::{end as told, script};

const PATH: &str = "/v1/configuration/callbacks/applications/669e367e-6bba-48ab-af15-266871c28135";

#[tokio::test]
async fn callbacks_go_where_the_configuration_says() {
    let (first, platform, rest) = platform(r#"{"action":{"name":"hangup"}}"#).await;
    let url = |primary: &str, fallback: &str| json!({ "url": { "primary": primary, "fallback": fallback } });
    assert_eq!(rest.get(PATH).await, (200, url(&first.url, "")));
    // The primary fails, in every way the platform counts as one.
    for answer in [|| Canned::Status(500), || Canned::Never, || Canned::Redirect] {
        let (broken, fallback) = (Server::start(move |_| answer()).await, Server::start(|_| only("hangup")).await);
        let wanted = url(&broken.url, &fallback.url);
        assert_eq!(rest.post(PATH, &wanted).await, (200, Value::Null));
        assert_eq!(rest.get(PATH).await, (200, wanted));
        assert_eq!(rest.post("/calling/v1/callouts", &callout(json!({}))).await.0, 200);
        end(&broken).await;
        assert_eq!((broken.kinds(), fallback.kinds()), (vec![Ace, Dice], vec![Ace]));
        // For calls that come in as well.
        assert_eq!(told(&platform.call(script()).await), ("N/A", "MANAGERHANGUP", None));
    }
    assert!(first.seen().is_empty());
    // Without a fallback there is none.
    let broken = Server::start(|_| Canned::Status(500)).await;
    assert_eq!(rest.post(PATH, &json!({ "url": { "primary": broken.url } })).await.0, 200);
    assert_eq!(told(&platform.call(script()).await), ("FAILED", "CALLBACKERROR", None));
}

#[tokio::test]
async fn a_configuration_that_is_wrong_changes_nothing() {
    let (server, _platform, rest) = platform(r#"{"action":{"name":"hangup"}}"#).await;
    for (body, code) in [
        (json!({}), 40002),
        (json!({ "url": {} }), 40002),
        (json!({ "url": [{ "primary": "http://a.example/" }] }), 40001),
        (json!({ "url": { "primary": 1 } }), 40001),
        (json!({ "url": { "primary": "ftp://a.example/" } }), 40001),
        (json!({ "url": { "primary": "http://a.example/", "fallback": "somewhere" } }), 40001),
        (json!({ "url": { "primary": "http://a.example/", "third": "" } }), 40001),
    ] {
        assert_eq!(refused(rest.post(PATH, &body).await), code, "{body}");
    }
    let other = "/v1/configuration/callbacks/applications/other";
    assert_eq!(refused(rest.get(other).await), 40003);
    assert_eq!(refused(rest.post(other, &json!({ "url": { "primary": server.url } })).await), 40003);
    assert_eq!(rest.get(PATH).await.1["url"]["primary"], server.url.as_str());
}
