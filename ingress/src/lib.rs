//! The door. A callback is verified, a worker is asked, both are recorded, then the answer goes out.
//!
//! [`door`] lets in what is signed, [`conversation`] asks the workers,
//! [`answer`] puts the steps in order and falls back when nobody can say, and [`rejected`] remembers who was turned
//! away and why. Nothing of a body is parsed before its signature is right, and nothing is answered 2xx before it is
//! durable.

mod answer;
mod conversation;
mod door;
mod fallback;
pub mod rejected;
mod server;
mod settings;
mod status;

pub use answer::Reception;
pub use door::{App, Apps};
pub use fallback::Fallback;
pub use rejected::{Rejected, Rejections};
pub use server::{BuildError, Ingress};
pub use settings::Settings;

pub(crate) use server::NoBody;
