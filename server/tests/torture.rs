//! The real binary under force: killed, stopped, starved and moved while clients write. Black box: real sockets, real
//! disk. What is asserted of time is what the server's own stamps say.
mod support;

#[path = "torture/apps.rs"]
mod apps;
#[path = "torture/disk.rs"]
mod disk;
#[path = "torture/full_disk.rs"]
mod full_disk;
#[path = "torture/kill.rs"]
mod kill;
#[path = "torture/late_stream.rs"]
mod late_stream;
#[path = "torture/observer.rs"]
mod observer;
#[path = "torture/power.rs"]
mod power;
#[path = "torture/rebind.rs"]
mod rebind;
#[path = "torture/rounds.rs"]
mod rounds;
#[path = "torture/shim.rs"]
mod shim;
#[path = "torture/slow.rs"]
mod slow;
#[path = "torture/term.rs"]
mod term;
#[path = "torture/truth.rs"]
mod truth;
#[path = "torture/writer.rs"]
mod writer;
