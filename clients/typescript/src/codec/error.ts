// What can be wrong: the registry of proto-spec/errors.md, and what a broken frame or message throws.

/** Every error's number and stable name. A name that ends in `+` may be tried again. */
const REGISTRY =
  '100malformed_frame,101frame_too_large,102unknown_message,103malformed_message,104unexpected_message,' +
  '105unsupported_version,106malformed_websocket,107timed_out+,110invalid_session_id,111invalid_json,' +
  '112invalid_patch,113path_not_found,114test_failed,115document_too_large,116version_ahead,117invalid_field,' +
  '118invalid_request,119payload_too_large,120unsupported_media_type,121method_not_allowed,200unauthenticated,' +
  '201token_expired,202forbidden,203not_found,204already_exists,205not_active,206dependency_refused,207op_expired,' +
  '208not_subscribed,209limit_reached,210replaced,211id_mismatch,212conflict,213gone,214precondition_failed,' +
  '215handoff_declined,216invalid_credentials,217last_owner,300busy+,301draining+,302rate_limited+,303too_slow+,' +
  '500internal+,501storage_failed+,502session_damaged';

/** One error of the registry. */
export interface ErrorCode {
  number: number;
  name: string;
  retryable: boolean;
}

const byNumber = new Map<number, ErrorCode>();
const byName = new Map<string, ErrorCode>();
for (const entry of REGISTRY.split(',')) {
  const retryable = entry.endsWith('+');
  const code = {
    number: Number(entry.slice(0, 3)),
    name: entry.slice(3, retryable ? -1 : undefined),
    retryable,
  };
  byNumber.set(code.number, code);
  byName.set(code.name, code);
}

/** The error with this number or name. */
export const errorCode = (key: number | string): ErrorCode | undefined =>
  typeof key === 'number' ? byNumber.get(key) : byName.get(key);

/** Every error, in the order of its number. */
export const errorCodes = (): Iterable<ErrorCode> => byNumber.values();

/** The peer broke the protocol. `name` is the stable name of proto-spec/errors.md. */
export class ProtocolError extends Error {
  override readonly name: string;

  constructor(name: string, why: string) {
    super(why);
    this.name = name;
  }
}
