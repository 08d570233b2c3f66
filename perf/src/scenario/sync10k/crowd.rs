//! Ten thousand connections of one process: one epoll, one thread. Each is signed in and subscribed; the first of a
//! session writes, the others hear. Says everything when it is due, and checks everything that is heard.

use std::{
    io::{Read, Write},
    mem,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use syncbridge_codec::websocket::accept_key;

use crate::{
    error::{Context, Error, Result},
    http::{Errors, Latencies, thread_cpu},
    place::{connect_from, source},
    scenario::sync10k::{
        Plan,
        words::{self, Said},
    },
    timer::Timer,
    wire::{http, websocket},
};

/// Connections from one loopback address: it has some 28,000 ports, others may use some as well.
const PER_ADDRESS: usize = 4000;
/// The server may take so long to answer a step of connecting.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// After the last update and heartbeat, answers may take so long.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// The pacing timer's key in epoll; connections have their indexes.
const TIMER: u64 = u64::MAX;
const TURN: usize = 1024;
const SCRATCH: usize = 64 << 10;

/// What was said and heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// From when a heartbeat was due to its answer.
    pub heartbeats: Latencies,
    /// From when an update was due to its writer's `state_ack`.
    pub acks: Latencies,
    /// From when an update was due to each other device's `state_delta`.
    pub deltas: Latencies,
    /// What should not have been, or was missing.
    pub errors: Errors,
    /// CPU time of this client.
    pub cpu: Duration,
    /// How long it took, the last answers included.
    pub elapsed: Duration,
}

struct Connection {
    stream: TcpStream,
    /// A message that is not whole yet.
    carry: Vec<u8>,
    /// The heartbeat that is not answered, and since when it was due.
    beat: Option<(u64, Instant)>,
    /// The version that this device is at.
    version: u64,
}

/// A session's update that not everybody has.
struct Open {
    number: u64,
    due: Instant,
    acknowledged: bool,
    /// Devices that have it.
    devices: usize,
}

/// All connections.
pub struct Crowd {
    plan: Plan,
    epoll: OwnedFd,
    timer: Timer,
    connections: Vec<Connection>,
    /// By session.
    open: Vec<Option<Open>>,
    /// Heartbeats and updates that are not answered everywhere.
    unanswered: usize,
    scratch: Vec<u8>,
    out: Vec<u8>,
}

impl Crowd {
    /// Connects, signs in and subscribes everybody, one after the other.
    ///
    /// # Errors
    /// When the server refuses one.
    pub fn gather(plan: &Plan, server: SocketAddr) -> Result<Self> {
        let mut crowd = Self::nobody(plan)?;
        crowd.grow(server, plan.connections)?;
        Ok(crowd)
    }

