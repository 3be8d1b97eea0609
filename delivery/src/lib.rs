//! What leaves callbus and must not be lost: events of calls, to whom an operator names.
//!
//! A *destination* ([`register`]) says where, which events, and how. The role ([`Dispatch`]) reads the calls and hands each
//! event to a courier per destination, which sends it: signed ([`webhook`]), or as an activity of a CRM ([`crm`]), in order
//! within a call, again and again by a plan ([`plan`]). What became of every delivery is an event of the stream `DELIVERIES`, which this role alone writes;
//! what is open is the fold of them ([`lane`]), so that nothing is lost by a crash, and what is sent twice has the same id.
//!
//! A call that we place names itself whom to tell ([`callback`]): callback profiles ([`profiles`]), which say how in
//! [`template`]s, and plain addresses ([`origins`]). They are told ([`telling`]) by the same lanes.
//! The same role places calls. What is to be done for one is the fold of its events ([`Dial`]); the [`dialer`] does it.

mod destination;
mod register;
mod signing;
mod template;
mod profile;
mod profiles;
pub mod callback;
mod origins;
mod plan;
mod in_force;
mod route;
mod webhook;
mod session;
mod tokens;
mod telling;
mod crm;
mod done;
mod lane;
mod courier;
mod desk;
mod role;
mod order;
mod replay;
mod dial;
mod dialer;
mod hangup;
mod preview;

pub use destination::{BadDestination, Destination, DestinationSpec};
pub use dial::{Dial, DialStanding, LegStanding, LegState};
pub use dialer::{Caller, Telephone};
pub use hangup::hang_up;
pub use order::{AGAIN_MAX, Again, LaneStanding, again, standing};
pub use origins::lane_of_profile;
pub use preview::{NoPreview, Preview, newest, preview};
pub use profile::{AuthSpec, BadProfile, Compiled, Profile, ProfileSpec, Status};
pub use profiles::{ProfileError, Profiles, Saved, is_region};
pub use register::{Put, Register, RegisterError};
pub use replay::{ReplayPage, Stretch, replay};
pub use role::{Dispatch, DispatchError, GROUPS, consumers, floor};
pub use signing::{BadSecret, SigningSecret};
pub use telling::preview_profile;
