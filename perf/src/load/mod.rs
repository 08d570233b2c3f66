//! The load client: one thread, one epoll, any number of subscribers and publishers about one topic. It checks every
//! delivery, and stops at the first that is wrong. It never measures the server; scenarios do.

mod connection;
mod flight;
mod sample;
#[cfg(test)]
mod tests;

pub use flight::Violation;
pub use sample::Sample;

use std::{
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};

use crate::{
    dialect::{Dialect, Heard, Place, Role},
    error::{Context, Error, Result},
    load::{connection::Connection, flight::Flight},
    timer::Timer,
};

/// Events taken from epoll in a turn.
const TURN: usize = 1024;
/// Read from a connection in one system call.
const SCRATCH: usize = 64 << 10;
/// The pacing timer's key in epoll; connections have their indexes.
const TIMER: u64 = u64::MAX;
/// The longest wait for events before the loop looks at the time again, for heartbeats and stalls.
const LOOK_UP: Duration = Duration::from_millis(500);
/// Between two heartbeats when the server wants none.
const NO_HEARTBEAT: Duration = Duration::from_hours(1);
/// When events are on their way and none arrives for so long, the run has failed.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Events on their way at most, in an open loop: a server that is so far behind is overloaded.
const MAX_OPEN: usize = 1 << 16;

/// When the next event is published.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As soon as one of a publisher's `outstanding` events has reached everybody.
    Closed {
        /// Events that each publisher has on their way.
        outstanding: usize,
    },
    /// At fixed times, whatever the server does; latency counts from the time an event was due.
    Open {
        /// Events a second, of all publishers together.
        per_second: f64,
    },
}

/// Who takes part: the first `publishers` connections publish, and are subscribed like all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Crowd {
    /// Connections that publish and subscribe.
    pub publishers: usize,
    /// Connections that only subscribe.
    pub subscribers: usize,
    /// Connections of one user; the next ones sign in as another.
    pub per_user: usize,
}

impl Crowd {
    /// All of one user.
    pub const fn one_user(publishers: usize, subscribers: usize) -> Self {
        Self { publishers, subscribers, per_user: usize::MAX }
    }
}

/// A running client.
pub struct Load {
    dialect: Box<dyn Dialect>,
    epoll: OwnedFd,
    timer: Timer,
    connections: Vec<Connection>,
    publishers: usize,
    epoch: u64,
    flight: Flight,
    /// Publishers whose event is done, once for each.
    done: Vec<usize>,
    /// Connections with something to write.
    dirty: Vec<usize>,
    scratch: Vec<u8>,
    heard: Vec<Heard>,
    events: Vec<epoll::Event>,
    heartbeat: Duration,
    next_heartbeat: Instant,
    sample: Sample,
}

