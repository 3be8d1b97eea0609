//! Servers that are slow or do not stop.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use super::server::{Says, Server, answer, request};
use super::{open, open_with, settings};
use crate::{Outbound, Request, SendError};

const SHORT: Duration = Duration::from_millis(300);
const DRIP: Duration = Duration::from_millis(20);

/// Ends at its deadline, neither before nor long after.
async fn ends_in_time(outbound: &Outbound, request: Request) {
    let began = Instant::now();
    let sent = outbound.send(Request { timeout: SHORT, ..request }).await;
    assert!(matches!(&sent, Err(SendError::Timeout { within, .. }) if *within == SHORT), "{sent:?}");
    assert!(began.elapsed() >= SHORT && began.elapsed() < SHORT * 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn slow_heads_and_bodies_end_at_the_deadline() -> Result<()> {
    let head = Server::start(Says::Slowly(answer("200 OK", "never seen"), DRIP)).await?;
    ends_in_time(&open()?, head.request("127.0.0.1")?).await;
    // Each byte comes in time; all of them do not.
    let body = Server::start(Says::Once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234".to_vec())).await?;
    ends_in_time(&open()?, body.request("127.0.0.1")?).await;
    let silent = Server::start(Says::Once(Vec::new())).await?;
    ends_in_time(&open()?, silent.request("127.0.0.1")?).await;
    Ok(())
}

#[tokio::test]
async fn a_slow_look_up_ends_at_the_deadline() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    let outbound = open_with(&["127.0.0.1/32"], |_| {
        std::thread::sleep(SHORT * 3);
        vec![Ipv4Addr::LOCALHOST.into()]
    })?;
    ends_in_time(&outbound, server.request("shop.example")?).await;
    assert_eq!(server.requests(), 0);
    Ok(())
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound() -> Result<()> {
    let outbound = open()?;
    for (length, is_read) in [(0, true), (1000, true), (1001, false), (1_000_000, false)] {
        let server = Server::start(Says::Once(answer("200 OK", &"x".repeat(length)))).await?;
        match outbound.send(server.request("127.0.0.1")?).await {
            Ok(reply) => assert!(is_read && reply.body.len() == length, "{length}"),
            Err(error) => assert!(!is_read && matches!(error, SendError::TooLarge { .. }), "{length}: {error}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_body_without_an_end_is_given_up() -> Result<()> {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).into_bytes();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let until_closed = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    for head in [chunked, until_closed] {
        let server = Server::start(Says::ForEver(head, chunk.clone())).await?;
        let sent = open()?.send(server.request("127.0.0.1")?).await;
        assert!(matches!(sent, Err(SendError::TooLarge { bytes_max: 1000, .. })), "{sent:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_head_without_an_end_is_given_up() -> Result<()> {
    let line = format!("x-more: {}\r\n", "x".repeat(1000)).into_bytes();
    for over_and_over in [line, vec![b'x'; 1000], b"a: b\r\n".to_vec()] {
        let server = Server::start(Says::ForEver(b"HTTP/1.1 200 OK\r\n".to_vec(), over_and_over)).await?;
        let sent = open()?.send(server.request("127.0.0.1")?).await;
        assert!(matches!(sent, Err(SendError::Http { .. })), "{sent:?}");
    }
    Ok(())
}

async fn reaches(count: &AtomicUsize, wanted: usize) -> Result<()> {
    let waiting = async {
        while count.load(Ordering::SeqCst) < wanted {
            tokio::task::yield_now().await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(20), waiting).await?)
}

/// Names that hang hold one thread each, however many want them; beyond the bound a new name is refused at once. When
/// they come to their end all who waited are served.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_hang_are_looked_up_once_and_hold_up_no_other() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    let (lookups, (release, held)) = (Arc::<AtomicUsize>::default(), mpsc::channel::<()>());
    let (counted, held) = (Arc::clone(&lookups), Mutex::new(held));
    let lookup = move |name: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        if name.starts_with("hangs") {
            // Until the other end is dropped.
            let _ = held.lock().map(|held| held.recv());
        }
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    };
    let outbound = Outbound::with(settings(&["127.0.0.1/32"])?, Arc::new(lookup), Vec::new())?;
    let mut sending = JoinSet::new();
    for n in 0..300 {
        let (outbound, request) = (outbound.clone(), server.request(&format!("hangs-{}.example", n % 63))?);
        sending.spawn(async move { outbound.send(request).await });
    }
    reaches(&lookups, 63).await?;
    assert_eq!(outbound.send(server.request("shop.example")?).await?.status, 200);
    let last = server.request("hangs-63.example")?;
    let one_more = outbound.clone();
    sending.spawn(async move { one_more.send(last).await });
    reaches(&lookups, 65).await?;
    let refused = outbound.send(request("https://another.example/")?).await;
    assert!(matches!(&refused, Err(SendError::Resolve { why, .. }) if why.contains("64 names")), "{refused:?}");
    drop(release);
    while let Some(sent) = sending.join_next().await {
        assert_eq!(sent??.status, 200);
    }
    Ok(())
}
