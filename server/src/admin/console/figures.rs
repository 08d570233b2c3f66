//! The figures of the console's first page, as JSON. Counts since the start: the page makes rates of two answers.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use syncbridge_codec::message::Transport;

use super::Console;
use crate::admin::{
    metrics::{self, BUCKETS, By, Label, Latency},
    process,
};

pub(super) fn all(console: &Console) -> Value {
    let status = &console.shown.status;
    let metrics = &console.shown.metrics;
    let gauges = status.gauges();
    let process = process::read().map(|process| {
        json!({
            "residentBytes": process.resident_bytes,
            "cpuSeconds": process.cpu_seconds,
            "openFiles": process.open_files,
        })
    });
    let transports: Vec<Value> = Transport::ALL
        .iter()
        .map(|transport| {
            let sum = |of: fn(&metrics::Shard) -> &By<Transport>| -> u64 {
                metrics.shards.iter().map(|shard| of(shard).of(*transport).get()).sum()
            };
            let (opened, closed) = (sum(|shard| &shard.opened), sum(|shard| &shard.closed));
            json!({"transport": transport.label(), "open": opened.saturating_sub(closed), "opened": opened})
        })
        .collect();
    json!({
        "about": console.about,
        "mayAct": console.token.is_some(),
        "complaints": status.complaints(),
        "warnings": status.warnings(),
        "draining": gauges.draining,
        "poisoned": gauges.poisoned,
        "sessions": gauges.sessions,
        "uncommitted": gauges.uncommitted,
        "oldestUncommittedMs": gauges.oldest_uncommitted_ms,
        "storage": {
            "commits": gauges.storage.commits,
            "syncs": gauges.storage.syncs,
            "logBytes": gauges.storage.log_bytes,
            "logBacklog": gauges.storage.log_backlog,
        },
        "process": process,
        "transports": transports,
        "shards": metrics.shards.iter().map(shard).collect::<Vec<_>>(),
        "bucketEndsUs": BUCKETS,
        "commitLatency": latency(&metrics.commit_latency),
        "requestLatency": latency(&metrics.request_latency()),
    })
}

fn shard(shard: &metrics::Shard) -> Value {
    let sum = |by: &By<Transport>| -> u64 { Transport::ALL.iter().map(|transport| by.of(*transport).get()).sum() };
    json!({
        "connections": sum(&shard.opened).saturating_sub(sum(&shard.closed)),
        "busyUs": shard.busy_us.get(),
        "received": shard.received.get(),
        "events": shard.events.get(),
        "deliveries": shard.deliveries.get(),
        "sends": shard.sends.get(),
        "sentBytes": shard.sent_bytes.get(),
        "slow": shard.slow.get(),
        "accepted": shard.accepted.get(),
    })
}

/// How many fell into each bucket; the last one has no end.
fn latency(latency: &Latency) -> Value {
    latency.counts.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>().into()
}
