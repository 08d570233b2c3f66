//! `slow`: what one subscriber that never reads costs the others and the server's memory, and whether it is right again
//! once it reads.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde::Serialize;

use crate::{
    dialect::{Dialect, Heard, Role, Topic},
    error::{Context, Error, Result},
    figures::{Ratio, Round, Summary},
    floor::Mode,
    load::{Crowd, Load, Pace, Violation},
    peer::Peer,
    queue,
    scenario::{Options, Report, interleave},
};

/// Small, so that the server meets a full socket early.
const RECEIVE_BUFFER: usize = 4 << 10;
/// The sleeper's number, above those of all others.
const SLEEPER: u32 = 1 << 20;
/// An awake subscriber must be up to date within this.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Subscribers that read.
    pub subscribers: usize,
    /// Events a second.
    pub per_second: f64,
    /// Size of an event. Large enough that a round does not fit into the sockets' buffers.
    pub event_bytes: usize,
}

/// One round.
#[derive(Debug, Serialize)]
struct Run {
    others: Round,
    resident_peak: u64,
    sleeper: Option<Woken>,
}

/// What the sleeper found when it woke.
#[derive(Debug, Clone, Copy, Serialize)]
struct Woken {
    /// Bytes for it that lay in the sockets' queues; when that is less than what was published, the server was blocked.
    queued: u64,
    /// Whether the sockets could not take what was published.
    blocked: bool,
    /// Events it then got.
    events: u64,
    /// Snapshots it then got in place of events.
    snapshots: u64,
}

#[derive(Debug, Serialize)]
struct Peered {
    name: String,
    without: Vec<Run>,
    with: Vec<Run>,
    p99_ratio: Option<Ratio>,
    /// Greatest memory with the sleeper less the greatest without, in bytes.
    memory: i64,
}

/// Both peers.
#[derive(Debug, Serialize)]
pub struct Slow {
    plan: Plan,
    peers: Vec<Peered>,
}

/// Measures each peer with and without the sleeper, interleaved.
///
/// # Errors
/// When a delivery is wrong, a server fails, or the sleeper does not catch up.
pub fn run(plan: Plan, options: &Options) -> Result<Slow> {
    let peers =
        options.peers(Mode::Coalesced).iter().map(|peer| compare(&**peer, plan, options)).collect::<Result<_>>()?;
    Ok(Slow { plan, peers })
}

fn compare(peer: &dyn Peer, plan: Plan, options: &Options) -> Result<Peered> {
    let [without, with] = interleave(options.rounds, |_, which| round(peer, plan, options, which == 1))?;
    let p99 = |runs: &[Run]| runs.iter().map(|run| run.others.p99_us).collect::<Vec<_>>();
    let peak = |runs: &[Run]| runs.iter().map(|run| run.resident_peak).max().unwrap_or(0);
    Ok(Peered {
        name: peer.name(),
        p99_ratio: Ratio::of(&p99(&with), &p99(&without)),
        memory: peak(&with).cast_signed() - peak(&without).cast_signed(),
        without,
        with,
    })
}

fn round(peer: &dyn Peer, plan: Plan, options: &Options, sleeping: bool) -> Result<Run> {
    let topic = Topic { name: "perf".into(), event_bytes: plan.event_bytes };
    let server = peer.start(options.place)?;
    let mut load = Load::open(peer.dialect(&topic), server.address, Crowd::one_user(1, plan.subscribers))?;
    let sleeper = sleeping.then(|| Sleeper::open(peer.dialect(&topic), server.address, options.round)).transpose()?;
    let pace = Pace::Open { per_second: plan.per_second };
    let others = Round::measure(&server, &mut load, pace, options)?;
    let resident_peak = server.resident_peak()?;
    let sleeper = sleeper.map(|sleeper| sleeper.wake(server.address, load.newest(), plan.event_bytes)).transpose()?;
    drop(load);
    server.stop()?;
    Ok(Run { others, resident_peak, sleeper })
}

/// A subscriber that does not read until it is woken.
struct Sleeper {
    dialect: Box<dyn Dialect>,
    stream: TcpStream,
    read: Vec<u8>,
    at: u64,
}

impl Sleeper {
    fn open(dialect: Box<dyn Dialect>, server: SocketAddr, round: Duration) -> Result<Self> {
        let role = Role { number: SLEEPER, user: 0, receive_buffer: Some(RECEIVE_BUFFER) };
        let opened = dialect.open(server, &role)?;
        // It is to be slow, not silent: silence is another rule of the server's.
        if opened.heartbeat_ms > 0 && round * 2 > Duration::from_millis(u64::from(opened.heartbeat_ms)) * 3 {
            return Err(Error::Unsupported(format!("a round of {round:?} is longer than the server bears silence")));
        }
        Ok(Self { dialect, stream: opened.stream, read: opened.rest, at: opened.at.seq })
    }

