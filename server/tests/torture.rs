//! The real binary under force: killed, stopped, starved and moved while clients write. Black box: real sockets, real
//! disk. What is asserted of time is what the server's own stamps say.
//!
//! Every fault of the store works the same way (`rounds.rs`): a crew of writers and observers works in a few sessions
//! until the server is gone; after its next start all that anybody was told (`truth.rs`) is held against what is there;
//! observers go on from their cursors, and are told `Reset{lost}` exactly when what they had is lost; then every update is
//! sent again, twice, and is there once. Each test prints a line that counts what happened.
//!
//! | fault | where |
//! |---|---|
//! | `kill -9` at random, with applications on the real client | `kill.rs` |
//! | killed at a failpoint of the store, at one of its start, in any call that changes a file | `points.rs` |
//! | the power goes: `shim.c` records what the server does, `disk.rs` builds what a disk could hold of it | `power.rs` |
//! | EIO and ENOSPC on writes, syncs and renames; short writes; a full disk | `failing.rs`, `full_disk.rs` |
//! | the end of the log torn or overwritten while the server is down | `tails.rs` |
//! | the clock jumps; SIGSTOP for seconds | `clocks.rs` |
//!
//! `just torture` runs the long forms. `SYNCBRIDGE_TORTURE_SEED` replays a test's draws, though not the machine's timing.
//! The shim is built with `cc`; the full disk is a tmpfs, which takes root to mount.
mod support;

#[path = "torture/apps.rs"]
mod apps;
#[path = "torture/clocks.rs"]
mod clocks;
#[path = "torture/disk.rs"]
mod disk;
#[path = "torture/failing.rs"]
mod failing;
#[path = "torture/full_disk.rs"]
mod full_disk;
#[path = "torture/kill.rs"]
mod kill;
#[path = "torture/late_stream.rs"]
mod late_stream;
#[path = "torture/observer.rs"]
mod observer;
#[path = "torture/points.rs"]
mod points;
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
#[path = "torture/tails.rs"]
mod tails;
#[path = "torture/term.rs"]
mod term;
#[path = "torture/truth.rs"]
mod truth;
#[path = "torture/writer.rs"]
mod writer;
