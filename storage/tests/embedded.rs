//! The embedded engine: the shared suite, once with the usual sizes and once with sizes so small that segments roll over
//! and the index is written all the time.

mod suite;

use std::time::Duration;

use suite::{Fixture, create, delta};
use syncbridge_storage::{
    Outcome, Write,
    defaults::HEADS_KEPT,
    engine::embedded::{Embedded, Options},
};

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

/// The writer remembers the newest heads only; of older ones it asks what reads see: first memory, then the index.
#[test]
fn a_session_that_the_writer_has_forgotten_is_judged_by_what_was_committed_last() {
    let all_in_memory = Options { flush_bytes: usize::MAX, backlog_bytes: usize::MAX, ..options() };
    let all_in_memory = Options { flush_after: Duration::from_hours(24), ..all_in_memory };
    let all_in_the_index = Options { flush_bytes: 1 << 20, flush_after: Duration::from_millis(1), ..options() };
    for options in [all_in_memory, all_in_the_index] {
        let mut store = with(Options { segment_bytes: 16 << 20, ..options });
        // Three commits, so that what came after the first counts as well; the last is of two sessions.
        store.commit(vec![create("old", 1), create("deleted", 1)]);
        store.commit(vec![delta("old", 1, 2)]);
        let last = vec![delta("old", 3, 3), Write::DeleteSession { session: "deleted".into(), epoch: 1 }];
        assert_eq!(store.commit(last), Outcome::Committed);
        for generation in 0..2 {
            let helpings = 0..=HEADS_KEPT / 100;
            let names = |helping| (0..100).map(move |at| format!("{generation}-{helping}-{at}"));
            let last = helpings
                .map(|helping| store.submit(names(helping).map(|name| create(&name, 1)).collect()))
                .max()
                .expect("many");
            assert_eq!(store.sink.wait(last), Outcome::Committed);
        }
        for (write, outcome) in [
            (delta("old", 2, 4), Outcome::Fenced),
            (delta("old", 3, 3), Outcome::Fenced),
            (create("old", 4), Outcome::Exists),
            (delta("old", 3, 4), Outcome::Committed),
            (delta("deleted", 1, 2), Outcome::Fenced),
            (create("deleted", 4), Outcome::Committed),
        ] {
            assert_eq!(store.commit(vec![write.clone()]), outcome, "{write:?}");
        }
    }
}
