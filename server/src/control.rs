//! The socket in the data folder through which commands on the same computer reach the server that has the store open. Who
//! may open the folder (mode 0700) may ask; nobody else can. One request, one answer, one JSON line each.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{OpenOptionsExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use syncbridge_storage::engine::embedded::Embedded;

use crate::{
    data,
    defaults::{self, PROFILE_SECONDS},
    profile::{Format, Sampling},
};

const FILE: &str = "control.sock";
/// Longest request: a path is at most 4,096 bytes, escaped six times over at the worst. An answer is shorter, but for what
/// a damaged store cannot copy.
const LINE: u64 = 64 << 10;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Copy the data folder, with the store as of one commit.
    Backup {
        /// To a folder that is not there yet.
        to: PathBuf,
    },
    /// Sample what the processor does.
    Profile {
        /// For how long.
        seconds: u64,
        /// As what it is written.
        format: Format,
        /// To a file that is not there yet.
        to: PathBuf,
    },
}

impl Request {
    fn line(&self) -> io::Result<String> {
        let name = |to: &Path| to.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("the name is not UTF-8"));
        let request = match self {
            Self::Backup { to } => json!({"backup": name(to)?}),
            Self::Profile { seconds, format, to } => {
                json!({"profile": name(to)?, "seconds": seconds, "format": format.name()})
            }
        };
        Ok(format!("{request}\n"))
    }

    fn read(line: &str) -> Option<Self> {
        let request: Value = serde_json::from_str(line).ok()?;
        if let Some(to) = request.get("backup") {
            return Some(Self::Backup { to: to.as_str()?.into() });
        }
        Some(Self::Profile {
            seconds: request.get("seconds")?.as_u64().filter(|seconds| (1..=PROFILE_SECONDS).contains(seconds))?,
            format: Format::named(request.get("format")?.as_str()?)?,
            to: request.get("profile")?.as_str()?.into(),
        })
    }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done; what there is to say of it.
    Done(Value),
    /// It is not, and why.
    Failed(String),
}

/// The socket's address by way of the open folder: a path of any length would not fit into one.
fn address(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{FILE}", folder.as_raw_fd()))
}

/// Asks the server that serves from this data folder.
///
/// # Errors
/// What the system says: nobody listens there, or the server went away.
pub fn ask(data: &Path, request: &Request) -> io::Result<Answer> {
    let folder = File::open(data)?;
    let mut stream = UnixStream::connect(address(&folder))?;
    stream.write_all(request.line()?.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).take(LINE).read_line(&mut line)?;
    let mut answer: Value =
        serde_json::from_str(&line).map_err(|_| io::Error::other("it went away without an answer"))?;
    if let Some(why) = answer.get("failed") {
        return Ok(Answer::Failed(why.as_str().unwrap_or_default().to_owned()));
    }
    Ok(Answer::Done(answer.get_mut("done").map(Value::take).unwrap_or_default()))
}

/// Where requests come in.
pub struct Control {
    listener: UnixListener,
    data: PathBuf,
    /// The server's, if it is in this folder: it goes when that stops.
    store: Option<Weak<Embedded>>,
    stopped: Arc<AtomicBool>,
}

/// Ends a [`Control`].
#[derive(Debug)]
pub struct Stop {
    data: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Stop {
    /// Nothing is answered any more, once what is being answered is done; does not wait for that.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes it. If nobody is there, nobody has to be woken.
        let _woken = File::open(&self.data).and_then(|folder| UnixStream::connect(address(&folder)));
    }
}

impl Control {
    /// Listens in the data folder. A socket on which nobody answers is a dead server's.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AddrInUse`]: another server answers there.
    pub fn bind(data: &Path, store: Option<&Arc<Embedded>>) -> io::Result<(Self, Stop)> {
        let folder = File::open(data)?;
        if UnixStream::connect(address(&folder)).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        match fs::remove_file(data.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(address(&folder))?;
        fs::set_permissions(data.join(FILE), Permissions::from_mode(0o600))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Stop { data: data.to_path_buf(), stopped: Arc::clone(&stopped) };
        Ok((Self { listener, data: data.to_path_buf(), store: store.map(Arc::downgrade), stopped }, stop))
    }

    /// Answers, one request after the other, until it is stopped.
    pub fn serve(self) {
        loop {
            let accepted = self.listener.accept();
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            let done = accepted.and_then(|(stream, _)| self.answer(stream));
            if let Err(error) = done {
                tracing::warn!(%error, "a command's request was not answered");
                // An error of `accept` may come again at once.
                std::thread::sleep(defaults::ACCEPT_PAUSE);
            }
        }
    }

    fn answer(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(defaults::HTTP_HEADER))?;
        let mut line = String::new();
        BufReader::new(&stream).take(LINE).read_line(&mut line)?;
        let done = match Request::read(&line) {
            Some(Request::Backup { to }) => self.backup(&to),
            Some(Request::Profile { seconds, format, to }) => profile(Duration::from_secs(seconds), format, &to),
            None => Err("no such request".into()),
        };
        let answer = match done {
            Ok(done) => json!({"done": done}),
            Err(error) => json!({"failed": error.to_string()}),
        };
        stream.write_all(format!("{answer}\n").as_bytes())
    }

    /// Makes a data folder on which a server can be started. It has its name only once it is whole.
    fn backup(&self, to: &Path) -> Result<Value, Box<dyn std::error::Error>> {
        let (Some(above), Some(name)) = (to.parent(), to.file_name()) else {
            return Err("that is no folder's name".into());
        };
        let mut unfinished = name.to_owned();
        unfinished.push(".unfinished");
        let unfinished = above.join(unfinished);
        if to.exists() || !data::create(&unfinished)? {
            return Err(format!("{} or {} exists already", to.display(), unfinished.display()).into());
        }
        tracing::info!(to = %to.display(), "a backup begins");
        let store = self.store.as_ref().ok_or("the store of this server is not in its data folder")?;
        let store = store.upgrade().ok_or("the server goes down")?;
        let done = store.backup(&unfinished.join(data::STORE))?;
        for entry in fs::read_dir(&self.data)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                copy(&entry.path(), &unfinished.join(entry.file_name()))?;
            }
        }
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, to)?;
        File::open(above)?.sync_all()?;
        tracing::info!(to = %to.display(), group = done.group, epoch = done.epoch, "a backup is done");
        Ok(json!({
            "epoch": done.epoch, "group": done.group, "sessions": done.sessions, "damaged": done.damaged,
        }))
    }
}

/// Samples this process and writes what was found to a new file.
fn profile(long: Duration, format: Format, to: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let sampling = Sampling::begin().map_err(|error| format!("{error}; is another profile being taken?"))?;
    std::thread::sleep(long);
    let profile = sampling.end()?;
    file.write_all(&profile.file(format)?)?;
    Ok(json!({"samples": profile.samples()}))
}

/// Copies a file of the data folder: keys, which only their owner may read.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_as_it_was_and_nothing_else_is_one() {
        let request = Request::Backup { to: "/a \"folder\"\n".into() };
        let line = request.line().unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(Request::read(&line), Some(request));
        for wrong in ["", "{}", "{\"backup\":1}", "backup /a"] {
            assert_eq!(Request::read(wrong), None);
        }
    }

    #[test]
    fn nobody_is_asked_where_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ask(folder.path(), &Request::Backup { to: "/x".into() }).is_err());
    }
}
