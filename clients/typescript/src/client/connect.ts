// How a client begins: with what its store holds.

import type { Client, ConnectOptions } from '../api.ts';
import { ClientHandle, type Platform } from './client.ts';

/** The function `connect` of one platform. */
export const connectOn =
  (platform: Platform) =>
  async (options: ConnectOptions): Promise<Client> => {
    const entries = (await options.store?.load()) ?? new Map<string, unknown>();
    return new ClientHandle(options, platform, entries);
  };
