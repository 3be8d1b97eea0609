//! Names to addresses: looked up once per connection, and only what passes the guard is connected to. So it does not
//! help to answer with a public address first and a private one later.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use crate::error::Refused;
use crate::guard::Guard;

/// Names looked up at the same time. The system's resolver holds a thread until it gives up, also when nobody waits any
/// more; so all who want one name wait for one look-up, and a dead name server slows only its own names.
const LOOKUPS_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Asks for the addresses of a name; blocks.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// `None` until the look-up is over.
type Found = Option<Result<Vec<IpAddr>, String>>;
type Looking = Arc<Mutex<HashMap<String, watch::Receiver<Found>>>>;

/// The resolver the HTTP client connects by.
pub(crate) struct Names {
    guard: Guard,
    lookup: Lookup,
    looking: Looking,
}

/// Why there is no address to connect to. Comes back to us inside the HTTP client's own error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NoAddress {
    #[error("{0}")]
    Refused(Refused),
    #[error("{0}")]
    Unknown(String),
}

/// The system's own way: hosts file, then its name servers.
pub(crate) fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

impl Names {
    pub(crate) fn new(guard: Guard, lookup: Lookup) -> Self {
        Self { guard, lookup, looking: Looking::default() }
    }

    /// The addresses of a name that may be called.
    pub(crate) fn addresses(&self, name: &str) -> impl Future<Output = Result<Vec<IpAddr>, NoAddress>> + use<> {
        let (guard, found) = (self.guard.clone(), self.look_up(name));
        async move {
            let mut found = found?;
            let found = found.wait_for(Option::is_some).await.map(|found| found.clone().unwrap_or(Ok(Vec::new())));
            let found = found.unwrap_or_else(|_| Err("the look-up broke off".to_owned()));
            passed(&guard, found.map_err(NoAddress::Unknown)?)
        }
    }

    /// Where the addresses of a name will be told.
    fn look_up(&self, name: &str) -> Result<watch::Receiver<Found>, NoAddress> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = looking.get(name) {
            return Ok(found.clone());
        }
        if looking.len() >= LOOKUPS_MAX {
            return Err(NoAddress::Unknown(format!("{LOOKUPS_MAX} names are being looked up; try again")));
        }
        let (tell, found) = watch::channel(None);
        looking.insert(name.to_owned(), found.clone());
        let lookup = Arc::clone(&self.lookup);
        let under_way = UnderWay { looking: Arc::clone(&self.looking), name: name.to_owned() };
        tokio::task::spawn_blocking(move || {
            let answer = lookup(&under_way.name).map_err(|error| error.to_string());
            // Who comes from here on looks up anew: what was found is handed over, not kept.
            drop(under_way);
            tell.send_replace(Some(answer));
        });
        Ok(found)
    }
}

/// A look-up of the list, until it is dropped.
struct UnderWay {
    looking: Looking,
    name: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.addresses(name.as_str());
        Box::pin(async move {
            let passed = addresses.await?;
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
