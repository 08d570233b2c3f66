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
};

use serde_json::{Value, json};
use syncbridge_storage::engine::embedded::Embedded;

use crate::{data, defaults};

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
}

impl Request {
    fn line(&self) -> io::Result<String> {
        let Self::Backup { to } = self;
        let to = to.to_str().ok_or_else(|| io::Error::other("the folder's name is not UTF-8"))?;
        Ok(format!("{}\n", json!({"backup": to})))
    }

    fn read(line: &str) -> Option<Self> {
        let request: Value = serde_json::from_str(line).ok()?;
        Some(Self::Backup { to: request.get("backup")?.as_str()?.into() })
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
    /// The server's: it goes when that stops.
    store: Weak<Embedded>,
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
    /// Listens in the data folder, whose store this process has locked: so a socket that is there is a dead server's.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(data: &Path, store: &Arc<Embedded>) -> io::Result<(Self, Stop)> {
        match fs::remove_file(data.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let folder = File::open(data)?;
        let listener = UnixListener::bind(address(&folder))?;
        fs::set_permissions(data.join(FILE), Permissions::from_mode(0o600))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Stop { data: data.to_path_buf(), stopped: Arc::clone(&stopped) };
        Ok((Self { listener, data: data.to_path_buf(), store: Arc::downgrade(store), stopped }, stop))
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
        let answer = match Request::read(&line) {
            Some(Request::Backup { to }) => match self.backup(&to) {
                Ok(done) => json!({"done": done}),
                Err(error) => json!({"failed": error.to_string()}),
            },
            None => json!({"failed": "no such request"}),
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
        let store = self.store.upgrade().ok_or("the server goes down")?;
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
