// A profile's stacks as a tree of frames, and as the rectangles of a flame graph.
import type { Profile } from './api.ts';

export interface Frame {
  readonly name: string;
  /** Samples in it or in what it called. */
  count: number;
  readonly calls: Map<string, Frame>;
}

export function tree(profile: Profile): Frame {
  const root: Frame = { name: 'all', count: 0, calls: new Map() };
  for (const { frames, count } of profile.stacks) {
    let frame = root;
    frame.count += count;
    for (const name of frames) {
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
