// The errors that an application meets. `code` is always a stable name that a program can go by; the text is for people.

/** The server said no. */
export class ServerError extends Error {
  /** A stable name of proto-spec/errors.md, as `not_found`. */
  readonly code: string;
  /** Its number; 0 when it is not known. */
  readonly number: number;
  /** Whether the same may succeed later. */
  readonly retryable: boolean;
  /** When, in milliseconds from now, if the server said it. */
  readonly retryAfter: number | undefined;

  constructor(code: string, number: number, text: string, retryable = false, retryAfter?: number) {
    super(text || code);
    this.name = 'ServerError';
    this.code = code;
    this.number = number;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
  }
}

/** An own update has no effect: it was rolled back. */
export class RefusedError extends ServerError {
  /** `conflict`: where others were faster, as JSON Pointers. */
  readonly paths: readonly string[];
  /** `dependency_refused`: the update that it builds on. */
  readonly on: number | undefined;

  constructor(cause: ServerError, paths: readonly string[] = [], on?: number) {
    super(cause.code, cause.number, cause.message);
    this.name = 'RefusedError';
    this.paths = paths;
    this.on = on;
  }
}

/** What was asked for cannot be had here and now; nothing was done. */
export class RequestError extends Error {
  readonly code:
    | 'not_ready'
    | 'left'
    | 'already_exists'
    | 'does_not_apply'
    | 'queue_full'
    | 'too_large'
    | 'too_many'
    | 'unknown_update'
    | 'offline';

  constructor(code: RequestError['code'], text: string = code) {
    super(text);
    this.name = 'RequestError';
    this.code = code;
  }
}

/** The connection was lost before the answer came. What was asked may have been carried out. */
export class DisconnectedError extends Error {
  override readonly name = 'DisconnectedError';
}

/** The client was closed, or the session left. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError';
}

/** The server broke the protocol, or the link is silent. The client connects again by itself. */
export class FaultError extends Error {
  override readonly name = 'FaultError';
}
