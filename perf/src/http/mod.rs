//! The HTTP load client: one thread, one epoll, keep-alive connections with one request each. At a fixed rate latency
//! counts from when a request was *due*, whether or not a connection was free then, so that a server that stalls cannot
//! hide it (coordinated omission). It knows no routes; a [`Script`] does.

mod answer;
mod caller;
pub mod request;
mod tally;

pub use answer::Answer;
pub use caller::Caller;
pub use tally::{Errors, Latencies, Times};

use std::{
    collections::VecDeque,
    mem,
    net::{Ipv4Addr, SocketAddr, TcpStream},
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
    time::{ClockId, clock_gettime},
};

use crate::{
    error::{Context, Error, Result},
    place::connect_from,
    timer::Timer,
};

/// Events taken from epoll in a turn.
const TURN: usize = 256;
/// Read from a connection in one system call.
const SCRATCH: usize = 64 << 10;
/// The pacing timer's key in epoll; connections have their indexes.
const TIMER: u64 = u64::MAX;
/// The longest wait for events before the loop looks at the time again.
const LOOK_UP: Duration = Duration::from_millis(500);
/// When requests are on their way and none is answered for so long, the run has failed.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Requests that are due and wait for a connection at most: a server that is so far behind is overloaded.
const MAX_LATE: usize = 1 << 16;

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At fixed times, whatever the server does.
    PerSecond(f64),
    /// As soon as a connection has its answer: the most that these connections can get.
    Unpaced,
}

/// What is asked, and what the answers mean.
pub trait Script {
    /// Names of the kinds of request, by number.
    fn kinds(&self) -> &'static [&'static str];

    /// Appends the next request.
    fn next(&mut self, out: &mut Vec<u8>) -> Asked;

    /// Takes the answer to one; whether it is as it should be.
    fn answered(&mut self, asked: Asked, answer: &Answer<'_>) -> bool;
}

/// What a request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Which of [`Script::kinds`].
    pub kind: usize,
    /// Whose it was, for the script.
    pub user: usize,
}

/// What one run saw.
#[derive(Debug)]
pub struct Run {
    /// From when a request was due to its whole answer, by kind.
    pub latencies: Vec<Latencies>,
    /// Answers that were not as they should be.
    pub errors: Errors,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// CPU time of the client.
    pub cpu: Duration,
}

impl Run {
    /// Of all kinds together.
    pub fn all(&self) -> Latencies {
        let mut all = Latencies::default();
        self.latencies.iter().for_each(|latencies| all.add(latencies));
        all
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.all().figures().count as f64 / self.elapsed.as_secs_f64()
    }

    /// Share of the time in which the client worked: near 1, it was the slower side.
    pub fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

struct Connection {
    stream: TcpStream,
    /// An answer that is not whole yet.
    carry: Vec<u8>,
    /// What is asked, and since when it was due.
    asked: Option<(Asked, Instant)>,
}

/// A running client.
pub struct Client {
    server: SocketAddr,
    epoll: OwnedFd,
    timer: Timer,
    connections: Vec<Connection>,
    /// Connections that nothing is asked on, the longest free one first, so that none is left alone for long.
    free: VecDeque<usize>,
    scratch: Vec<u8>,
    out: Vec<u8>,
    events: Vec<epoll::Event>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub fn open(server: SocketAddr, connections: usize) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("making an epoll")?;
        let timer = Timer::new(&epoll, TIMER)?;
        let mut client = Self {
            server,
            epoll,
            timer,
            connections: Vec::with_capacity(connections),
            free: (0..connections).collect(),
            scratch: vec![0; SCRATCH],
            out: Vec::new(),
            events: Vec::with_capacity(TURN),
        };
        for index in 0..connections {
            let stream = client.connect(index)?;
            client.connections.push(Connection { stream, carry: Vec::new(), asked: None });
        }
        Ok(client)
    }

