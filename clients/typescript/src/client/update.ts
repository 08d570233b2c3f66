// An update on its way, as the application holds it.

import type { Patch, Position, Update } from '../api.ts';
import type { RefusedError } from '../error.ts';
import { deferred } from './emitter.ts';

export class UpdateHandle implements Update {
  counter: number;
  readonly operations: Patch;
  phase: Update['phase'] = 'pending';
  readonly #accepted = deferred<Position>();
  readonly #durable = deferred<Position>();

  constructor(counter: number, operations: Patch) {
    this.counter = counter;
    this.operations = operations;
  }

  get accepted(): Promise<Position> {
    return this.#accepted.promise;
  }

  get durable(): Promise<Position> {
    return this.#durable.promise;
  }

  onAccepted(at: Position): void {
    if (this.phase === 'pending') this.phase = 'accepted';
    this.#accepted.resolve(at);
  }

  onDurable(at: Position): void {
    this.phase = 'durable';
    this.#accepted.resolve(at);
    this.#durable.resolve(at);
  }

  onRefused(error: RefusedError | Error): void {
    this.phase = 'refused';
    this.#accepted.reject(error);
    this.#durable.reject(error);
  }
}
