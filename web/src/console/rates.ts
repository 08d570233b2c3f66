// Rates and percentiles of what happened between two overviews.
import type { Overview, Shard } from './api.ts';

export interface Point {
  /** Unix seconds. */
  readonly at: number;
  readonly connections: number;
  readonly sessions: number;
  /** A second. */
  readonly deliveries: number;
  readonly updates: number;
  readonly messages: number;
  readonly sentBytes: number;
  /** Events that one system call delivered. */
  readonly perSend: number | undefined;
  readonly commit: Percentiles | undefined;
  readonly request: Percentiles | undefined;
  readonly uncommitted: number;
  readonly oldestMs: number;
  readonly residentBytes: number | undefined;
  /** Processors. */
  readonly cpu: number | undefined;
  /** Of each shard's thread, 0 to 1. */
  readonly busy: readonly number[];
}

/** Milliseconds; infinite beyond the last bucket. */
export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}

export interface Sample {
  /** Milliseconds of a clock that only goes forward. */
  readonly at: number;
  readonly overview: Overview;
}

export function point(before: Sample, now: Sample, wallMs: number): Point {
  const seconds = Math.max((now.at - before.at) / 1000, 0.001);
  const [then, overview] = [before.overview, now.overview];
  const sum = (of: Overview, field: keyof Shard) => of.shards.reduce((all, shard) => all + shard[field], 0);
  const grown = (field: keyof Shard) => Math.max(sum(overview, field) - sum(then, field), 0);
  const between = (counts: readonly number[], earlier: readonly number[]) =>
    percentiles(
      overview.bucketEndsUs,
      counts.map((count, at) => count - (earlier[at] ?? 0)),
    );
  const sends = grown('sends');
  return {
    at: wallMs / 1000,
    connections: sum(overview, 'connections'),
    sessions: overview.sessions,
    deliveries: grown('deliveries') / seconds,
    updates: grown('accepted') / seconds,
    messages: grown('received') / seconds,
    sentBytes: grown('sentBytes') / seconds,
    perSend: sends > 0 ? grown('deliveries') / sends : undefined,
    commit: between(overview.commitLatency, then.commitLatency),
    request: between(overview.requestLatency, then.requestLatency),
    uncommitted: overview.uncommitted,
    oldestMs: overview.oldestUncommittedMs,
    residentBytes: overview.process?.residentBytes,
    cpu:
      overview.process && then.process
        ? (overview.process.cpuSeconds - then.process.cpuSeconds) / seconds
        : undefined,
    busy: overview.shards.map((shard, at) =>
      Math.min(Math.max((shard.busyUs - (then.shards[at]?.busyUs ?? 0)) / 1e6 / seconds, 0), 1),
    ),
  };
}

/** Of counts a bucket, a straight line within each. Nothing when there were none. */
export function percentiles(endsUs: readonly number[], counts: readonly number[]): Percentiles | undefined {
  const total = counts.reduce((all, count) => all + count, 0);
  if (total <= 0) return undefined;
  const at = (share: number) => {
    let left = share * total;
    for (const [bucket, count] of counts.entries()) {
      if (count > 0 && left <= count) {
        const from = bucket === 0 ? 0 : (endsUs[bucket - 1] ?? 0);
        const to = endsUs[bucket];
        return to === undefined ? Number.POSITIVE_INFINITY : (from + ((to - from) * left) / count) / 1000;
      }
      left -= count;
    }
    return Number.POSITIVE_INFINITY;
  };
  return { p50: at(0.5), p99: at(0.99) };
}
