//! Damage: what opens afterwards is right or refused by name, never wrong; what one damage touches is refused, and everything
//! else is served. And the tools for it: check, repair, export, import, backup.

mod flips;
mod log;
#[path = "../suite/mod.rs"]
mod suite;
mod tools;
mod truth;
