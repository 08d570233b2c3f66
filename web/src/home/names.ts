// What devices are called, on the screen.

/** Names by device id. The same object as long as they are the same, so that nothing is drawn anew without need. */
export type Names = ReadonlyMap<string, string>;

/** What people call a device. */
export function nameOf(names: Names, device: string): string {
  return (
    names.get(device) ?? (device === '' || /^web-[0-9a-f]{16}$/.test(device) ? 'Another device' : device)
  );
}

/** `now`, or `before` when it says the same. */
export function settled(before: Names, now: Names): Names {
  if (before.size !== now.size) return now;
  for (const [device, name] of now) if (before.get(device) !== name) return now;
  return before;
}
