//! Every figure that is counted, by name. Parts increment fields; a scrape adds them up. Counting takes no lock and
//! allocates nothing: each shard counts in cache lines of its own. Knows no part of the server but its names.
//!
//! A new figure is one field and one line in `encode`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use syncbridge_codec::{
    ErrorCode,
    message::{ResetReason, Transport},
};

use super::{
    Status, process,
    requests::{CLASSES, METHODS, Requests},
};
use crate::transport::webtransport::Refusal;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes over a count that is kept elsewhere; for counters with one writer.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters by one label whose values are known beforehand.
#[derive(Debug)]
pub struct By<T: Label>(Box<[Counter]>, std::marker::PhantomData<T>);

/// A label.
pub trait Label: Copy + PartialEq + 'static {
    /// The label's name.
    const KEY: &'static str;
    /// Every value.
    const VALUES: &'static [Self];
    /// The value's name in figures and in JSON.
    fn label(self) -> &'static str;
}

impl<T: Label> Default for By<T> {
    fn default() -> Self {
        Self(T::VALUES.iter().map(|_| Counter::default()).collect(), std::marker::PhantomData)
    }
}

impl<T: Label> By<T> {
    /// The counter of a value. Looks through the values, of which there are few; not for the hot path.
    pub fn of(&self, value: T) -> &Counter {
        let index = T::VALUES.iter().position(|known| *known == value).unwrap_or_default();
        &self.0[index]
    }
}

impl Label for Transport {
    const KEY: &'static str = "transport";
    const VALUES: &'static [Self] = Self::ALL;
    fn label(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
            Self::Json => "json",
            Self::WebTransport => "webtransport",
            Self::Memory => "memory",
        }
    }
}

impl Label for ResetReason {
    const KEY: &'static str = "reason";
    const VALUES: &'static [Self] = Self::ALL;
    fn label(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Lost => "lost",
            Self::TooOld => "too_old",
            Self::Lagged => "lagged",
            Self::UnknownEpoch => "unknown_epoch",
        }
    }
}

impl Label for Refusal {
    const KEY: &'static str = "reason";
    const VALUES: &'static [Self] = &[Self::Lost, Self::Late, Self::Broken, Self::Request, Self::Origin];
    fn label(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Broken => "broken",
            Self::Request => "request",
            Self::Origin => "origin",
        }
    }
}

impl Label for ErrorCode {
    const KEY: &'static str = "code";
    const VALUES: &'static [Self] = Self::ALL;
    fn label(self) -> &'static str {
        self.name()
    }
}

/// What one shard counts. Aligned so that no other shard's counters share its cache lines (128: two are fetched at once).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Shard {
    /// Connections that were taken, by transport.
    pub opened: By<Transport>,
    /// Connections that ended, by transport.
    pub closed: By<Transport>,
    /// Time that its thread worked, microseconds.
    pub busy_us: Counter,
    /// Clients of HTTP/3 that got no session of WebTransport, by reason.
    pub no_session: By<Refusal>,
    /// Messages received.
    pub received: Counter,
    /// Bytes sent.
    pub sent_bytes: Counter,
    /// System calls that sent them.
    pub sends: Counter,
    /// Events put into rings.
    pub events: Counter,
    /// Events handed to subscribers: one for each event and subscriber.
    pub deliveries: Counter,
    /// Subscriptions whose connection could not take everything at once.
    pub slow: Counter,
    /// Subscriptions that began with a snapshot, by reason.
    pub resets: By<ResetReason>,
    /// Updates that were applied.
    pub accepted: Counter,
    /// Updates and other requests that were refused, and connections that were, by code.
    pub refused: By<ErrorCode>,
}

/// Upper ends of the buckets of [`Latency`], microseconds.
pub(super) const BUCKETS: [u64; 16] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 25_000, 35_000, 50_000, 75_000, 100_000, 250_000, 1_000_000,
];

