//! What arrives there, and what comes back.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;

use super::server::{Says, Server, answer, request};
use super::{open, open_with};
use crate::SendError;

#[tokio::test]
async fn a_request_arrives_unchanged_and_its_answer_comes_back() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    let mut request = server.request("127.0.0.1")?;
    request.headers.push(("x-timestamp".to_owned(), "2026-01-02T03:04:05Z".to_owned()));
    request.headers.push(("Authorization".to_owned(), "application key:signature==".to_owned()));
    request.body = "{ \"callid\" : \"1\" }\n".into();
    let reply = open()?.send(request).await?;
    let echo = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(echo.starts_with("POST /callbacks?key=1 HTTP/1.1\r\n"), "{echo}");
    assert!(echo.ends_with("\r\n\r\n{ \"callid\" : \"1\" }\n"), "{echo}");
    for line in [
        "content-type: application/json",
        "x-timestamp: 2026-01-02T03:04:05Z",
        "authorization: application key:signature==",
        "user-agent: callbus/test",
    ] {
        assert!(echo.contains(&format!("\r\n{line}\r\n")), "{line} in {echo}");
    }
    assert!(!echo.contains("accept-encoding"), "{echo}");
    assert_eq!(reply.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_an_answer() -> Result<()> {
    let elsewhere = Server::start(Says::Echo).await?;
    let head = format!("302 Found\r\nlocation: {}", elsewhere.url("127.0.0.1"));
    let server = Server::start(Says::Once(answer(&head, ""))).await?;
    let reply = open()?.send(server.request("127.0.0.1")?).await?;
    assert_eq!((reply.status, reply.header("location")), (302, Some(elsewhere.url("127.0.0.1").as_str())));
    assert_eq!((server.requests(), elsewhere.connections()), (1, 0));
    Ok(())
}

#[tokio::test]
async fn what_is_compressed_stays_so() -> Result<()> {
    let server = Server::start(Says::Once(answer("200 OK\r\ncontent-encoding: gzip", "no gzip at all"))).await?;
    let reply = open()?.send(server.request("127.0.0.1")?).await?;
    assert_eq!((&reply.body[..], reply.header("content-encoding")), (&b"no gzip at all"[..], Some("gzip")));
    Ok(())
}

#[tokio::test]
async fn one_connection_and_one_look_up_serve_many_requests() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    // A second look-up would find an address that is refused.
    let outbound = open_with(&["127.0.0.1/32"], |asked| match asked {
        0 => vec![Ipv4Addr::LOCALHOST.into()],
        _ => vec![Ipv4Addr::new(10, 0, 0, 1).into()],
    })?;
    for _ in 0..10 {
        assert_eq!(outbound.send(server.request("shop.example")?).await?.status, 200);
    }
    assert_eq!((server.requests(), server.connections()), (10, 1));
    Ok(())
}

#[tokio::test]
async fn what_belongs_to_the_connection_is_not_sent_for_others() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    for (name, value) in [
        ("Host", "elsewhere"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("x-note", "a\r\nhost: elsewhere"),
        ("x note", "a"),
        ("", "a"),
    ] {
        let mut request = server.request("127.0.0.1")?;
        request.headers.push((name.to_owned(), value.to_owned()));
        let sent = open()?.send(request).await;
        assert!(matches!(sent, Err(SendError::Header { .. })), "{name}: {sent:?}");
    }
    let mut many = server.request("127.0.0.1")?;
    many.headers = vec![("x".to_owned(), "y".to_owned()); 65];
    assert!(matches!(open()?.send(many).await, Err(SendError::Header { .. })));
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn nobody_there_and_no_such_name_have_names() -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let sent = open()?.send(request(&format!("http://shop.example:{port}/?token=secret"))?).await;
    let Err(error @ SendError::Connect { .. }) = sent else { anyhow::bail!("{sent:?}") };
    assert_eq!(error.to_string(), "connect to shop.example: Connection refused (os error 111)");
    let sent = open_with(&[], |_| Vec::new())?.send(request("https://shop.example/")?).await;
    assert_eq!(
        sent.map_err(|error| error.to_string()),
        Err("resolve shop.example: the name has no address".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_http_has_a_name() -> Result<()> {
    let server = Server::start(Says::Once(b"220 mail.example ESMTP\r\n".to_vec())).await?;
    let sent = open()?.send(server.request("127.0.0.1")?).await;
    assert!(matches!(sent, Err(SendError::Http { .. })), "{sent:?}");
    Ok(())
}

/// The environment of a process cannot be changed from within, so another process runs a test that is known to pass.
#[test]
fn no_proxy_is_taken_from_the_environment() -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--exact", "tests::exchange::a_redirect_is_an_answer"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, "http://127.0.0.1:1");
    }
    let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_request_shown_in_a_log_keeps_its_secrets() -> Result<()> {
    let mut request = request("https://shop.example/token-1?key=secret-2")?;
    request.headers.push(("authorization".to_owned(), "secret-3".to_owned()));
    request.body = "+46701234567".into();
    let shown = format!("{request:?}");
    assert!(shown.contains("shop.example"), "{shown}");
    assert!(["token-1", "secret-2", "secret-3", "+467"].iter().all(|secret| !shown.contains(secret)), "{shown}");
    Ok(())
}
