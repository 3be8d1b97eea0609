//! What may be called: plain web URLs, at addresses of the public internet and those the operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;
use url::Host;

use crate::error::{BadUrl, Refused};

/// What servers commonly take.
const URL_BYTES_MAX: usize = 8192;

/// Addresses that are not the public internet's (IANA's registries of special addresses), the first that matches.
const V4: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 8), "this machine"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by a provider's customers"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    // Public by its number, yet answered by the machine's own host.
    (v4([168, 63, 129, 16], 32), "Azure's metadata"),
    (v4([169, 254, 0, 0], 16), "link-local, and a cloud's metadata"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relays"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmarks"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// Only 2000::/3 is given out, and not all of it. What carries an IPv4 address within is refused whole: another machine
/// would take it out and call it.
const V6: [(Ipv6Net, &str); 18] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4 mapped; write it as IPv4"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4 compatible"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discarded"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments, Teredo, benchmarks"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 3), "reserved"),
    (v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2), "reserved"),
    (v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1), "reserved"),
];

/// Who may be called. One for saving, trying out and sending.
#[derive(Debug, Clone)]
pub struct Guard {
    allow: Vec<IpNet>,
    plain_http: bool,
}

impl Guard {
    /// `allow`: networks that may be called though they are not the public internet's. `plain_http`: also by `http`, which
    /// is else for addresses in `allow` alone.
    pub fn new(allow: Vec<IpNet>, plain_http: bool) -> Self {
        Self { allow, plain_http }
    }

    /// Whether an address may be called.
    ///
    /// # Errors
    /// With the network that forbids it.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let found = match address {
            IpAddr::V4(v4) => V4
                .iter()
                .find(|(network, _)| network.contains(&v4))
                .map(|(network, range)| (IpNet::V4(*network), range)),
            IpAddr::V6(v6) => V6
                .iter()
                .find(|(network, _)| network.contains(&v6))
                .map(|(network, range)| (IpNet::V6(*network), range)),
        };
        match found {
            Some((network, range)) if !self.allows(address) => Err(Refused { address, network, range }),
            Some(_) | None => Ok(()),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|allowed| allowed.contains(&address))
    }

    /// The same for an address in a URL, and whether it may be called in the open. A name passes: its addresses are looked
    /// at when it is called.
    ///
    /// # Errors
    /// With the network, or the scheme, that forbids it.
    pub fn check_host(&self, url: &Url) -> Result<(), BadUrl> {
        let address: Option<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        address.map_or(Ok(()), |address| self.check(address))?;
        if url.scheme() == "http" && !self.plain_http && !address.is_some_and(|address| self.allows(address)) {
            return Err(BadUrl::Plain);
        }
        Ok(())
    }
}

/// Reads a URL that may be called, as far as its text tells. [`crate::Outbound::check`] also looks at an address in it.
///
/// Every other spelling of an IPv4 address (decimal, octal, hexadecimal, fewer parts) becomes the usual one here.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_url(text: &str) -> Result<Url, BadUrl> {
    if text.len() > URL_BYTES_MAX {
        return Err(BadUrl::TooLong { bytes: text.len(), bytes_max: URL_BYTES_MAX });
    }
    let url = Url::parse(text).map_err(|error| BadUrl::Syntax(error.to_string()))?;
    check(&url)?;
    Ok(url)
}

/// The same for a URL that was read elsewhere.
pub(crate) fn check(url: &Url) -> Result<(), BadUrl> {
    if !matches!(url.scheme(), "https" | "http") {
        return Err(BadUrl::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadUrl::Credentials);
    }
    Ok(())
}

const fn v4([a, b, c, d]: [u8; 4], prefix_bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_bits)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix_bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix_bits)
}
