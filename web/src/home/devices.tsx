// The devices that have the session open: which they are, how they are connected, where they are.
import type { Attached } from '@syncbridge/client';
import { deviceColour } from '../device.ts';
import { memo } from '../ui/memo.tsx';
import { type Names, nameOf } from './names.ts';
import type { Cursors } from './whereabouts.ts';

interface Props {
  /** This one. */
  readonly here: string;
  readonly names: Names;
  readonly devices: readonly Attached[];
  readonly activeDevice: string | undefined;
  readonly cursors: Cursors;
}

/** Devices that are drawn. */
const DRAWN = 30;

export const Devices = memo(function Devices({ here, names, devices, activeDevice, cursors }: Props) {
  const writing = new Set([...cursors.values()].flat().map(({ device }) => device));
  // This one first, the others by name.
  const sorted = [...devices].sort((one, other) => {
    const mine = Number(other.device === here) - Number(one.device === here);
    return mine || nameOf(names, one.device).localeCompare(nameOf(names, other.device));
  });
  return (
    <section class="panel" aria-labelledby="devices-title">
      <h2 id="devices-title">On these devices</h2>
      <ul class="device-list" data-testid="devices">
        {sorted.slice(0, DRAWN).map(({ device, user, transport }) => (
          <li key={`${user} ${device}`} data-device={device}>
            <span
              class="dot"
              data-colour={device === here ? 'own' : deviceColour(device)}
              aria-hidden="true"
            />
            <span class="device-name">{nameOf(names, device)}</span>
            {device === activeDevice && <span class="badge">active</span>}
            <span class="soft small-text device-how">
              {device !== here && writing.has(device) ? 'writing' : transportName(transport)}
            </span>
          </li>
        ))}
      </ul>
      {sorted.length > DRAWN && <p class="soft small-text">and {sorted.length - DRAWN} more</p>}
      {sorted.length === 0 && <p class="soft small-text">Nobody yet.</p>}
    </section>
  );
});

/** What a device is connected by, as people call it. */
export function transportName(transport: string): string {
  switch (transport.toLowerCase()) {
    case 'websocket':
      return 'WebSocket';
    case 'webtransport':
      return 'WebTransport';
    case 'quic':
      return 'QUIC';
    case 'json':
      return 'JSON';
    default:
      return transport;
  }
}
