// What a file of tests has: a server, a browser, and devices that are closed after each test and did nothing that no page
// may do.
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { Device, launch } from './browser.ts';
import { Server } from './server.ts';

export interface Account {
  readonly email: string;
  readonly password: string;
  /** An access token that is for no device. */
  readonly token: string;
}

export class World {
  private running: { server: Server; browser: Browser } | undefined;
  private readonly devices: Device[] = [];

  /** Of the file of tests that calls this. */
  constructor(settings: readonly string[] = []) {
    beforeAll(async () => {
      const server = await Server.start(...settings);
      this.running = { server, browser: await launch() };
    });
    afterAll(async () => {
      await this.running?.browser.close();
      await this.running?.server.stop();
    });
    afterEach(async () => {
      const devices = this.devices.splice(0);
      const wrongs = devices.flatMap(({ wrongs }) => wrongs);
      await Promise.all(devices.map(device => device.close()));
      expect(wrongs).toEqual([]);
    });
  }

  get server(): Server {
    if (this.running === undefined) throw new Error('the server runs while tests do');
    return this.running.server;
  }

  get browser(): Browser {
    if (this.running === undefined) throw new Error('the browser runs while tests do');
    return this.running.browser;
  }

  /** A device that nobody is signed in on. */
  async device(options?: Parameters<typeof Device.open>[2]): Promise<Device> {
    const device = await Device.open(this.browser, this.server.url, options);
    this.devices.push(device);
    return device;
  }

  /** An account that nobody else has. */
  async account(): Promise<Account> {
    const email = `${crypto.randomUUID()}@example.com`;
    const password = 'correct horse battery';
    const body = { email, password, name: 'Ann' };
    const { accessToken } = await this.server.call<{ accessToken: string }>(
      'POST',
      '/auth/register',
      undefined,
      body,
    );
    return { email, password, token: accessToken };
  }

  /** A device on which an account is signed in, at /home, connected. */
  async signedIn({ email, password }: Account): Promise<Device> {
    const device = await this.device();
    await device.signIn(email, password);
    return device;
  }
}
