// The types of proto-spec/framing.md, as values that read and write and from which TypeScript's types are inferred.

import { type Reader, text as readText, utf8, type Writer } from './bytes.ts';
import { ProtocolError } from './error.ts';

/** How one type is read and written. */
export interface Type<T> {
  read(from: Reader): T;
  write(to: Writer, value: T): void;
  /** Its least value: what an appended field has that is missing. */
  least: T;
  appended?: true;
}

/** The type of values that a {@link Type} reads. */
export type Infer<T> = T extends Type<infer Value> ? Value : never;

/** A record's or a message's fields. */
export type Fields = Record<string, Type<never>>;
/** The values of fields. */
export type Values<F> = { [Name in keyof F]: Infer<F[Name]> };

const outOfRange = () => new ProtocolError('malformed_message');
const least = new Uint8Array();
/** More items than this are malformed. */
const MAX_ITEMS = 4096;

export const u8: Type<number> = { read: from => from.byte(), write: (to, value) => to.byte(value), least: 0 };

export const u32: Type<number> = {
  read: from => Number(from.number(32)),
  write: (to, value) => to.number(BigInt(value)),
  least: 0,
};

// What counts is a bigint, exact to the last of its 64 bits; the public interface turns it into a number.
export const u64: Type<bigint> = {
  read: from => from.number(64),
  write: (to, value) => to.number(value),
  least: 0n,
};
export const u128: Type<bigint> = { ...u64, read: from => from.number(128) };

export const bool: Type<boolean> = {
  read: from => {
    const byte = from.byte();
    if (byte > 1) throw outOfRange();
    return byte === 1;
  },
  write: (to, value) => to.byte(value ? 1 : 0),
  least: false,
};

export const bytes: Type<Uint8Array> = {
  read: from => from.take(from.length()),
  write: (to, value) => to.bytes(value),
  least,
};

export const text: Type<string> = {
  read: from => readText(from.take(from.length())),
  write: (to, value) => to.bytes(utf8(value)),
  least: '',
};

export const optional = <T>(type: Type<T>): Type<T | undefined> => ({
  read: from => (bool.read(from) ? type.read(from) : undefined),
  write: (to, value) => {
    bool.write(to, value !== undefined);
    if (value !== undefined) type.write(to, value);
  },
  least: undefined,
});

export const list = <T>(type: Type<T>): Type<T[]> => ({
  read: from => {
    const count = from.length();
    if (count > MAX_ITEMS) throw outOfRange();
    return Array.from({ length: count }, () => type.read(from));
  },
  write: (to, value) => {
    to.number(BigInt(value.length));
    for (const item of value) type.write(to, item);
  },
  least: [],
});

export const tag = <const Names extends readonly string[]>(...names: Names): Type<Names[number]> => ({
  read: from => {
    const name = names[Number(from.number(32))];
    if (name === undefined) throw outOfRange();
    return name;
  },
  write: (to, value) => to.number(BigInt(names.indexOf(value))),
  least: names[0] as Names[number],
});

// biome-ignore lint/suspicious/noExplicitAny: a field's own type is known only to itself.
type AnyFields = Record<string, Type<any>>;

/** Fields, one after the other. Those that are marked as appended may be missing at the end. */
export const record = <F extends AnyFields>(fields: F): Type<Values<F>> => {
  const all = Object.entries(fields);
  return {
    read: from => {
      const value: Record<string, unknown> = {};
      for (const [name, type] of all)
        value[name] = type.appended && from.isEmpty ? type.least : type.read(from);
      return value as Values<F>;
    },
    write: (to, value) => {
      for (const [name, type] of all) type.write(to, value[name]);
    },
    least: Object.fromEntries(all.map(([name, type]) => [name, type.least])) as Values<F>,
  };
};

/** A field that came after version 1 began. */
export const appended = <T>(type: Type<T>): Type<T> => ({ ...type, appended: true });
