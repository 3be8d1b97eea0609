//! What may be called, and what may not, however it is written.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use proptest::prelude::*;

use super::server::{Says, Server, request};
use super::{open_system, open_with, settings};
use crate::{BadUrl, Guard, SendError, check_url};

#[test]
fn only_the_public_internet_is_called() -> Result<()> {
    let guard = Guard::new(Vec::new(), true);
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.0.1",
        "100.128.0.0",
        "223.255.255.255",
        "198.17.0.1",
        "2606:4700::1111",
        "2001:200::1",
        "2a00:1450::8a",
        "2003::1",
    ] {
        assert_eq!(guard.check(address.parse()?), Ok(()), "{address}");
    }
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::8.8.8.8",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378::",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "8000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ffff::1",
    ] {
        assert!(guard.check(address.parse()?).is_err(), "{address}");
    }
    Ok(())
}

#[test]
fn what_is_allowed_is_called_and_nothing_beside_it() -> Result<()> {
    let guard = Guard::new(settings(&["10.1.0.0/16", "fd00::/8", "127.0.0.1/32"])?.allow, false);
    for (address, is_called) in [
        ("10.1.2.3", true),
        ("10.2.0.0", false),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("fd12::1", true),
        ("fc00::1", false),
        ("::ffff:10.1.2.3", false),
        ("8.8.8.8", true),
    ] {
        assert_eq!(guard.check(address.parse()?).is_ok(), is_called, "{address}");
    }
    let refused = guard.check("192.168.1.7".parse()?);
    assert_eq!(
        refused.map_err(|refused| refused.to_string()),
        Err("192.168.1.7 is not called: it lies in \
        192.168.0.0/16 (private); to call it all the same, name that network or a smaller one in `allow`"
            .to_owned())
    );
    Ok(())
}

#[test]
fn a_url_is_checked_when_it_is_saved() -> Result<()> {
    let outbound = open_system(&[])?;
    assert_eq!(outbound.check("https://shop.example/a?b=c")?.as_str(), "https://shop.example/a?b=c");
    outbound.check("http://[2606:4700::1111]:8080/")?;
    let said = |text: &str| outbound.check(text).expect_err(text).to_string();
    assert_eq!(said("shop.example/a"), "it is no URL: relative URL without a base; write it as https://host/path");
    assert_eq!(said("ftp://shop.example/"), "\"ftp\" is not called; write an https or http URL");
    assert_eq!(said("https://user@shop.example/"), "it holds a user or a password; send them in a header");
    assert_eq!(said("https://:secret@shop.example/"), "it holds a user or a password; send them in a header");
    assert!(matches!(outbound.check(&format!("https://a/{}", "x".repeat(9000))), Err(BadUrl::TooLong { .. })));
    for text in [
        "file:///etc/passwd",
        "gopher://a/",
        "data:,a",
        "unix:/run/a",
        "https://",
        "https://a b/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://999.1.1.1/",
        "http://1.2.3.4.5/",
        "",
    ] {
        assert!(check_url(text).is_err(), "{text}");
    }
    Ok(())
}

/// One by one, so that each is known to be read as the address it is, and not to fail for another reason.
#[test]
fn every_spelling_of_an_address_is_known() -> Result<()> {
    let outbound = open_system(&[])?;
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "017700000001",
        "0177.0.0.01",
        "127.0.0.1.",
        "0x7f.0.0.0x1",
        "127.0.0.0x01",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "１２７.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "0",
        "0x0",
    ] {
        let checked = outbound.check(&format!("http://{host}:8080/"));
        assert!(matches!(checked, Err(BadUrl::Refused(_))), "{host}: {checked:?}");
    }
    Ok(())
}

/// A part of an address, or all of it, in any base.
fn spelled(number: u32, base: u8) -> String {
    match base % 4 {
        0 => number.to_string(),
        1 => format!("0x{number:x}"),
        2 => format!("0{number:o}"),
        _ => format!("0X{number:X}"),
    }
}

/// An address in so many parts, each in a base of its own; the last part has the rest of the bits.
fn written(address: Ipv4Addr, parts: usize, bases: [u8; 4]) -> String {
    let octets = address.octets();
    let last = octets[parts - 1..].iter().fold(0, |number, octet| number << 8 | u32::from(*octet));
    let firsts = octets[..parts - 1].iter().map(|octet| u32::from(*octet));
    let spelled: Vec<String> = firsts.chain([last]).zip(bases).map(|(part, base)| spelled(part, base)).collect();
    spelled.join(".")
}

fn private() -> impl Strategy<Value = Ipv4Addr> {
    let networks = [(10, 0, 8), (127, 0, 8), (172, 16, 12), (192, 168, 16), (169, 254, 16), (100, 64, 10), (0, 0, 8)];
    (proptest::sample::select(networks.to_vec()), any::<u32>())
        .prop_map(|((a, b, prefix_bits), rest)| Ipv4Addr::from(u32::from_be_bytes([a, b, 0, 0]) | rest >> prefix_bits))
}

