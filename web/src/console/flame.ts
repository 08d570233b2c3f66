// A profile's stacks as a tree of frames, and as the rectangles of a flame graph.
import type { Profile } from './api.ts';

export interface Frame {
  readonly name: string;
  /** Samples in it or in what it called. */
  count: number;
  readonly calls: Map<string, Frame>;
}

/** Crates, and functions of the C library, that only call what somebody looks for. */
const PLUMBING = /^(?:(?:std|core|alloc|tokio|tokio_util|futures_\w+)::|clone3?$|start_thread$|__rust)/;

/** `plumbing`: with the standard library and the runtime, where they are not what the processor was in itself. */
export function tree(profile: Profile, plumbing = true): Frame {
  const root: Frame = { name: 'all', count: 0, calls: new Map() };
  for (const { frames, count } of profile.stacks) {
    let frame = root;
    frame.count += count;
    for (const [at, name] of frames.entries()) {
      // The first is the thread.
      const between = at > 0 && at < frames.length - 1;
      if (!plumbing && between && PLUMBING.test(name)) continue;
      let called = frame.calls.get(name);
      if (called === undefined) {
        called = { name, count: 0, calls: new Map() };
        frame.calls.set(name, called);
      }
      called.count += count;
      frame = called;
    }
  }
  return root;
}

export interface Bar {
  readonly frame: Frame;
  /** Shares of the whole width. */
  readonly from: number;
  readonly width: number;
  readonly depth: number;
}

/** As much of a name as fits into so many letters: the end of its path tells the most. */
export function label(name: string, letters: number): string {
  const parts = name.split('::');
  for (let from = 0; from < parts.length; from += 1) {
    const rest = parts.slice(from).join('::');
    if (rest.length <= letters) return rest;
  }
  const last = parts.at(-1) ?? '';
  return letters < 3 ? '' : `${last.slice(0, letters - 1)}…`;
}

/** What is too narrow to be seen is left out, and so are calls deeper than these. */
const NARROWEST = 0.0015;
const DEEPEST = 90;

export function bars(root: Frame): readonly Bar[] {
  const all: Bar[] = [];
  const walk = (frame: Frame, from: number, depth: number) => {
    const width = root.count === 0 ? 0 : frame.count / root.count;
    if (width < NARROWEST || depth > DEEPEST) return;
    all.push({ frame, from, width, depth });
    let at = from;
    for (const called of [...frame.calls.values()].sort((one, other) => one.name.localeCompare(other.name))) {
      walk(called, at, depth + 1);
      at += called.count / root.count;
    }
  };
  walk(root, 0, 0);
  return all;
}
