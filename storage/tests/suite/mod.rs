//! One suite for all engines: every sentence of the trait's documentation, as a test. An engine joins with
//! `engine_suite!(make)`, where `make` gives a [`Fixture`].
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod cases;
pub mod cassandra;
pub mod recorder;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use recorder::Recorder;
use syncbridge_storage::{Applied, Commit, Engine, Outcome, Table, Ticket, Write, engine::Clock};

/// Opens the store again as a new process would, after the old handle was closed.
pub type Reopen = Box<dyn Fn(Option<Box<dyn Engine>>, Arc<Recorder>, Clock) -> Box<dyn Engine>>;

/// An engine under test, with a clock that moves when it is told to.
pub struct Fixture {
    engine: Option<Box<dyn Engine>>,
    pub sink: Arc<Recorder>,
    now_ms: Arc<AtomicU64>,
    reopen: Reopen,
    tickets: Ticket,
}

/// The time at which every test begins.
pub const START_MS: u64 = 1_800_000_000_000;

impl Fixture {
    pub fn new(reopen: Reopen) -> Self {
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let mut fixture = Self { engine: None, sink: Arc::default(), now_ms, reopen, tickets: 0 };
        fixture.restart();
        fixture
    }

    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_deref().expect("open between restarts")
    }

    /// Closes cleanly and opens again.
    pub fn restart(&mut self) {
        if let Some(engine) = &self.engine {
            engine.close().expect("nothing failed");
        }
        self.sink = Arc::default();
        let now_ms = self.now_ms.clone();
        let clock: Clock = Arc::new(move || now_ms.load(Ordering::Relaxed));
        self.engine = Some((self.reopen)(self.engine.take(), self.sink.clone(), clock));
    }

    pub fn now(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Submits without waiting.
    pub fn submit(&mut self, writes: Vec<Write>) -> Ticket {
        self.tickets += 1;
        self.engine().submit(Commit { ticket: self.tickets, writes });
        self.tickets
    }

    /// Submits and waits for the end.
    pub fn commit(&mut self, writes: Vec<Write>) -> Outcome {
        let ticket = self.submit(writes);
        self.sink.wait(ticket)
    }
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn op(user: &str, incarnation: u128, counter: u64) -> Applied {
    Applied { user: user.into(), incarnation, counter, answer: bytes(&format!("answer {counter}")) }
}

pub fn create(session: &str, epoch: u64) -> Write {
    Write::Create { session: session.into(), epoch, meta: bytes("meta"), document: bytes("{\"at\":1}"), op: None }
}

pub fn change(version: u64) -> Bytes {
    bytes(&format!("change to {version}"))
}

pub fn delta(session: &str, epoch: u64, version: u64) -> Write {
    Write::Delta { session: session.into(), epoch, version, change: change(version), op: None }
}

pub fn delta_by(session: &str, epoch: u64, version: u64, op: Applied) -> Write {
    Write::Delta { session: session.into(), epoch, version, change: change(version), op: Some(op) }
}

pub fn checkpoint(session: &str, epoch: u64, version: u64) -> Write {
    Write::Checkpoint { session: session.into(), epoch, version, document: bytes(&format!("{{\"at\":{version}}}")) }
}

pub fn put(table: Table, key: &str, value: &str) -> Write {
    Write::Put { table, key: bytes(key), value: bytes(value), expires_at_ms: None, if_absent: false }
}

pub fn put_new(table: Table, key: &str, value: &str, expires_at_ms: Option<u64>) -> Write {
    Write::Put { table, key: bytes(key), value: bytes(value), expires_at_ms, if_absent: true }
}

/// Makes one `#[test]` of each case of the suite for the engine that `$make` opens.
#[macro_export]
macro_rules! engine_suite {
    ($make:path) => {
        $crate::engine_suite!(@ $make;
            a_new_store_has_nothing,
            commits_end_in_the_order_of_submit,
            a_created_session_loads_at_version_one,
            a_taken_session_id_is_exists_and_nothing_of_the_commit_is_written,
            deltas_load_in_order_behind_the_document,
            a_delta_of_an_older_epoch_is_fenced,
            a_delta_that_does_not_follow_the_newest_version_is_fenced,
            writes_to_a_session_that_is_gone_are_fenced,
            every_fenced_write_is_fenced_by_an_older_epoch,
            a_commit_is_all_or_nothing,
            a_commit_sees_its_own_earlier_writes,
            meta_replaces_meta,
            a_checkpoint_is_where_loading_starts_and_older_deltas_stay_readable,
            a_checkpoint_of_a_version_that_is_not_made_is_fenced_and_an_older_one_changes_nothing,
            deleting_removes_everything_and_the_id_can_be_made_again,
            catch_up_is_in_order_and_bounded_by_bytes,
            catch_up_from_before_what_is_kept_is_none,
            retention_keeps_a_thousand_versions_and_bounds_the_rest,
            retention_is_bounded_in_bytes,
            epoch_starts_are_kept_and_bounded,
            answers_are_kept_with_the_effect_and_bounded,
            an_op_that_changed_nothing_keeps_its_answer_and_makes_no_version,
            a_forgotten_incarnation_is_gone_and_may_begin_again,
            idle_incarnations_are_dropped,
            incarnations_are_bounded_and_the_longest_idle_go_first,
            rows_are_set_replaced_and_removed,
            an_absent_row_is_put_once,
            expired_rows_are_not_there_and_their_keys_are_free,
            scans_are_in_key_order_and_begin_after_a_key,
            scans_see_old_and_new_rows_as_one,
            tables_are_apart,
            the_epoch_grows_with_every_open,
            everything_completed_is_there_after_a_restart,
            close_makes_what_was_submitted_durable,
            a_closed_store_refuses_by_poison,
            many_threads_submit_and_each_session_keeps_its_order,
            random_histories_match_a_model,
        );
    };
    (@ $make:path; $($case:ident,)*) => {
        $(#[test] fn $case() { $crate::suite::cases::$case(&mut $make()); })*
    };
}
