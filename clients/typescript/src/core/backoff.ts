// How long to wait before trying again: decorrelated jitter, so that clients that lost one server together do not come back
// together. Never reads a clock.

export class Backoff {
  readonly #base: number;
  readonly #cap: number;
  readonly #random: () => number;
  #last: number;

  /** Pauses between `base` and `cap` milliseconds, each at most three times the one before. */
  constructor(base: number, cap: number, random: () => number) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
    this.#last = base;
  }

  next(): number {
    const top = Math.min(3 * this.#last, this.#cap);
    this.#last = this.#base + Math.floor(this.#random() * (top - this.#base + 1));
    return this.#last;
  }

  /** The last connection was a good one. */
  reset(): void {
    this.#last = this.#base;
  }
}
