//! What leaves callbus and must not be lost: events of calls, to whom an operator names.
//!
//! A *destination* ([`register`]) says where, which events, and how. The role ([`Dispatch`]) reads the calls and hands each
//! event to a courier per destination, which sends it: signed ([`webhook`]), or as an activity of a CRM ([`crm`]), in order
//! within a call, again and again by a plan ([`plan`]). What became of every delivery is an event of the stream `DELIVERIES`, which this role alone writes;
//! what is open is the fold of them ([`lane`]), so that nothing is lost by a crash, and what is sent twice has the same id.

mod destination;
mod register;
mod signing;
mod plan;
mod in_force;
mod route;
mod webhook;
mod crm;
mod done;
mod lane;
mod courier;
mod desk;
mod role;
mod order;
mod replay;
mod preview;

pub use destination::{BadDestination, Destination, DestinationSpec};
pub use order::{AGAIN_MAX, Again, LaneStanding, again, standing};
pub use preview::{NoPreview, Preview, preview};
pub use register::{Put, Register, RegisterError};
pub use replay::{ReplayPage, Stretch, replay};
pub use role::{Dispatch, DispatchError, GROUPS, consumers, floor};
pub use signing::{BadSecret, SigningSecret};
