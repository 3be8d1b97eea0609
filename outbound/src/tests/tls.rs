//! Whom we trust.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use reqwest::Certificate;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::server::{answer, request};
use super::settings;
use crate::{Outbound, SendError};

/// Serves as `shop.example` with a certificate that nobody knows; gives that, too.
async fn start() -> Result<(u16, Certificate, JoinSet<()>)> {
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()])?;
    let key = made.signing_key.serialize_der().try_into().map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let mut request = [0; 4096];
            if connection.read(&mut request).await.is_ok() {
                let _ = connection.write_all(&answer("200 OK\r\nconnection: close", "trusted")).await;
                let _ = connection.shutdown().await;
            }
        }
    });
    Ok((port, Certificate::from_der(made.cert.der())?, serving))
}

fn open(trusted: Vec<Certificate>) -> Result<Outbound> {
    let lookup = Arc::new(|_: &str| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    Ok(Outbound::with(settings(&["127.0.0.1/32"])?, lookup, trusted)?)
}

#[tokio::test]
async fn only_a_trusted_certificate_of_that_name_is_talked_to() -> Result<()> {
    let (port, certificate, _serving) = start().await?;
    let to = |host: &str| request(&format!("https://{host}:{port}/"));
    assert_eq!(open(vec![certificate.clone()])?.send(to("shop.example")?).await?.body, "trusted");
    for (trusted, host) in [(vec![], "shop.example"), (vec![certificate], "another.example")] {
        let sent = open(trusted)?.send(to(host)?).await;
        assert!(matches!(&sent, Err(SendError::Tls { host: named, .. }) if named == host), "{sent:?}");
    }
    Ok(())
}