proptest! {
    #[test]
    fn no_spelling_of_a_private_address_gets_through(
        address in private(), parts in 1..=4_usize, bases in any::<[u8; 4]>(), dot in "[.。．｡]", end in "\\.?",
        escaped in any::<bool>(), scheme in "https?",
    ) {
        let mut host = written(address, parts, bases).replace('.', &dot) + &end;
        if escaped {
            host = host.bytes().map(|byte| format!("%{byte:02x}")).collect();
        }
        let url = check_url(&format!("{scheme}://{host}/")).expect("a URL");
        let checked = Guard::new(Vec::new(), true).check_host(&url);
        prop_assert!(matches!(&checked, Err(BadUrl::Refused(refused)) if refused.address == address), "{host}: {checked:?}");
    }

    #[test]
    fn what_the_standard_library_calls_private_is_refused(bits in any::<u32>()) {
        let address = Ipv4Addr::from(bits);
        let is_special = address.is_private() || address.is_loopback() || address.is_link_local()
            || address.is_multicast() || address.is_broadcast() || address.is_documentation() || address.is_unspecified();
        prop_assert!(!is_special || Guard::new(Vec::new(), true).check(address.into()).is_err());
        // However it is carried inside IPv6.
        for carried in [address.to_ipv6_mapped(), address.to_ipv6_compatible()] {
            prop_assert!(Guard::new(Vec::new(), true).check(carried.into()).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_check_panic(text in "\\PC{0,60}") {
        let _ = check_url(&text);
        let _ = check_url(&format!("http://{text}"));
    }
}

/// Whoever is refused is not even connected to.
#[tokio::test]
async fn refused_names_and_addresses_see_no_connection() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    let outbound = open_system(&[])?;
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let sent = outbound.send(server.request(host)?).await;
        assert!(matches!(&sent, Err(SendError::Refused { .. })), "{host}: {sent:?}");
    }
    let sent = outbound.send(request("ftp://shop.example/")?).await;
    assert!(matches!(sent, Err(SendError::Url(BadUrl::Scheme(_)))), "{sent:?}");
    assert_eq!(server.connections(), 0);
    // The same server is reached once it is allowed, so it was the guard that kept us away.
    let allowed = open_system(&["127.0.0.0/8", "::1/128"])?;
    assert_eq!(allowed.send(server.request("localhost")?).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn an_ipv6_address_is_called_where_it_is_allowed() -> Result<()> {
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else { return Ok(()) };
    let url = format!("http://[::1]:{}/", listener.local_addr()?.port());
    let sent = open_system(&[])?.send(request(&url)?).await;
    assert!(matches!(&sent, Err(SendError::Refused { host, .. }) if host == "[::1]"), "{sent:?}");
    drop(listener);
    let sent = open_system(&["::1/128"])?.send(request(&url)?).await;
    assert!(matches!(sent, Err(SendError::Connect { .. })), "nobody listens any more: {sent:?}");
    Ok(())
}

/// The name server answers with an address that may be called, and next time with one that may not.
#[tokio::test]
async fn a_name_that_changes_its_address_is_caught() -> Result<()> {
    let server =
        Server::start(Says::Once(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec()));
    let server = server.await?;
    let outbound = open_with(&["127.0.0.1/32"], |asked| match asked {
        0 => vec![Ipv4Addr::LOCALHOST.into()],
        _ => vec![Ipv4Addr::new(127, 0, 0, 2).into()],
    })?;
    assert_eq!(outbound.send(server.request("shop.example")?).await?.status, 200);
    let sent = outbound.send(server.request("shop.example")?).await;
    let Err(SendError::Refused { host, refused }) = &sent else { anyhow::bail!("{sent:?}") };
    assert_eq!((host.as_str(), refused.address), ("shop.example", IpAddr::from([127, 0, 0, 2])));
    assert_eq!(server.connections(), 1);
    Ok(())
}

/// Of several addresses only those that passed are tried, also when they fail.
#[tokio::test]
async fn of_mixed_addresses_only_the_good_ones_are_tried() -> Result<()> {
    let server = Server::start(Says::Echo).await?;
    let (bad, good) = (IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 1]));
    let outbound = open_with(&["127.0.0.1/32"], move |_| vec![bad, good])?;
    let sent = outbound.send(server.request("shop.example")?).await?;
    assert_eq!(sent.status, 200);
    let nobody_there = IpAddr::from([127, 0, 0, 3]);
    let outbound = open_with(&["127.0.0.3/32"], move |_| vec![nobody_there, bad])?;
    let port = std::net::TcpListener::bind("127.0.0.2:0")?;
    let sent = outbound.send(request(&format!("http://shop.example:{}/", port.local_addr()?.port()))?).await;
    assert!(matches!(sent, Err(SendError::Connect { .. })), "{sent:?}");
    Ok(())
}
