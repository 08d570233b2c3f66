//! What a server offers beside live sessions: accounts, devices, lists, members, snapshots, handoff. Requests over the
//! client's own connection, so an application needs no HTTP library; many at once, answered as they end. Adds no rule:
//! each method is a route of REST.
//!
//! A request waits for the connection, and for somebody who is signed in; drop the future to give it up. When the
//! connection is lost in between, what has the effect of once when it comes twice is sent again; anything else is
//! [`Error::Disconnected`](crate::Error::Disconnected).

mod account;
mod call;
mod devices;
mod handoff;
mod members;
mod page;
mod sessions;
mod snapshots;

pub use account::{Account, Login, NewAccount};
pub use devices::{Device, Devices};
pub use handoff::{Handoff, Moved, Offer};
pub use members::{Member, Members};
pub use page::{Page, Paging};
pub use sessions::{Listed, Presence, PresentDevice, Sessions};
pub use snapshots::{Kept, NewSnapshot, Snapshot, Snapshots};
/// What a device is connected by.
pub use syncbridge_codec::message::Transport;
