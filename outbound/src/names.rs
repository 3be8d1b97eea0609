//! Names to addresses: looked up once per connection, and only what passes the guard is connected to. So it does not
//! help to answer with a public address first and a private one later.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::error::Refused;
use crate::guard::Guard;

/// The system's resolver holds a thread until it gives up, also when nobody waits any more.
const LOOKUPS_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Asks for the addresses of a name; blocks.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The resolver the HTTP client connects by.
pub(crate) struct Names {
    guard: Guard,
    lookup: Lookup,
    lookups: Arc<Semaphore>,
}

/// Why there is no address to connect to. Comes back to us inside the HTTP client's own error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NoAddress {
    #[error("{0}")]
    Refused(Refused),
    #[error("{0}")]
    Unknown(String),
}

impl Names {
    pub(crate) fn new(guard: Guard, lookup: Lookup) -> Self {
        Self { guard, lookup, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

/// The system's own way: hosts file, then its name servers.
pub(crate) fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup, lookups) = (self.guard.clone(), Arc::clone(&self.lookup), Arc::clone(&self.lookups));
        Box::pin(async move {
            let unknown = |why: String| NoAddress::Unknown(why);
            let permit = lookups.acquire_owned().await.map_err(|error| unknown(error.to_string()))?;
            let looking = tokio::task::spawn_blocking(move || {
                let found = lookup(name.as_str());
                drop(permit);
                found
            });
            let found = looking.await.map_err(|error| unknown(error.to_string()))?;
            let passed = passed(&guard, found.map_err(|error| unknown(error.to_string()))?)?;
            // The client puts the URL's port in.
            Ok(Box::new(passed.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// The addresses that may be called, of which there is at least one.
fn passed(guard: &Guard, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, NoAddress> {
    let mut refused = None;
    let mut passed = Vec::new();
    for address in found {
        match guard.check(address) {
            Ok(()) => passed.push(address),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    passed.truncate(ADDRESSES_MAX);
    match refused {
        _ if !passed.is_empty() => Ok(passed),
        Some(refused) => Err(NoAddress::Refused(refused)),
        None => Err(NoAddress::Unknown("the name has no address".to_owned())),
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("guard", &self.guard).finish_non_exhaustive()
    }
}