    fn nobody(plan: &Plan) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("making an epoll")?;
        let timer = Timer::new(&epoll, TIMER)?;
        Ok(Self {
            plan: plan.clone(),
            epoll,
            timer,
            connections: Vec::with_capacity(plan.connections),
            open: Vec::new(),
            unanswered: 0,
            scratch: vec![0; SCRATCH],
            out: Vec::new(),
        })
    }

    /// Connects `more` as well.
    ///
    /// # Errors
    /// As [`Crowd::gather`].
    pub fn grow(&mut self, server: SocketAddr, more: usize) -> Result<()> {
        for index in self.connections.len()..self.connections.len() + more {
            let (stream, carry, version) = join(&self.plan, server, index)?;
            stream.set_nonblocking(true).context("making a connection non-blocking")?;
            epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)
                .context("watching a connection")?;
            self.connections.push(Connection { stream, carry, beat: None, version });
        }
        self.open.resize_with(self.connections.len().div_ceil(self.plan.devices), || None);
        Ok(())
    }

    /// Lives for `length`: heartbeats of all, updates of the first of each session, both evenly spread.
    ///
    /// # Errors
    /// When the server closes a connection, or breaks the protocol.
    pub fn live(&mut self, length: Duration) -> Result<Heard> {
        let mut heard = Heard::default();
        let (start, cpu) = (Instant::now(), thread_cpu());
        let until = start + length;
        let (mut beats, mut updates) = (0_u64, 0_u64);
        let nth = |number: u64, every: Duration, of: usize| start + every.mul_f64(number as f64 / of as f64);
        loop {
            let now = Instant::now();
            let next = loop {
                let beat = nth(beats, self.plan.heartbeat_every, self.connections.len());
                let update = self.plan.update_every.map_or(until, |every| nth(updates, every, self.open.len()));
                let next = beat.min(update);
                if next > now || next >= until {
                    break next;
                }
                if beat <= update {
                    self.beat(beats as usize % self.connections.len(), beat, &mut heard)?;
                    beats += 1;
                } else {
                    self.update(updates, update, &mut heard)?;
                    updates += 1;
                }
            };
            if next < until {
                self.timer.wake_in(next - now)?;
            } else if (now >= until && self.unanswered == 0) || now >= until + LAST_ANSWERS {
                break;
            }
            let left = if now < until { until - now } else { until + LAST_ANSWERS - now };
            self.turn(left.min(Duration::from_millis(500)), &mut heard)?;
        }
        for _ in 0..self.unanswered {
            heard.errors.count("never answered".into(), || format!("within {LAST_ANSWERS:?} of the end"));
        }
        heard.cpu = thread_cpu().saturating_sub(cpu);
        heard.elapsed = start.elapsed();
        Ok(heard)
    }

    fn beat(&mut self, index: usize, due: Instant, heard: &mut Heard) -> Result<()> {
        let timestamp = words::now_ms();
        if self.connections[index].beat.replace((timestamp, due)).is_some() {
            heard.errors.count("heartbeat never answered".into(), || format!("connection {index}"));
        } else {
            self.unanswered += 1;
        }
        self.say(index, &words::heartbeat(timestamp))
    }

    fn update(&mut self, number: u64, due: Instant, heard: &mut Heard) -> Result<()> {
        let session = number as usize % self.open.len();
        let open = Open { number, due, acknowledged: false, devices: 0 };
        if self.open[session].replace(open).is_some() {
            heard
                .errors
                .count("update not with everybody when the next was due".into(), || format!("session {session}"));
        } else {
            self.unanswered += 1;
        }
        self.say(session * self.plan.devices, &words::update(&name(session), number))
    }

    fn say(&mut self, index: usize, text: &str) -> Result<()> {
        self.out.clear();
        websocket::write_masked(&mut self.out, websocket::TEXT, text.as_bytes());
        send_all(&self.connections[index].stream, &self.out)
    }

    /// Waits and reads: once around.
    fn turn(&mut self, wait: Duration, heard: &mut Heard) -> Result<()> {
        let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = Vec::with_capacity(TURN);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for events"),
        }
        for event in events {
            match event.data.u64() {
                TIMER => self.timer.read(),
                index => self.read(index as usize, heard)?,
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize, heard: &mut Heard) -> Result<()> {
        let connection = &mut self.connections[index];
        match rustix::net::recv(&connection.stream, &mut *self.scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Error::Server(format!("closed connection {index}"))),
            Ok((size, _)) => connection.carry.extend_from_slice(&self.scratch[..size]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("reading"),
        }
        let now = Instant::now();
        let bytes = mem::take(&mut self.connections[index].carry);
        let mut rest = &bytes[..];
        while let Some((opcode, payload, after)) = first_message(rest)? {
            rest = after;
            match opcode {
                websocket::TEXT => self.hear(index, payload, now, heard)?,
                websocket::PING => {
                    self.out.clear();
                    websocket::write_masked(&mut self.out, websocket::PONG, payload);
                    send_all(&self.connections[index].stream, &self.out)?;
                }
                websocket::PONG => {}
                other => return Err(Error::Server(format!("sent opcode {other} on connection {index}"))),
            }
        }
        // Kept for the rest only: ten thousand buffers are not worth their memory.
        self.connections[index].carry = rest.to_vec();
        Ok(())
    }

    fn hear(&mut self, index: usize, text: &[u8], now: Instant, heard: &mut Heard) -> Result<()> {
        let shown = || format!("connection {index}: {}", String::from_utf8_lossy(text));
        let (session, device) = (index / self.plan.devices, index % self.plan.devices);
        let connection = &mut self.connections[index];
        match words::read(text)? {
            Said::Heartbeat(timestamp) => match connection.beat.take_if(|(sent, _)| *sent == timestamp) {
                Some((_, due)) => {
                    heard.heartbeats.record(now - due);
                    self.unanswered -= 1;
                }
                None => heard.errors.count("heartbeat_ack of another".into(), shown),
            },
            Said::Ack(version) | Said::Delta { version, .. } if version != connection.version + 1 => {
                heard.errors.count("version out of order".into(), shown);
                connection.version = version;
            }
            Said::Ack(version) => {
                connection.version = version;
                let open = self.open[session].as_mut().filter(|open| device == 0 && !open.acknowledged);
                let Some(open) = open else {
                    heard.errors.count("state_ack of nothing".into(), shown);
                    return Ok(());
                };
                heard.acks.record(now - open.due);
                open.acknowledged = true;
                self.settle(session);
            }
            Said::Delta { version, number } => {
                connection.version = version;
                let Some(open) = self.open[session].as_mut().filter(|open| open.number == number) else {
                    heard.errors.count("state_delta of another".into(), shown);
                    return Ok(());
                };
                heard.deltas.record(now - open.due);
                open.devices += 1;
                self.settle(session);
            }
            Said::Presence => {}
            Said::State(version) => {
                heard.errors.count("state_sync".into(), shown);
                connection.version = version;
            }
            Said::SignedIn => heard.errors.count("auth_ok".into(), shown),
            Said::Unwanted(kind) => heard.errors.count(kind, shown),
        }
        Ok(())
    }

    /// Closes an update that everybody has.
    fn settle(&mut self, session: usize) {
        let all = |open: &mut Open| open.acknowledged && open.devices == self.plan.devices - 1;
        if self.open[session].take_if(all).is_some() {
            self.unanswered -= 1;
        }
    }
}

