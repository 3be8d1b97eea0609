//! A wire to a server that can be cut and slowed, or lead to something else that answers without an end. A cut wire is
//! silent, as when a cable is pulled: nobody is told, no connection is refused or reset, and what was on its way arrives
//! late, when the wire is mended, as TCP has it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What the wire does to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Cut,
    /// Each piece that is read arrives so much later, in both directions.
    Slow(Duration),
    Babble(Babble),
}

/// What is answered in the server's place: something, and then something else over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Babble {
    pub begins: &'static str,
    pub goes_on: &'static str,
    /// None: as fast as it is taken.
    pub every: Option<Duration>,
}

/// Ends with its handle.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    state: watch::Sender<State>,
    _forwarding: JoinSet<()>,
}

impl Wire {
    /// A wire to a server on this machine.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("lay a wire")?;
        let own = listener.local_addr()?.port();
        let (state, watched) = watch::channel(State::Whole);
        let mut forwarding = JoinSet::new();
        forwarding.spawn(accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), watched));
        Ok(Self { port: own, state, _forwarding: forwarding })
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub fn slow(&self, by: Duration) {
        self.state.send_replace(State::Slow(by));
    }

    /// Who dials from now on.
    pub fn babble(&self, babble: Babble) {
        self.state.send_replace(State::Babble(babble));
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => drop(connections.spawn(connect(client, server, state.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    // Who dials while it is cut hears nothing until it is mended.
    if state.wait_for(|state| *state != State::Cut).await.is_err() {
        return;
    }
    let now = *state.borrow();
    if let State::Babble(babble) = now {
        return talk(client, babble).await;
    }
    // Nobody there: refused here as there.
    let Ok(there) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), there.into_split());
    let up = carry(from_client, to_server, state.clone());
    let down = carry(from_server, to_client, state);
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// Until whoever asked has had enough.
async fn talk(mut client: TcpStream, Babble { begins, goes_on, every }: Babble) {
    let mut asked = vec![0; 64 * 1024];
    if client.read(&mut asked).await.is_err() || client.write_all(begins.as_bytes()).await.is_err() {
        return;
    }
    while client.write_all(goes_on.as_bytes()).await.is_ok() {
        if let Some(pause) = every {
            sleep(pause).await;
        }
    }
}

/// Until one side ends. On a cut wire the end comes late as well.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let now = *state.borrow();
        if let State::Slow(by) = now {
            sleep(by).await;
        }
        if state.wait_for(|state| *state != State::Cut).await.is_err() {
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
