// A bounded queue between what happens and who reads it, as an async iterator.

/** What is not read in time is dropped, oldest first or all at once, as `overflow` says. */
export class Stream<T> implements AsyncIterableIterator<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((result: IteratorResult<T, undefined>) => void)[] = [];
  #isDone = false;
  readonly #limit: number;
  /** Given all that waits, when it is as much as may wait: what waits instead. */
  readonly #overflow: (items: T[]) => T[];
  readonly #onEnd: () => void;

  constructor(limit: number, overflow: (items: T[]) => T[], onEnd: () => void) {
    this.#limit = limit;
    this.#overflow = overflow;
    this.#onEnd = onEnd;
  }

  push(item: T): void {
    if (this.#isDone) return;
    const next = this.#waiting.shift();
    if (next) return next({ value: item, done: false });
    if (this.#items.length >= this.#limit)
      this.#items.splice(0, this.#items.length, ...this.#overflow(this.#items));
    this.#items.push(item);
  }

  /** Nothing more comes. What waits is still read. */
  end(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#onEnd();
    for (const next of this.#waiting.splice(0)) next({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#items.length) return Promise.resolve({ value: this.#items.shift() as T, done: false });
    if (this.#isDone) return Promise.resolve({ value: undefined, done: true });
    return new Promise(resolve => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#items.length = 0;
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