impl Load {
    /// Makes the users' topics, connects and subscribes everybody, one after the other.
    ///
    /// # Errors
    /// When the server refuses one, or they do not all start at the same place.
    pub fn open(dialect: Box<dyn Dialect>, server: SocketAddr, crowd: Crowd) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("making an epoll")?;
        let timer = Timer::new(&epoll, TIMER)?;
        let started = Instant::now();
        let mut load = Self {
            dialect,
            epoll,
            timer,
            connections: Vec::new(),
            publishers: crowd.publishers,
            epoch: 0,
            flight: Flight::new(0, 0, 0),
            done: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; SCRATCH],
            heard: Vec::new(),
            events: Vec::with_capacity(TURN),
            heartbeat: NO_HEARTBEAT,
            next_heartbeat: started,
            sample: Sample::default(),
        };
        load.grow(server, crowd)?;
        load.next_heartbeat = started + load.heartbeat;
        Ok(load)
    }

    /// Connects and subscribes more; the crowd's publishers are there from the start, so only its subscribers count.
    ///
    /// # Errors
    /// As [`Load::open`].
    pub fn grow(&mut self, server: SocketAddr, crowd: Crowd) -> Result<()> {
        let before = self.connections.len();
        let publishers = if before == 0 { crowd.publishers } else { 0 };
        let after = before + publishers + crowd.subscribers;
        for index in before..after {
            let user = (index / crowd.per_user) as u32;
            if index.is_multiple_of(crowd.per_user) {
                self.dialect.create(server, user)?;
            }
            self.join(server, Role { number: index as u32, user, receive_buffer: None })?;
        }
        let at = self.connections.first().map_or(0, |connection| connection.at);
        self.flight = Flight::new(after, self.publishers, at);
        Ok(())
    }

    fn join(&mut self, server: SocketAddr, role: Role) -> Result<()> {
        let opened = self.dialect.open(server, &role)?;
        if opened.heartbeat_ms > 0 {
            // Three quarters: never late, even when a turn takes long.
            self.heartbeat = Duration::from_millis(u64::from(opened.heartbeat_ms) * 3 / 4);
        }
        self.epoch = opened.at.epoch;
        let connection = Connection::new(opened)?;
        if let Some(first) = self.connections.first()
            && first.at != connection.at
        {
            return Err(Error::Server(format!("moved to {} while nobody published", connection.at)));
        }
        let key = EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &connection, key, EventFlags::IN).context("watching a connection")?;
        self.connections.push(connection);
        Ok(())
    }

    /// The last event that somebody has.
    pub fn newest(&self) -> u64 {
        self.flight.newest()
    }

    /// Publishes for `duration`, then waits until everything has arrived everywhere.
    ///
    /// # Errors
    /// At the first delivery that is wrong, when the server closes, or when nothing moves any more.
    pub fn run(&mut self, pace: Pace, duration: Duration) -> Result<Sample> {
        self.sample = Sample::begin();
        let start = Instant::now();
        let until = start + duration;
        let mut plan = Plan::new(pace, start);
        self.done.clear();
        if let Pace::Closed { outstanding } = pace {
            self.done.extend((0..self.publishers).cycle().take(self.publishers * outstanding));
        }
        let mut progress = (0, start);
        loop {
            let now = Instant::now();
            self.publish_due(&mut plan, now, until)?;
            if now >= until && self.flight.open() == 0 {
                break;
            }
            if self.sample.deliveries != progress.0 {
                progress = (self.sample.deliveries, now);
            } else if self.flight.open() > 0 && now - progress.1 > STALLED_AFTER {
                return Err(Error::Stalled(format!(
                    "{} events are not with everybody, and none arrived for {STALLED_AFTER:?}",
                    self.flight.open()
                )));
            }
            self.turn(if now < until { (until - now).min(LOOK_UP) } else { LOOK_UP })?;
        }
        self.sample.end();
        Ok(mem::take(&mut self.sample))
    }

    /// Publishes nothing for `duration`; keeps the connections alive. Deliveries are counted, should some come.
    ///
    /// # Errors
    /// As [`Load::run`].
    pub fn rest(&mut self, duration: Duration) -> Result<Sample> {
        self.sample = Sample::begin();
        let until = Instant::now() + duration;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.turn(left.min(LOOK_UP))?;
        }
        self.sample.end();
        Ok(mem::take(&mut self.sample))
    }

    fn publish_due(&mut self, plan: &mut Plan, now: Instant, until: Instant) -> Result<()> {
        match plan.pace {
            Pace::Closed { .. } if now >= until => {}
            Pace::Closed { .. } => {
                let mut done = mem::take(&mut self.done);
                for publisher in done.drain(..) {
                    self.publish(publisher, now);
                }
                self.done = done;
            }
            Pace::Open { .. } => {
                // Also what became due before the end and is late: leaving it out would flatter who made it late.
                while plan.next_due() <= now && plan.next_due() < until {
                    if self.flight.open() >= MAX_OPEN {
                        return Err(Error::Stalled(format!("overloaded: {MAX_OPEN} events are on their way")));
                    }
                    self.publish(plan.turn % self.publishers.max(1), plan.next_due());
                    plan.turn += 1;
                }
                if plan.next_due() < until {
                    self.timer.wake_in(plan.next_due() - now)?;
                }
                self.done.clear();
            }
        }
        Ok(())
    }

    fn publish(&mut self, publisher: usize, due: Instant) {
        let connection = &mut self.connections[publisher];
        if connection.out.is_empty() {
            self.dirty.push(publisher);
        }
        connection.published += 1;
        let at = Place { epoch: self.epoch, seq: connection.at };
        self.dialect.publish(publisher as u32, connection.published, at, &mut connection.out);
        self.flight.published(publisher, connection.published, due);
        self.sample.published += 1;
    }

    /// Writes, waits, reads: once around.
    fn turn(&mut self, wait: Duration) -> Result<()> {
        self.beat();
        for index in mem::take(&mut self.dirty) {
            self.connections[index].write(&self.epoll, index as u64)?;
        }
        let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for events"),
        }
        for event in &events {
            match event.data.u64() {
                // Its expiry is what `publish_due` looks at next; reading resets readiness.
                TIMER => self.timer.read(),
                index => self.ready(index as usize, event.flags)?,
            }
        }
        self.events = events;
        Ok(())
    }

    fn ready(&mut self, index: usize, flags: EventFlags) -> Result<()> {
        let connection = &mut self.connections[index];
        if flags.contains(EventFlags::OUT) {
            connection.write(&self.epoll, index as u64)?;
        }
        let quiet = connection.out.is_empty();
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        // One read a turn: what is left makes the socket ready again.
        self.heard.clear();
        connection.read(&*self.dialect, &mut self.scratch, &mut self.heard)?;
        if quiet && !connection.out.is_empty() {
            self.dirty.push(index);
        }
        self.sample.reads += 1;
        let now = Instant::now();
        for heard in &self.heard {
            let (seq, publisher, counter) = match *heard {
                Heard::Event { seq, publisher, counter } => (seq, publisher as usize, counter),
                Heard::Own { seq, counter } => (seq, index, counter),
                Heard::Snapshot { seq } => return Err(Violation::Reset { connection: index, seq }.into()),
            };
            let landed = self.flight.landed(index, connection.at, seq, publisher, counter)?;
            connection.at = seq;
            self.sample.delivered(now.saturating_duration_since(landed.due));
            self.done.extend(landed.done);
        }
        Ok(())
    }

    /// Says something on every connection, when it is time.
    fn beat(&mut self) {
        let now = Instant::now();
        if now < self.next_heartbeat {
            return;
        }
        self.next_heartbeat = now + self.heartbeat;
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if connection.out.is_empty() {
                self.dirty.push(index);
            }
            self.dialect.heartbeat(&mut connection.out);
        }
        self.sample.heartbeats += self.connections.len() as u64;
    }
}

/// When events are due, in an open loop.
struct Plan {
    pace: Pace,
    start: Instant,
    /// Events published so far.
    turn: usize,
}

impl Plan {
    const fn new(pace: Pace, start: Instant) -> Self {
        Self { pace, start, turn: 0 }
    }

    fn next_due(&self) -> Instant {
        match self.pace {
            Pace::Open { per_second } => self.start + Duration::from_secs_f64(self.turn as f64 / per_second),
            Pace::Closed { .. } => self.start,
        }
    }
}
