// Which device this tab is, and what people call it. A browser is one device as long as one tab uses it; a second tab at
// the same time is a device of its own, because a login replaces the earlier login of its device.
import { kept } from './login.ts';

const BROWSER = 'syncbridge.device';
const TAB = 'syncbridge.tab-device';

/** This tab's device id: the same until the tab ends. */
export async function deviceId(): Promise<string> {
  const mine = kept()?.device ?? sessionStorage.getItem(TAB);
  if (mine !== null) {
    // Not waited for: after a reload, the document before may not have let go of it yet.
    void occupy(mine, { ifAvailable: false });
    return mine;
  }
  const browser = localStorage.getItem(BROWSER) ?? drawn();
  const id = (await occupy(browser, { ifAvailable: true })) ? browser : drawn();
  if (id === browser) localStorage.setItem(BROWSER, id);
  sessionStorage.setItem(TAB, id);
  return id;
}

/**
 * Holds the lock of a device id until this document ends; whether it was had. Without locks (an insecure origin) nobody
 * can be asked, and each tab is a device.
 */
function occupy(id: string, options: LockOptions): Promise<boolean> {
  if (navigator.locks === undefined) return Promise.resolve(false);
  return new Promise(resolve => {
    const held = navigator.locks.request(`device ${id}`, options, lock => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise<void>(() => {});
    });
    held.catch(() => resolve(false));
  });
}

function drawn(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return `web-${Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** What this device is called until somebody names it: `Firefox on Android`. */
export function deviceName(): string {
  return `${browserName(navigator.userAgent)} on ${platformName(navigator.userAgent)}`;
}

function browserName(agent: string): string {
  if (agent.includes('Edg/')) return 'Edge';
  if (agent.includes('Firefox/')) return 'Firefox';
  if (agent.includes('Chrome/')) return 'Chrome';
  if (agent.includes('Safari/')) return 'Safari';
  return 'Browser';
}

/** What it runs on. */
export function platformName(agent: string): string {
  if (/iPhone|iPad/.test(agent)) return 'iOS';
  if (agent.includes('Android')) return 'Android';
  if (agent.includes('Mac OS X')) return 'macOS';
  if (agent.includes('Windows')) return 'Windows';
  if (agent.includes('CrOS')) return 'ChromeOS';
  if (agent.includes('Linux')) return 'Linux';
  return 'another system';
}

/** The colour of a device, 0 to 5: the same on every screen. */
export function deviceColour(id: string): number {
  let hash = 2166136261;
  for (const unit of id) hash = Math.imul(hash ^ (unit.codePointAt(0) ?? 0), 16777619) >>> 0;
  return hash % 6;
}
