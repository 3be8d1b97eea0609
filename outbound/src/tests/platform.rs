//! What the platform may answer about a call, and what is made of it. That it admits our signature is told in billing's
//! tests, against the simulated platform.

use anyhow::Result;
use jiff::Timestamp;
use proto::signature::AppSecret;

use super::open;
use super::server::{Says, Server, answer};
use crate::{NotTold, Platform, Url};

/// The platform's address, which says `says` to whatever it is asked.
async fn asked(says: Says, call: &str) -> Result<std::result::Result<Option<bool>, NotTold>> {
    let server = Server::start(says).await?;
    let mut url: Url = server.url("127.0.0.1").parse()?;
    url.set_query(None);
    let platform = Platform::new(open()?, url.as_str())?;
    let secret = AppSecret::from_base64("c2VjcmV0")?;
    let told = platform.call(&"key".parse()?, &secret, &call.parse()?, Timestamp::UNIX_EPOCH).await;
    Ok(told.map(|told| told.map(|(info, _)| info.over)))
}

#[tokio::test]
async fn what_it_says_of_a_call() -> Result<()> {
    let json = |body: &str| Says::Once(answer("200 OK", body));
    assert!(matches!(asked(json(r#"{"status":"final","duration":"3"}"#), "c").await?, Ok(Some(true))));
    assert!(matches!(asked(json(r#"{"status":"ONGOING"}"#), "c").await?, Ok(Some(false))));
    for odd in [r#"{"status":"PAUSED"}"#, "{}", "[]", "<html>"] {
        assert!(matches!(asked(json(odd), "c").await?, Err(NotTold::Unreadable(_))), "{odd}");
    }
    let unknown = answer("404 Not Found", r#"{"errorCode":40400,"message":"Call not found"}"#);
    assert!(matches!(asked(Says::Once(unknown), "c").await?, Ok(None)));
    let nobody = answer("404 Not Found", "<html>no such page</html>");
    assert!(matches!(asked(Says::Once(nobody), "c").await?, Err(NotTold::Status { status: 404, .. })));
    let refused = answer("401 Unauthorized", r#"{"errorCode":40102,"message":"Invalid signature"}"#);
    let error = asked(Says::Once(refused), "c").await?.expect_err("no end");
    assert_eq!(error.to_string(), "ask the platform: it answers 401 Invalid signature");
    Ok(())
}

#[tokio::test]
async fn an_id_never_names_another_address() -> Result<()> {
    for dots in [".", ".."] {
        assert!(matches!(asked(Says::Echo, dots).await?, Ok(None)), "{dots}");
    }
    // The echo is the request, which is no JSON: its first line stands in nobody's way.
    assert!(matches!(asked(Says::Echo, "../../x?y#z").await?, Err(NotTold::Unreadable(_))));
    Ok(())
}
