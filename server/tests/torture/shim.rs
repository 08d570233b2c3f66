//! Our side of `shim.c`: builds it, puts it under a server, says what is to fail, and reads what it wrote down.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::within;

const SOURCE: &str = include_str!("shim.c");

/// What the test and the server share: the page of `struct control` in `shim.c`, and the trace.
#[derive(Debug)]
pub struct Shim {
    page: File,
    control: PathBuf,
    trace: PathBuf,
    root: PathBuf,
}

/// Fields of `struct control`.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum Field {
    Position,
    Clock,
    SyncDelay,
    Operations,
    Files,
    Error,
    Pass,
    Shorten,
    Sticky,
    Fired,
    Frozen,
    Inside,
    Count,
}

/// What fails: sums of these.
pub const WRITES: u64 = 1;
pub const SYNCS: u64 = 2;
pub const NAMES: u64 = 4;

/// Of which files: sums of these.
pub const LOG: u64 = 1;
pub const INDEX: u64 = 2;

/// A failure to come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fault {
    pub operations: u64,
    pub files: u64,
    /// The `errno`; 0 kills the server in that call.
    pub error: i32,
    /// Calls that succeed before.
    pub pass: u64,
    /// A write that fails has written half of its bytes, and says so.
    pub shorten: bool,
    /// All that follow fail as well.
    pub sticky: bool,
}

/// One thing that was done to the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Create {
        inode: u64,
        path: PathBuf,
    },
    Write {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Resize {
        inode: u64,
        size: u64,
    },
    SyncBegins {
        inode: u64,
        thread: u32,
    },
    SyncEnds {
        inode: u64,
        thread: u32,
        failed: bool,
    },
    FolderSyncBegins {
        path: PathBuf,
        thread: u32,
    },
    FolderSyncEnds {
        path: PathBuf,
        thread: u32,
        failed: bool,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
    /// A call on it was made to fail.
    Failed {
        path: PathBuf,
    },
}

impl Record {
    /// True of what changes names.
    pub fn is_of_names(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Rename { .. }
                | Self::Link { .. }
                | Self::Remove { .. }
                | Self::MakeFolder { .. }
        )
    }
}

/// The library, built once.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let unique = format!("shim-{}", std::process::id());
        let (source, built) = (folder.join(format!("{unique}.c")), folder.join(format!("{unique}.so")));
        std::fs::write(&source, SOURCE).expect("written");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([&built, &source])
            .args(["-ldl", "-pthread"])
            .output()
            .expect("`cc` runs: install a C compiler (Debian: gcc)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::remove_file(&source).expect("removed");
        // Only processes that were started with it need the name, all of this test.
        let named = folder.join("shim.so");
        std::fs::rename(&built, &named).expect("renamed");
        named
    })
}

impl Shim {
    /// For servers whose data is in `root`; its own files are made in `folder`.
    pub fn new(folder: &Path, root: &Path) -> Self {
        let control = folder.join("control");
        let page = File::options().read(true).write(true).create_new(true).open(&control).expect("a file");
        page.set_len(Field::Count as u64 * 8).expect("sized");
        let root = root.canonicalize().expect("the folder is there");
        Self { page, control, trace: folder.join("trace"), root }
    }

    /// What a server is started with.
    pub fn environment(&self, recorded: bool) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let mut set = vec![
            ("LD_PRELOAD".to_owned(), text(library())),
            ("TORTURE_ROOT".to_owned(), text(&self.root)),
            ("TORTURE_CONTROL".to_owned(), text(&self.control)),
        ];
        if recorded {
            set.push(("TORTURE_TRACE".to_owned(), text(&self.trace)));
        }
        set
    }

    fn get(&self, field: Field) -> u64 {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, field as u64 * 8).expect("readable");
        u64::from_le_bytes(bytes)
    }

    fn set(&self, field: Field, value: u64) {
        self.page.write_all_at(&value.to_le_bytes(), field as u64 * 8).expect("writable");
    }

    /// Records written so far.
    pub fn position(&self) -> u64 {
        self.get(Field::Position)
    }

    /// The server's real-time clock is this many milliseconds off from now on.
    pub fn shift_clock(&self, by_ms: i64) {
        self.set(Field::Clock, (by_ms * 1_000_000).cast_unsigned());
    }

    /// Every sync takes this much longer from now on.
    pub fn slow_syncs(&self, by_us: u64) {
        self.set(Field::SyncDelay, by_us);
    }

    /// From now on this is to happen.
    pub fn arm(&self, fault: Fault) {
        self.set(Field::Operations, 0);
        self.set(Field::Files, fault.files);
        self.set(Field::Error, u64::from(fault.error.cast_unsigned()));
        self.set(Field::Pass, fault.pass);
        self.set(Field::Shorten, u64::from(fault.shorten));
        self.set(Field::Sticky, u64::from(fault.sticky));
        self.set(Field::Fired, 0);
        self.set(Field::Operations, fault.operations);
    }

    /// Nothing fails from now on.
    pub fn disarm(&self) {
        self.set(Field::Operations, 0);
    }

    /// Nothing more is done to the folder when this returns, and all that was done is in the trace. Kill the server then.
    pub async fn freeze(&self) {
        self.set(Field::Frozen, 1);
        within("calls end", async {
            while self.get(Field::Inside) > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Calls that failed since [`Shim::arm`].
    pub fn fired(&self) -> u64 {
        self.get(Field::Fired)
    }

    /// Everything that was done; the server has ended.
    pub fn records(&self) -> Vec<Record> {
        let trace = std::fs::read(&self.trace).expect("a trace");
        let mut rest = trace.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() {
            records.push(record(&mut rest));
        }
        assert_eq!(self.position(), records.len() as u64, "the trace has a hole");
        records
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(count).expect("a whole record");
    *bytes = rest;
    taken
}

/// `struct record` and what is behind it.
fn record(bytes: &mut &[u8]) -> Record {
    const HEADER: usize = 40;
    let header = take(bytes, HEADER);
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let thread = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
    let (zeros, failed) = (header[1] == 1, short(6) == 1);
    let (inode, offset, size) = (long(16), long(24), long(32));
    let path = |bytes: &mut &[u8], length: u16| {
        PathBuf::from(std::str::from_utf8(take(bytes, usize::from(length))).expect("text"))
    };
    let (first, second) = (path(bytes, short(2)), path(bytes, short(4)));
    match header[0] {
        b'C' => Record::Create { inode, path: first },
        b'W' => {
            let size = usize::try_from(size).expect("in memory");
            let bytes = if zeros { vec![0; size] } else { take(bytes, size).to_vec() };
            Record::Write { inode, offset, bytes }
        }
        b'T' => Record::Resize { inode, size },
        b'B' => Record::SyncBegins { inode, thread },
        b'E' => Record::SyncEnds { inode, thread, failed },
        b'b' => Record::FolderSyncBegins { path: first, thread },
        b'e' => Record::FolderSyncEnds { path: first, thread, failed },
        b'R' => Record::Rename { from: first, to: second },
        b'L' => Record::Link { from: first, to: second },
        b'U' => Record::Remove { path: first },
        b'M' => Record::MakeFolder { path: first },
        b'F' => Record::Failed { path: first },
        b'X' => panic!("the server called {} on {}: the shim must learn it", first.display(), second.display()),
        other => panic!("a record of kind {other}"),
    }
}
