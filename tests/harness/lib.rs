//! What stories stand on: real servers on free ports, each with a directory of its own, ended with their handle; and
//! whole installations of callbus on top of them.

pub mod books;
pub mod crm;
pub mod ear;
pub mod history;
pub mod load;
pub mod nats;
pub mod openapi;
pub mod ports;
pub mod postgres;
pub mod program;
pub mod receiver;
pub mod redis;
pub mod role;
mod server;
pub mod tables;
pub mod tls;
pub mod tryton;
pub mod wire;
pub mod world;

pub use world::{World, eventually};
