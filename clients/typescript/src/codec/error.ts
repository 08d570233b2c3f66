// What can be wrong: the numbers of proto-spec/errors.md that this client acts on or says itself, and what a broken frame or
// message throws. All others come from a server with their names.

const KNOWN: Record<string, number> = {
  malformed_frame: 100,
  frame_too_large: 101,
  unknown_message: 102,
  malformed_message: 103,
  unexpected_message: 104,
  unsupported_version: 105,
  timed_out: 107,
  invalid_field: 117,
  unauthenticated: 200,
  token_expired: 201,
  not_found: 203,
  dependency_refused: 206,
  replaced: 210,
  conflict: 212,
  busy: 300,
  draining: 301,
  too_slow: 303,
};

/** The number of a name, if this client knows it; else 0. */
export const errorNumber = (name: string): number => (Object.hasOwn(KNOWN, name) && KNOWN[name]) || 0;

/** The name of a number. */
export const errorName = (number: number): string =>
  Object.keys(KNOWN).find(name => KNOWN[name] === number) ?? `error_${number}`;

/** Whether the same may succeed later: the server is busy or failed, or the link was silent. Who is refused is not. */
export const isRetryable = (number: number): boolean => number === 107 || (number >= 300 && number !== 502);

/** The peer broke the protocol. `name` is the stable name of proto-spec/errors.md. */
export class ProtocolError extends Error {
  override readonly name: string;

  constructor(name: string, why = name) {
    super(why);
    this.name = name;
  }
}
