// The devices that have the session open: which they are, how they are connected, where they are.
import type { Attached } from '@syncbridge/client';
import { deviceColour } from '../device.ts';
import { memo } from '../ui/memo.tsx';
import type { Room, View } from './room.ts';

interface Props {
  readonly room: Room;
  readonly devices: readonly Attached[];
  readonly activeDevice: string | undefined;
  readonly cursors: View['cursors'];
}

/** Devices that are drawn. */
const DRAWN = 30;

export const Devices = memo(function Devices({ room, devices, activeDevice, cursors }: Props) {
  const writing = new Set([...cursors.values()].flat().map(({ device }) => device));
  // This one first, the others by name.
  const sorted = [...devices].sort((one, other) => rank(room, one) - rank(room, other) || compare(room, one, other));
  return (
    <section class="panel" aria-labelledby="devices-title">
      <h2 id="devices-title">On these devices</h2>
      <ul class="device-list" data-testid="devices">
        {sorted.slice(0, DRAWN).map(({ device, user, transport }) => (
          <li key={`${user} ${device}`} data-device={device}>
            <span class="dot" data-colour={device === room.device ? 'own' : deviceColour(device)} aria-hidden="true" />
            <span class="device-name">{room.name(device)}</span>
            {device === activeDevice && <span class="badge">active</span>}
            <span class="soft small-text device-how">
              {device !== room.device && writing.has(device) ? 'writing' : transportName(transport)}
            </span>
          </li>
        ))}
      </ul>
      {sorted.length > DRAWN && <p class="soft small-text">and {sorted.length - DRAWN} more</p>}
      {sorted.length === 0 && <p class="soft small-text">Nobody yet.</p>}
    </section>
  );
});

function rank(room: Room, { device }: Attached): number {
  return device === room.device ? 0 : 1;
}

function compare(room: Room, one: Attached, other: Attached): number {
  return room.name(one.device).localeCompare(room.name(other.device));
}

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
