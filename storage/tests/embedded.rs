//! The embedded engine: the shared suite, once with the usual sizes and once with sizes so small that segments roll over
//! and the index is written all the time.

mod suite;

use std::time::Duration;

use suite::Fixture;
use syncbridge_storage::engine::embedded::{Embedded, Options};

fn options() -> Options {
    // Not the usual 64 MiB, which every test would fill with zeros.
    Options { segment_bytes: 1 << 20, ..Options::default() }
}

fn with(options: Options) -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    Fixture::new(Box::new(move |old, sink, clock| {
        drop(old);
        let options = Options { clock, ..options.clone() };
        Box::new(Embedded::open(folder.path(), options, sink).expect("opens"))
    }))
}

mod usual {
    fn fixture() -> super::Fixture {
        super::with(super::options())
    }
    crate::engine_suite!(fixture);
}

mod small {
    use super::{Duration, Options};

    fn fixture() -> super::Fixture {
        super::with(Options {
            segment_bytes: 16 << 10,
            flush_bytes: 2 << 10,
            backlog_bytes: 64 << 10,
            flush_after: Duration::from_millis(1),
            ..super::options()
        })
    }
    crate::engine_suite!(fixture);
}
