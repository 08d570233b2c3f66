// The bar above everything: the connection, who is here, the way to another device, the account.
import { deviceColour } from '../device.ts';
import { Mark } from '../ui/mark.tsx';
import { Account } from './account.tsx';
import { transportName } from './devices.tsx';
import { nameOf } from './names.ts';
import type { Room, View } from './room.ts';
import { duration } from './time.ts';

interface Props {
  readonly room: Room;
  readonly view: View;
  readonly onHandoff: () => void;
}

/** Devices that are dots in the bar. */
const DOTS = 5;

export function Bar({ room, view, onHandoff }: Props) {
  const others = view.devices.filter(({ device }) => device !== room.device);
  return (
    <header class="bar">
      <a class="brand" href="/home" aria-label="SyncBridge">
        <Mark /> <span class="brand-name">SyncBridge</span>
      </a>
      <Connection view={view} />
      <div class="bar-end">
        <ul class="dots" aria-label="Other devices here">
          {others.slice(0, DOTS).map(({ device, user }) => (
            <li
              key={`${user} ${device}`}
              data-colour={deviceColour(device)}
              title={nameOf(view.names, device)}
            >
              <span class="visually-hidden">{nameOf(view.names, device)}</span>
              <span aria-hidden="true">{nameOf(view.names, device).slice(0, 1).toUpperCase()}</span>
            </li>
          ))}
        </ul>
        <button
          class="button primary handoff-button"
          type="button"
          data-testid="handoff-menu"
          aria-haspopup="dialog"
          onClick={onHandoff}
        >
          Hand off
        </button>
        <Account room={room} view={view} />
      </div>
    </header>
  );
}

/** How this page stands to the server. */
function Connection({ view }: { view: View }) {
  const { status, live, pending } = view;
  const { transport, rtt } = status;
  const phase = status.phase === 'online' ? (live ? 'live' : 'opening') : status.phase;
  const waiting = pending > 0 ? `${pending} ${pending === 1 ? 'change waits' : 'changes wait'}` : '';
  return (
    <div class="connection" data-testid="connection" data-phase={phase} data-transport={transport}>
      <span class="pulse" aria-hidden="true" />
      <span role="status" data-testid="connection-state">
        {PHASES[phase]}
      </span>
      <span class="connection-more soft" data-testid="connection-more">
        {[
          transport !== undefined && phase === 'live' ? transportName(transport) : '',
          rtt !== undefined && phase === 'live' ? duration(rtt) : '',
          phase === 'live' ? '' : waiting,
        ]
          .filter(part => part !== '')
          .join(' · ')}
      </span>
    </div>
  );
}

const PHASES = {
  live: 'Live',
  opening: 'Opening…',
  connecting: 'Connecting…',
  offline: 'Offline',
  stopped: 'Not connected',
  closed: 'Closed',
} as const;
