//! Stories: what callbus promises, told against real servers. One module per promise or crate.

mod admission;
mod bus;
mod calls;
mod cli;
mod door;
mod faults;
mod layers;
mod tracing;
mod wallets;
