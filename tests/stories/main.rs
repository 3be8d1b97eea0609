//! Stories: what callbus promises, told against real servers. One module per promise or crate.

mod admission;
mod backup;
mod billing;
mod broker;
mod bus;
mod calls;
mod cli;
mod contracts;
mod delivery;
mod door;
mod elsewhere;
mod faults;
mod groups;
mod handlers;
mod layers;
mod metrics;
mod openapi;
mod placing;
mod policies;
mod profiles;
mod replies;
mod tracing;
mod views;
mod wallets;