    fn connect(&self, index: usize) -> Result<TcpStream> {
        let stream = connect_from(Ipv4Addr::LOCALHOST, self.server)?;
        stream.set_nonblocking(true).context("making a connection non-blocking")?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)
            .context("watching a connection")?;
        Ok(stream)
    }

    /// Asks for `duration`, then waits for all answers.
    ///
    /// # Errors
    /// When the server closes a connection, says no HTTP, or nothing moves any more.
    pub fn run(&mut self, script: &mut dyn Script, pace: Pace, duration: Duration) -> Result<Run> {
        let kinds = script.kinds().len();
        self.refresh()?;
        let start = Instant::now();
        let until = start + duration;
        let cpu = thread_cpu();
        let mut run = Run {
            latencies: vec![Latencies::default(); kinds],
            errors: Errors::default(),
            elapsed: Duration::ZERO,
            cpu: Duration::ZERO,
        };
        let mut due = VecDeque::new();
        let mut planned = 0_u64;
        let mut progress = start;
        loop {
            let now = Instant::now();
            match pace {
                Pace::PerSecond(rate) => loop {
                    let next = start + Duration::from_secs_f64(planned as f64 / rate);
                    if next > now || next >= until {
                        if next < until {
                            self.timer.wake_in(next - now)?;
                        }
                        break;
                    }
                    due.push_back(next);
                    planned += 1;
                },
                Pace::Unpaced if now < until => due.extend((due.len()..self.free.len()).map(|_| now)),
                Pace::Unpaced => {}
            }
            if due.len() > MAX_LATE {
                return Err(Error::Stalled(format!("{} requests are due and not sent", due.len())));
            }
            while !(self.free.is_empty() || due.is_empty()) {
                if let (Some(index), Some(at)) = (self.free.pop_front(), due.pop_front()) {
                    self.ask(index, at, script)?;
                }
            }
            if self.free.len() == self.connections.len() {
                if now >= until && due.is_empty() {
                    break;
                }
                progress = now;
            } else if now - progress > STALLED_AFTER {
                return Err(Error::Stalled(format!("no request was answered for {STALLED_AFTER:?}")));
            }
            let left = until.saturating_duration_since(now);
            if self.turn(if left.is_zero() { LOOK_UP } else { left.min(LOOK_UP) }, script, &mut run)? {
                progress = Instant::now();
            }
        }
        run.elapsed = start.elapsed();
        run.cpu = thread_cpu().saturating_sub(cpu);
        Ok(run)
    }

    /// Connects anew where the server has closed a connection that nothing was asked on for long (with a 408 if nothing
    /// ever was), as every HTTP server does and every client expects. Between two runs only: in one, all are in use.
    fn refresh(&mut self) -> Result<()> {
        for index in 0..self.connections.len() {
            let mut byte = [0];
            match rustix::net::recv(&self.connections[index].stream, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                Err(Errno::AGAIN) => {}
                Ok(_) | Err(Errno::CONNRESET) => self.connections[index].stream = self.connect(index)?,
                Err(error) => return Err(error).context("looking at a connection"),
            }
        }
        Ok(())
    }

    fn ask(&mut self, index: usize, due: Instant, script: &mut dyn Script) -> Result<()> {
        self.out.clear();
        let asked = script.next(&mut self.out);
        let connection = &mut self.connections[index];
        connection.asked = Some((asked, due));
        // Requests are far smaller than the socket's buffer, which is empty: the last answer has come.
        match rustix::net::send(&connection.stream, &self.out, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) if sent == self.out.len() => Ok(()),
            Ok(sent) => Err(Error::Stalled(format!("{sent} of {} bytes of a request were taken", self.out.len()))),
            Err(error) => Err(error).context("asking"),
        }
    }

    /// Waits and reads: once around; whether an answer came.
    fn turn(&mut self, wait: Duration, script: &mut dyn Script, run: &mut Run) -> Result<bool> {
        let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for events"),
        }
        let mut came = false;
        for event in &events {
            match event.data.u64() {
                TIMER => self.timer.read(),
                index => came |= self.read(index as usize, script, run)?,
            }
        }
        self.events = events;
        Ok(came)
    }

    /// Reads once; whether that made an answer whole.
    fn read(&mut self, index: usize, script: &mut dyn Script, run: &mut Run) -> Result<bool> {
        let connection = &mut self.connections[index];
        let size = match rustix::net::recv(&connection.stream, &mut *self.scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Error::Server("closed a connection that is in use".into())),
            Ok((size, _)) => size,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => return Err(error).context("reading"),
        };
        let whole = connection.carry.is_empty();
        if !whole {
            connection.carry.extend_from_slice(&self.scratch[..size]);
        }
        let bytes = if whole { &self.scratch[..size] } else { &connection.carry[..] };
        let Some(answer) = Answer::read(bytes)? else {
            if whole {
                connection.carry.extend_from_slice(&self.scratch[..size]);
            }
            return Ok(false);
        };
        let Some((asked, due)) = connection.asked.take().filter(|_| answer.size == bytes.len()) else {
            return Err(Error::Server("answered more than was asked".into()));
        };
        run.latencies[asked.kind].record(due.elapsed());
        if !script.answered(asked, &answer) {
            run.errors.answer(script.kinds()[asked.kind], &answer);
        }
        connection.carry.clear();
        self.free.push_back(index);
        Ok(true)
    }
}

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