/// A session's name.
fn name(session: usize) -> String {
    format!("sync-{session}")
}

/// Connects, upgrades, signs in and subscribes: what is left unread, and the version of the session.
fn join(plan: &Plan, server: SocketAddr, index: usize) -> Result<(TcpStream, Vec<u8>, u64)> {
    let mut stream = connect_from(source(index / PER_ADDRESS), server)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).context("setting a time limit")?;
    let key = http::new_key();
    let asked = http::plain_upgrade_request(&server.to_string(), &key);
    stream.write_all(asked.as_bytes()).context("asking for the upgrade")?;
    let mut read = Vec::new();
    let size = loop {
        if let Some(size) = http::head_size(&read) {
            break size;
        }
        fill(&mut stream, &mut read)?;
    };
    let head = String::from_utf8_lossy(&read[..size]).into_owned();
    if !head.starts_with("HTTP/1.1 101") || http::header(&head, "sec-websocket-accept") != Some(&accept_key(&key)) {
        return Err(Error::Server(format!("refused the upgrade: {head}")));
    }
    read.drain(..size);
    let session = index / plan.devices;
    let mut out = Vec::new();
    websocket::write_masked(&mut out, websocket::TEXT, words::auth(session, index % plan.devices).as_bytes());
    websocket::write_masked(&mut out, websocket::TEXT, words::subscribe(&name(session)).as_bytes());
    stream.write_all(&out).context("signing in")?;
    let mut signed_in = false;
    loop {
        let Some((opcode, payload, after)) = first_message(&read)? else {
            fill(&mut stream, &mut read)?;
            continue;
        };
        let said = match opcode {
            websocket::TEXT => words::read(payload)?,
            websocket::CLOSE => return Err(Error::Server(format!("closed connection {index} while signing in"))),
            _ => Said::Presence,
        };
        let refused = || Error::Server(format!("said {} while signing in", String::from_utf8_lossy(payload)));
        let version = match said {
            Said::SignedIn => {
                signed_in = true;
                None
            }
            Said::State(version) if signed_in => Some(version),
            Said::Presence => None,
            _ => return Err(refused()),
        };
        read = after.to_vec();
        if let Some(version) = version {
            return Ok((stream, read, version));
        }
    }
}

fn fill(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk).context("waiting for the server's answer")? {
        0 => Err(Error::Server("closed while connecting".into())),
        size => {
            read.extend_from_slice(&chunk[..size]);
            Ok(())
        }
    }
}

/// Opcode and payload of a message, and the bytes that follow it.
type First<'b> = (u8, &'b [u8], &'b [u8]);

/// The first message; `None` when it is not all there.
fn first_message(bytes: &[u8]) -> Result<Option<First<'_>>> {
    let Some(head) = websocket::read_head(bytes)? else { return Ok(None) };
    let end = head.size + head.payload;
    Ok(bytes.get(head.size..end).map(|payload| (head.opcode, payload, &bytes[end..])))
}

/// Everything said here is far smaller than a socket's buffer; one that is full belongs to a server that does not read.
fn send_all(stream: &TcpStream, bytes: &[u8]) -> Result<()> {
    match rustix::net::send(stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) | Err(Errno::AGAIN) => Err(Error::Stalled("the server does not read".into())),
        Err(error) => Err(error).context("writing"),
    }
}