    /// Reads until it has event `newest`.
    fn wake(mut self, server: SocketAddr, newest: u64, event_bytes: usize) -> Result<Woken> {
        let client = self.stream.local_addr().context("reading the sleeper's address")?;
        let queued = queue::queued(client, server)?;
        let blocked = queued < (newest - self.at) * event_bytes as u64;
        let mut woken = Woken { queued, blocked, events: 0, snapshots: 0 };
        self.stream.set_read_timeout(Some(CATCH_UP_WITHIN)).context("setting a time limit")?;
        let (mut chunk, mut heard, mut replies) = (vec![0; 64 << 10], Vec::new(), Vec::new());
        while self.at < newest {
            let size = self.stream.read(&mut chunk).context("waiting for what the sleeper missed")?;
            if size == 0 {
                return Err(Error::Server("closed the sleeper's connection".into()));
            }
            self.read.extend_from_slice(&chunk[..size]);
            let taken = self.dialect.hear(&self.read, &mut heard, &mut replies)?;
            self.read.drain(..taken);
            self.stream.write_all(&replies).context("answering the server")?;
            replies.clear();
            for heard in heard.drain(..) {
                self.at = follow(self.at, heard, &mut woken)?;
            }
        }
        Ok(woken)
    }
}

/// Where a subscriber at `at` stands after hearing something: events without gaps, or a snapshot that does not go back.
fn follow(at: u64, heard: Heard, woken: &mut Woken) -> Result<u64> {
    let connection = SLEEPER as usize;
    match heard {
        Heard::Snapshot { seq } if seq >= at => {
            woken.snapshots += 1;
            Ok(seq)
        }
        Heard::Event { seq, .. } | Heard::Own { seq, .. } if seq == at + 1 => {
            woken.events += 1;
            Ok(seq)
        }
        Heard::Event { seq, .. } | Heard::Own { seq, .. } if seq > at => {
            Err(Violation::Gap { connection, lacks: at + 1, got: seq }.into())
        }
        Heard::Event { seq, .. } | Heard::Own { seq, .. } | Heard::Snapshot { seq } => {
            Err(Violation::Duplicate { connection, at, got: seq }.into())
        }
    }
}

impl Report for Slow {
    fn text(&self) -> String {
        let Plan { subscribers, per_second, event_bytes } = self.plan;
        let mut out = format!(
            "\nslow: {subscribers} subscribers, {per_second} events/s of {event_bytes} bytes, with and without one that never reads\n"
        );
        for peer in &self.peers {
            let p99 =
                |runs: &[Run]| Summary::of(runs.iter().map(|run| run.others.p99_us)).map_or(f64::NAN, |it| it.median);
            let woken: Vec<Woken> = peer.with.iter().filter_map(|run| run.sleeper).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<28} p99 of the others {:.0} µs without, {:.0} µs with: {:.2}× (median)   memory {:+.1} MiB   \
                 blocked in {} of {} rounds   on waking: {} events, {} snapshots",
                peer.name,
                p99(&peer.without),
                p99(&peer.with),
                peer.p99_ratio.map_or(f64::NAN, |ratio| ratio.median),
                peer.memory as f64 / f64::from(1 << 20),
                woken.iter().filter(|woken| woken.blocked).count(),
                woken.len(),
                woken.iter().map(|woken| woken.events).sum::<u64>(),
                woken.iter().map(|woken| woken.snapshots).sum::<u64>(),
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Heard, Woken, follow};

    #[test]
    fn a_woken_subscriber_follows_events_or_jumps_by_a_snapshot_and_nothing_else() {
        let mut woken = Woken { queued: 0, blocked: true, events: 0, snapshots: 0 };
        let event = |seq| Heard::Event { seq, publisher: 0, counter: 1 };
        assert_eq!(follow(5, event(6), &mut woken).expect("next"), 6);
        assert_eq!(follow(6, Heard::Snapshot { seq: 90 }, &mut woken).expect("a jump"), 90);
        follow(90, event(92), &mut woken).expect_err("a gap");
        follow(90, event(90), &mut woken).expect_err("a duplicate");
        follow(90, Heard::Snapshot { seq: 80 }, &mut woken).expect_err("back in time");
        assert_eq!((woken.events, woken.snapshots), (1, 1));
    }
}
