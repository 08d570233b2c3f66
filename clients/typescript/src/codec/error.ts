// What can be wrong: the numbers of proto-spec/errors.md that this client acts on or says itself, and what a broken frame or
// message throws. All others come from a server with their names.

/** Number and stable name. */
const KNOWN: [number, string][] = [
  [100, 'malformed_frame'],
  [101, 'frame_too_large'],
  [102, 'unknown_message'],
  [103, 'malformed_message'],
  [104, 'unexpected_message'],
  [105, 'unsupported_version'],
  [107, 'timed_out'],
  [117, 'invalid_field'],
  [200, 'unauthenticated'],
  [201, 'token_expired'],
  [203, 'not_found'],
  [206, 'dependency_refused'],
  [210, 'replaced'],
  [212, 'conflict'],
  [300, 'busy'],
  [301, 'draining'],
  [303, 'too_slow'],
];

/** The number of a name, if this client knows it; else 0. */
export const errorNumber = (name: string): number => KNOWN.find(known => known[1] === name)?.[0] ?? 0;

/** The name of a number. */
export const errorName = (number: number): string =>
  KNOWN.find(known => known[0] === number)?.[1] ?? `error_${number}`;

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