/// How long things took.
#[derive(Debug, Default)]
pub struct Latency {
    pub(super) counts: [AtomicU64; BUCKETS.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    /// One took this long.
    pub fn observe(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = BUCKETS.partition_point(|end| *end < us);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Takes over what another has counted.
    fn add(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.sum_us.fetch_add(other.sum_us.load(Relaxed), Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let ends = BUCKETS.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = ends.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum_us.load(Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// By shard.
    pub shards: Box<[Shard]>,
    /// From an update's being applied to its being durable.
    pub commit_latency: Latency,
    /// Sessions that another server took, or had already.
    pub sessions_lost: Counter,
    /// Tokens that were not taken.
    pub denied: Counter,
    /// Passwords that argon2 was run for.
    pub passwords: Counter,
    /// HTTP requests, by shard.
    requests: parking_lot::Mutex<Vec<Arc<Requests>>>,
}

impl Metrics {
    /// Zeros for so many shards.
    pub fn new(shards: usize) -> Arc<Self> {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Arc::new(Self {
            shards,
            commit_latency: Latency::default(),
            sessions_lost: Counter::default(),
            denied: Counter::default(),
            passwords: Counter::default(),
            requests: parking_lot::Mutex::default(),
        })
    }

    /// What a shard counts its HTTP requests in. All shards have the same routes.
    pub fn requests(&self, templates: &Arc<[String]>) -> Arc<Requests> {
        let requests = Arc::new(Requests::new(templates));
        self.requests.lock().push(Arc::clone(&requests));
        requests
    }

    /// How long HTTP requests took, of all routes.
    pub(super) fn request_latency(&self) -> Latency {
        let all = Latency::default();
        for shard in &*self.requests.lock() {
            shard.routes().for_each(|(_, route)| all.add(&route.latency));
        }
        all
    }

    /// All figures in the `OpenMetrics` text format.
    pub fn text(self: &Arc<Self>, status: &Arc<dyn Status>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { metrics: Arc::clone(self), status: Arc::clone(status) }));
        let mut text = String::new();
        // Writing into a String cannot fail; an encoder that refused would leave the text without its end.
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }

    fn total(&self, of: impl Fn(&Shard) -> &Counter) -> u64 {
        self.shards.iter().map(|shard| of(shard).get()).sum()
    }
}

#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    status: Arc<dyn Status>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let mut out = Out(encoder);
        out.by("syncbridge_connections_opened", "Connections that were taken", metrics, |shard| &shard.opened)?;
        out.by("syncbridge_connections_closed", "Connections that ended", metrics, |shard| &shard.closed)?;
        let busy = metrics.total(|shard| &shard.busy_us) as f64 / 1e6;
        out.sum("syncbridge_shards_busy", "Time that the shards' threads worked", &Unit::Seconds, busy)?;
        let help = "Clients of HTTP/3 that got no session of WebTransport";
        out.by("syncbridge_webtransport_refused", help, metrics, |shard| &shard.no_session)?;
        out.count("syncbridge_messages_received", "Messages received", metrics.total(|shard| &shard.received))?;
        out.sum("syncbridge_sent", "Bytes sent", &Unit::Bytes, metrics.total(|shard| &shard.sent_bytes))?;
        out.count("syncbridge_sends", "System calls that sent them", metrics.total(|shard| &shard.sends))?;
        out.count("syncbridge_events", "Events put into rings", metrics.total(|shard| &shard.events))?;
        let deliveries = metrics.total(|shard| &shard.deliveries);
        out.count("syncbridge_deliveries", "Events handed to subscribers", deliveries)?;
        let slow = metrics.total(|shard| &shard.slow);
        out.count("syncbridge_slow", "Subscriptions whose connection could not take everything at once", slow)?;
        out.by("syncbridge_resets", "Subscriptions that began with a snapshot", metrics, |shard| &shard.resets)?;
        let accepted = metrics.total(|shard| &shard.accepted);
        out.count("syncbridge_updates_accepted", "Updates that were applied", accepted)?;
        out.by("syncbridge_refused", "Requests and connections that were refused", metrics, |shard| &shard.refused)?;
        out.count("syncbridge_tokens_denied", "Tokens that were not taken", metrics.denied.get())?;
        out.count("syncbridge_passwords_hashed", "Passwords that argon2 was run for", metrics.passwords.get())?;
        let help = "From an update's being applied to its being durable";
        out.metric("syncbridge_commit_latency", help, Some(&Unit::Seconds), &metrics.commit_latency)?;

        out.requests(&metrics.requests.lock())?;

        let now = self.status.gauges();
        out.gauge("syncbridge_sessions_live", "Sessions in memory", now.sessions)?;
        out.gauge("syncbridge_commits_waiting", "Commits submitted and not durable", now.uncommitted)?;
        let age = now.oldest_uncommitted_ms as f64 / 1e3;
        let help = "Age of the oldest commit that is not durable";
        out.metric("syncbridge_commit_oldest_age", help, Some(&Unit::Seconds), &ConstGauge::new(age))?;
        out.gauge("syncbridge_poisoned", "1 when the store failed and takes nothing more", u64::from(now.poisoned))?;
        let help = "0 while it is not known whether the sessions in memory are still this server's";
        out.gauge("syncbridge_ownership_known", help, u64::from(now.ownership_known))?;
        let help = "Sessions in memory that another server took";
        out.count("syncbridge_sessions_lost", help, metrics.sessions_lost.get())?;
        out.gauge("syncbridge_draining", "1 while the server is going down", u64::from(now.draining))?;
        out.count("syncbridge_storage_commits", "Commits that are durable", now.storage.commits)?;
        out.count("syncbridge_storage_syncs", "Times the disk was asked to keep", now.storage.syncs)?;
        out.sum("syncbridge_storage_log", "Bytes appended to the log", &Unit::Bytes, now.storage.log_bytes)?;
        out.gauge("syncbridge_storage_backlog_bytes", "Log that no checkpoint covers", now.storage.log_backlog)?;
        let hops = now.handovers.iter().map(|(hops, _)| hops).sum();
        out.count("syncbridge_quic_hops", "Packets that another shard's socket received", hops)?;
        let drops = now.handovers.iter().map(|(_, drops)| drops).sum();
        out.count("syncbridge_quic_hops_dropped", "Such packets dropped because an inbox was full", drops)?;

        if let Some(process) = process::read() {
            out.gauge("process_resident_memory_bytes", "Resident memory", process.resident_bytes)?;
            out.gauge("process_open_fds", "Open file descriptors", process.open_files)?;
            let help = "Processor time, user and system";
            out.sum("process_cpu", help, &Unit::Seconds, process.cpu_seconds)?;
        }
        Ok(())
    }
}

/// Writes metrics, one a line of the caller.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn metric(&mut self, name: &str, help: &str, unit: Option<&Unit>, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, unit, metric.metric_type())?)
    }

    fn count(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, None, &ConstCounter::new(value))
    }

    fn sum<T: EncodeCounterValue>(&mut self, name: &str, help: &str, unit: &Unit, value: T) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, Some(unit), MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, None, &ConstGauge::new(value))
    }

    /// HTTP requests by route, method and class of status, and how long those of a route took. What never happened is
    /// left out.
    fn requests(&mut self, shards: &[Arc<Requests>]) -> fmt::Result {
        let Some(first) = shards.first() else { return Ok(()) };
        let counted = |route: usize, method: usize, class: usize| -> u64 {
            shards
                .iter()
                .filter_map(|shard| shard.routes().nth(route))
                .map(|(_, it)| it.counts[method][class].get())
                .sum()
        };
        let help = "HTTP requests that were answered";
        let mut family = self.0.encode_descriptor("syncbridge_http_requests", help, None, MetricType::Counter)?;
        let mut asked = Vec::new();
        for (index, (template, _)) in first.routes().enumerate() {
            let before = asked.len();
            for (method, method_name) in METHODS.iter().enumerate() {
                for (class, class_name) in CLASSES.iter().enumerate() {
                    let total = counted(index, method, class);
                    if total > 0 {
                        let labels = [("route", template), ("method", method_name), ("status", class_name)];
                        ConstCounter::new(total).encode(family.encode_family(&labels)?)?;
                        if asked.len() == before {
                            asked.push((index, template));
                        }
                    }
                }
            }
        }
        let help = "From the end of a request's head to its answer's head";
        let unit = Some(&Unit::Seconds);
        let mut family =
            self.0.encode_descriptor("syncbridge_http_request_latency", help, unit, MetricType::Histogram)?;
        for (index, template) in asked {
            let all = Latency::default();
            for (_, route) in shards.iter().filter_map(|shard| shard.routes().nth(index)) {
                all.add(&route.latency);
            }
            all.encode(family.encode_family(&[("route", template)])?)?;
        }
        Ok(())
    }

    /// One counter for each value of a label. Those that were never counted are left out, but for the first, so that
    /// the name is always there.
    fn by<T: Label>(
        &mut self,
        name: &str,
        help: &str,
        metrics: &Metrics,
        of: impl Fn(&Shard) -> &By<T>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (index, value) in T::VALUES.iter().enumerate() {
            let total: u64 = metrics.shards.iter().map(|shard| of(shard).0[index].get()).sum();
            if total > 0 || index == 0 {
                let labels = [(T::KEY, value.label())];
                ConstCounter::new(total).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
