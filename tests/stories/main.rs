//! Stories: what callbus promises, told against real servers. One module per promise or crate.

mod admission;
mod bus;
mod calls;
mod cli;
mod door;
mod elsewhere;
mod faults;
mod handlers;
mod layers;
mod policies;
mod replies;
mod tracing;
mod views;
mod wallets;
