//! The real binary as a child process: started on a data folder, killed by its own id, always reaped.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
};

use rustix::process::{Pid, Resource, Rlimit, Signal};

const PROGRAM: &str = env!("CARGO_BIN_EXE_syncbridge");

/// A program without the settings that the test's own environment has.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNCBRIDGE_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its data folder; what it writes to stderr goes to a file next to it.
    pub data: PathBuf,
    /// Where clients connect; port 0: any.
    pub listen: SocketAddr,
    /// More arguments.
    pub arguments: Vec<String>,
    /// Whether [`Server::fill_disk`] makes its writes fail instead of ending it.
    pub survives_full_disk: bool,
    /// Set for the server, and for nothing else that is started.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// On any port of loopback.
    pub fn new(data: &Path) -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            data: data.to_owned(),
            listen,
            arguments: Vec::new(),
            survives_full_disk: false,
            environment: Vec::new(),
        }
    }

    /// On a port that stays the same over restarts, chosen such that no other program is given it in between: outside
    /// the range of ephemeral ports.
    pub fn with_lasting_port(data: &Path) -> Self {
        let mut setup = Self::new(data);
        for _ in 0..1_000 {
            setup.listen.set_port(fastrand::u16(12_000..32_000));
            if TcpListener::bind(setup.listen).is_ok() && UdpSocket::bind(setup.listen).is_ok() {
                return setup;
            }
        }
        panic!("no free port between 12,000 and 32,000");
    }

    /// With `--set PATH=VALUE`.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl std::fmt::Display) -> Self {
        self.arguments.extend(["--set".to_owned(), format!("{path}={value}")]);
        self
    }

    /// A token for any device of `user`, made by the binary's own command.
    pub fn token(&self, user: &str, more: &[&str]) -> String {
        let made = program(PROGRAM)
            .args(["token", user, "--data"])
            .arg(&self.data)
            .args(more)
            .output()
            .expect("the binary runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    }

    /// What servers on this data folder wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("stderr")
    }

    /// The process, and who writes down what it says.
    fn spawn(&self) -> (Child, JoinHandle<()>) {
        let mut log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = if self.survives_full_disk {
            // Beyond the limit a write fails with EFBIG, once SIGXFSZ is ignored; `trap ''` hands that on through exec.
            let mut shell = program("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM]);
            shell
        } else {
            program(PROGRAM)
        };
        let mut child = command
            .args(["serve", "--listen", &self.listen.to_string(), "--admin", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A pipe, so that what it says of a full disk does not go to that disk.
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut said = child.stderr.take().expect("piped");
        let written = std::thread::spawn(move || {
            std::io::copy(&mut said, &mut log).expect("written down");
        });
        (child, written)
    }

    /// Starts it, and waits until it says what listens where. A port that the last server's sockets still hold is tried
    /// again a few times.
    pub fn start(&self) -> Server {
        for _ in 0..50 {
            let (mut child, written) = self.spawn();
            let stdout = BufReader::new(child.stdout.take().expect("piped"));
            let mut server = Server {
                setup: self.clone(),
                child,
                clients: self.listen,
                admin: self.listen,
                fingerprint: String::new(),
            };
            for line in stdout.lines() {
                let line = line.expect("text");
                let mut words = line.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("clients"), Some(address)) => server.clients = address.parse().expect("an address"),
                    (Some("operators"), Some(url)) => {
                        let address = url.trim_start_matches("http://").split('/').next();
                        server.admin = address.and_then(|text| text.parse().ok()).expect("an address");
                    }
                    (Some("pin"), Some(pin)) => {
                        pin.clone_into(&mut server.fingerprint);
                        return server;
                    }
                    _ => {}
                }
            }
            let status = server.child.wait().expect("ended");
            written.join().expect("all that it said");
            let log = self.log();
            assert!(log.trim_end().lines().rev().take(3).any(|line| line.contains("in use")), "{status}: {log}");
        }
        panic!("the port stays in use: {}", self.log());
    }

    /// Starts it where a start may be refused: how it ended then; `None` when it serves, and is killed.
    pub fn start_briefly(&self) -> Option<ExitStatus> {
        let (mut child, written) = self.spawn();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let serves = stdout.lines().any(|line| line.expect("text").trim_start().starts_with("pin"));
        if serves {
            child.kill().expect("killed");
        }
        let status = child.wait().expect("ended");
        written.join().expect("all that it said");
        (!serves).then_some(status)
    }

    /// Another command on its data folder, which must succeed.
    pub fn run(&self, arguments: &[&str]) {
        let done = program(PROGRAM).args(arguments).arg("--data").arg(&self.data).output().expect("the binary runs");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts it and kills it at once after `delay`, wherever it is by then.
    pub fn start_and_kill(&self, delay: std::time::Duration) {
        let (mut child, _written) = self.spawn();
        std::thread::sleep(delay);
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    pub setup: Setup,
    /// Where clients connect, TCP and UDP.
    pub clients: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// Of its certificate.
    pub fingerprint: String,
    child: Child,
}

impl Server {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// `kill -9`, and reaped.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// From here on none of its writes to a file succeeds.
    pub fn fill_disk(&self) {
        assert!(self.setup.survives_full_disk);
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::prlimit(Some(self.pid()), Resource::Fsize, none).expect("its limits are ours to set");
    }

    /// SIGTERM; goes on at once.
    pub fn terminate(&self) {
        rustix::process::kill_process(self.pid(), Signal::TERM).expect("signalled");
    }

    /// SIGSTOP: it stands still, with its sockets open, and knows nothing of it.
    pub fn pause(&self) {
        rustix::process::kill_process(self.pid(), Signal::STOP).expect("signalled");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        rustix::process::kill_process(self.pid(), Signal::CONT).expect("signalled");
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> ExitStatus {
        super::within("the server ends", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("known") {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
