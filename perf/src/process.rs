//! A server as a child process: started on its core, known to be ready, measured from outside, stopped by its own id.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    error::{Context, Error, Result},
    place::Placement,
    sys,
};

/// A server that does not answer its health check for so long has failed to start.
const START_WITHIN: Duration = Duration::from_secs(15);
/// A server that has not ended so long after SIGTERM is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at something that no event announces (a listener of another process, its end).
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its log and its data.
    folder: TempDir,
    /// Whether SIGTERM must end it with exit code 0.
    graceful: bool,
}

impl Server {
    /// Starts `command` on the server's core and waits until `GET /health` on `address` is answered with 200.
    ///
    /// # Errors
    /// [`Error::Process`] with the end of its output when it ends early or is not ready in time.
    pub fn start(
        mut command: Command,
        address: SocketAddr,
        folder: TempDir,
        graceful: bool,
        place: Placement,
    ) -> Result<Self> {
        let output = File::create(folder.path().join("output")).context("making the server's output file")?;
        let errors = output.try_clone().context("sharing the server's output file")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        sys::end_with_parent(&mut command);
        let child = place.on_server_core(|| {
            command.spawn().context(format!("starting {}", command.get_program().to_string_lossy()))
        })?;
        let mut server = Self { child, address, folder, graceful };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_WITHIN {
            if let Some(status) = self.ended()? {
                return Err(Error::Process(format!("the server ended before it was ready: {status}{}", self.output())));
            }
            if healthy(self.address) {
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
        Err(Error::Process(format!("the server was not ready within {START_WITHIN:?}{}", self.output())))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("asking after the server")
    }

    /// The end of what it printed, on a line of its own.
    fn output(&self) -> String {
        let text = fs::read(self.folder.path().join("output")).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(2000)..];
        format!("\n{}", String::from_utf8_lossy(tail))
    }

    /// CPU time of the whole process since it started.
    ///
    /// # Errors
    /// The system's, when the process is gone.
    pub fn cpu(&self) -> Result<Duration> {
        sys::process_cpu(self.child.id()).context("reading the server's CPU clock")
    }

    /// Resident memory in bytes, exact (`smaps_rollup` walks the pages; `statm` may lag behind by a batch a core).
    ///
    /// # Errors
    /// The system's, when the process is gone.
    pub fn resident(&self) -> Result<u64> {
        self.memory("smaps_rollup", "Rss:")
    }

    /// Most resident memory so far, in bytes.
    ///
    /// # Errors
    /// The system's, when the process is gone.
    pub fn resident_peak(&self) -> Result<u64> {
        self.memory("status", "VmHWM:")
    }

    fn memory(&self, file: &str, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = fs::read_to_string(&path).context(format!("reading {path}"))?;
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .ok_or_else(|| Error::Process(format!("{path} has no {field}")))
    }

    /// Whether one of its threads may run on the client's core: then the figures of the two are mixed.
    ///
    /// # Errors
    /// The system's, when the process is gone.
    pub fn strays_to(&self, core: usize) -> Result<bool> {
        let folder = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(&folder).context(format!("reading {folder}"))? {
            let id = task.context(format!("reading {folder}"))?.file_name();
            let Some(id) = id.to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw) else { continue };
            // A thread may end between being listed and being asked; then it does not stray.
            if rustix::thread::sched_getaffinity(Some(id)).is_ok_and(|allowed| allowed.is_set(core)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// [`Error::Process`] when it had ended before, does not end in time, or not as it should.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            return Err(Error::Process(format!("the server had ended by itself: {status}{}", self.output())));
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("asking the server to end")?;
        let start = Instant::now();
        while start.elapsed() < STOP_WITHIN {
            if let Some(status) = self.ended()? {
                if self.graceful && !status.success() {
                    return Err(Error::Process(format!("the server ended with {status}{}", self.output())));
                }
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
        Err(Error::Process(format!("the server did not end within {STOP_WITHIN:?} of SIGTERM{}", self.output())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address whose port was free a moment ago, for TCP; who takes it first has it.
///
/// # Errors
/// The system's, when no port is free.
pub fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context("finding a free port")
}

fn healthy(address: SocketAddr) -> bool {
    ask_health(address).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

fn ask_health(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer.to_vec())
}
