use std::{future::Future, pin::pin, task, time::Duration};

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use syncbridge_codec::{
    ErrorCode,
    message::{ResetReason, Transport},
};
use tower_service::Service as _;

use super::*;

#[derive(Debug, Default)]
struct Told {
    complaints: Vec<String>,
    warnings: Vec<String>,
    gauges: Gauges,
}

impl Status for Told {
    fn complaints(&self) -> Vec<String> {
        self.complaints.clone()
    }
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
    fn gauges(&self) -> Gauges {
        self.gauges.clone()
    }
}

/// No route here waits for anything, so one poll is enough.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = task::Context::from_waker(task::Waker::noop());
    match pin!(future).poll(&mut context) {
        task::Poll::Ready(value) => value,
        task::Poll::Pending => panic!("it waits"),
    }
}

fn get(mut routes: Router, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = at_once(routes.call(request)).unwrap();
    let status = answer.status().as_u16();
    let body = at_once(answer.into_body().collect()).unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn shown(told: Told) -> Shown {
    Shown { metrics: Metrics::new(2), status: Arc::new(told) }
}

#[test]
fn ready_says_why_not_and_warns_of_open_on_both_listeners() {
    let warnings = vec!["--open is on".to_owned()];
    let good = shown(Told { warnings: warnings.clone(), ..Told::default() });
    let bad = shown(Told { complaints: vec!["draining".to_owned()], warnings, ..Told::default() });
    for (routes, path) in
        [(router as fn(Shown) -> Router, "/readyz"), (|shown| crate::rest::operators(shown, false), "/ready")]
    {
        let (status, body) = get(routes(good.clone()), path);
        assert_eq!((status, body.as_str()), (200, r#"{"status":"ready","warnings":["--open is on"]}"#));
        let (status, body) = get(routes(bad.clone()), path);
        assert_eq!(status, 503);
        assert!(body.contains(r#""reasons":["draining"]"#), "{body}");
    }
    assert_eq!(get(router(bad.clone()), "/healthz").0, 200, "it lives, even when it is not ready");
    assert_eq!(get(crate::rest::operators(bad, false), "/health").0, 200);
}

#[test]
fn metrics_are_public_under_open_only() {
    assert_eq!(get(crate::rest::operators(shown(Told::default()), false), "/metrics").0, 404);
    assert_eq!(get(crate::rest::operators(shown(Told::default()), true), "/metrics").0, 200);
}

#[test]
fn what_is_counted_is_shown_and_added_up_over_the_shards() {
    let gauges = Gauges {
        sessions: 3,
        oldest_uncommitted_ms: 12,
        poisoned: true,
        handovers: vec![(4, 1), (5, 0)],
        ..Gauges::default()
    };
    let shown = shown(Told { gauges, ..Told::default() });
    for shard in &shown.metrics.shards {
        shard.opened.of(Transport::Quic).increment();
        shard.deliveries.add(10);
        shard.refused.of(ErrorCode::Busy).increment();
        shard.resets.of(ResetReason::Lagged).increment();
    }
    shown.metrics.shards[1].sent_bytes.set(77);
    shown.metrics.commit_latency.observe(Duration::from_micros(50));
    shown.metrics.commit_latency.observe(Duration::from_millis(30));
    shown.metrics.commit_latency.observe(Duration::from_secs(9));
    let (_, text) = get(router(shown), "/metrics");
    for line in [
        "syncbridge_connections_opened_total{transport=\"quic\"} 2",
        "syncbridge_deliveries_total 20",
        "syncbridge_refused_total{code=\"busy\"} 2",
        "syncbridge_resets_total{reason=\"lagged\"} 2",
        "syncbridge_sent_bytes_total 77",
        "syncbridge_commit_latency_seconds_count 3",
        "syncbridge_commit_latency_seconds_bucket{le=\"0.00005\"} 1",
        "syncbridge_commit_latency_seconds_bucket{le=\"0.035\"} 2",
        "syncbridge_commit_latency_seconds_bucket{le=\"1.0\"} 2",
        "syncbridge_commit_latency_seconds_bucket{le=\"+Inf\"} 3",
        "syncbridge_sessions_live 3",
        "syncbridge_commit_oldest_age_seconds 0.012",
        "syncbridge_poisoned 1",
        "syncbridge_quic_hops_total 9",
        "syncbridge_quic_hops_dropped_total 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    assert!(resident.is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|bytes| bytes > 1_000_000)), "{resident:?}");
}

#[test]
fn every_label_value_has_a_counter_and_a_name_of_its_own() {
    fn check<T: metrics::Label>() {
        let counters = metrics::By::<T>::default();
        for value in T::VALUES {
            counters.of(*value).increment();
        }
        let names: std::collections::BTreeSet<_> = T::VALUES.iter().map(|value| value.label()).collect();
        assert_eq!(names.len(), T::VALUES.len());
        assert!(T::VALUES.iter().all(|value| counters.of(*value).get() == 1));
    }
    check::<Transport>();
    check::<ResetReason>();
    check::<ErrorCode>();
}
