#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod change;
mod client;
mod config;
pub mod core;
pub mod defaults;
mod driver;
mod error;
pub mod service;
mod session;
mod shared;
mod status;
pub mod transport;
mod update;

pub use bytestring::ByteString;
pub use syncbridge_codec::{
    ErrorCode,
    message::{Attached, ConflictPolicy, DevicePolicy, Position, ResetReason, Role},
};
pub use syncbridge_document::{Patch, Value};

pub use self::{
    change::{Change, ChangeKind, Changes},
    client::Client,
    config::{Config, Document},
    core::{After, Export, OnConflict, RequestError, Tokens, UnsentUpdate, UpdateDurability, UpdateOptions, User},
    error::{Error, Refusal, ServerError},
    service::{Login, NewAccount, Page, Paging},
    session::SessionHandle,
    status::{Phase, Status},
    transport::{Fingerprint, Target, Transport, Trust, Via},
    update::UpdateHandle,
};
