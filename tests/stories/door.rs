//! Who gets in, and what the others are told. Nothing that is turned away is recorded as a call.

use anyhow::Result;
use futures::TryStreamExt;
use proto::signature::AppSecret;
use proto::{Filter, Stream};
use simulator::{SignWith, Tamper};
use tests::World;
use tests::world::{ALLOWED, POLICY, now};

use crate::calls::{script, stories};

stories! {
    super::POLICY => what_is_not_right_is_turned_away,
    super::POLICY => people_and_probes_are_greeted,
}

async fn what_is_not_right_is_turned_away(world: World) -> Result<()> {
    let platform = world.platform(20)?;
    let ice = platform.facts(&script(ALLOWED)).ice(now());
    let tampered = |tamper| SignWith { tamper: Some(tamper), ..SignWith::default() };
    let stamped = |timestamp: String| SignWith { timestamp: Some(timestamp), ..SignWith::default() };
    let minutes = |minutes: i64| (now() + jiff::SignedDuration::from_mins(minutes)).to_string();
    let foreign = String::from_utf8(ice.to_vec())?.replace(tests::world::APP_KEY, "another-application");
    let cases: Vec<(&str, bytes::Bytes, SignWith, u16)> = vec![
        ("signature", ice.clone(), tampered(Tamper::Signature), 401),
        ("signature", ice.clone(), tampered(Tamper::Body), 401),
        (
            "signature",
            ice.clone(),
            SignWith { secret: Some(AppSecret::from_base64("d3Jvbmc=")?), ..SignWith::default() },
            401,
        ),
        ("no_authorization", ice.clone(), tampered(Tamper::NoAuthorization), 401),
        ("no_timestamp", ice.clone(), tampered(Tamper::NoTimestamp), 401),
        ("unknown_key", ice.clone(), SignWith { key: Some("nobody".parse()?), ..SignWith::default() }, 401),
        ("age", ice.clone(), stamped(minutes(-6)), 401),
        ("age", ice.clone(), stamped(minutes(6)), 401),
        ("bad_timestamp", ice.clone(), stamped("yesterday".to_owned()), 401),
        ("wrong_app", foreign.into(), SignWith::default(), 401),
        ("too_large", vec![b' '; 256 * 1024 + 1].into(), SignWith::default(), 413),
        ("not_a_callback", "not json".into(), SignWith::default(), 400),
        ("not_a_callback", "[]".into(), SignWith::default(), 400),
        ("not_a_callback", "{}".into(), SignWith::default(), 400),
        ("not_a_callback", "".into(), SignWith::default(), 400),
        ("no_call_id", r#"{"event":"ice"}"#.into(), SignWith::default(), 400),
    ];
    let mut expected = Vec::new();
    for (code, body, sign, status) in cases {
        let reply = platform.send(body, sign).await?;
        assert_eq!(reply.status, status, "{code}: {}", String::from_utf8_lossy(&reply.body));
        expected.push(code);
    }
    let rejected = world.get("/v1/rejected").await?;
    let mut listed: Vec<&str> = rejected["rejected"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rejected| rejected["code"].as_str())
        .collect();
    listed.reverse();
    assert_eq!(listed, expected, "the newest stands first");
    let recorded: Vec<_> = world.log().await?.read(&Filter::All(Stream::Calls), 0).try_collect().await?;
    assert!(recorded.is_empty(), "{recorded:?}");

    // What asks nothing is kept even without a call id, and even when it is of an unknown kind.
    for body in [r#"{"event":"dice"}"#, r#"{"event":"notify","type":"news"}"#, r#"{"event":"hologram","x":1}"#] {
        let reply = platform.send(body, SignWith::default()).await?;
        assert_eq!((reply.status, reply.body.as_ref()), (200, &b"{}"[..]), "{body}");
    }
    tests::eventually("all three are in the log", async || {
        Ok((world.log().await?.read(&Filter::All(Stream::Calls), 0).try_collect::<Vec<_>>().await?.len() == 3)
            .then_some(()))
    })
    .await
}

async fn people_and_probes_are_greeted(world: World) -> Result<()> {
    let url = world.callbacks("ingress-1");
    let http = tests::world::client();
    assert_eq!(http.get(&url).send().await?.status(), 200);
    assert_eq!(http.head(&url).send().await?.status(), 200);
    assert_eq!(http.put(&url).send().await?.status(), 405);
    assert_eq!(http.post(url.replace("callbacks", "elsewhere")).send().await?.status(), 404);
    assert_eq!(http.post(&url).body("{}").send().await?.status(), 401);
    Ok(())
}

/// Connections that say nothing, or only half of it, hold up neither the others nor a drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_holds_nobody_up() -> Result<()> {
    let mut world = World::embedded(POLICY).await?;
    let address = world.callbacks("ingress-1").replace("http://", "").replace("/callbacks", "");
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = std::net::TcpStream::connect(&address)?;
        std::io::Write::write_all(&mut stream, b"POST /callbacks HTTP/1.1\r\nX-a: b")?;
        idle.push(stream);
    }
    let platform = world.platform(21)?;
    let reply = platform.send(platform.facts(&script(ALLOWED)).ice(now()), SignWith::default()).await?;
    assert_eq!(reply.status, 200);
    world.stop()
}
