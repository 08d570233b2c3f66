// The account's menu: which list, which devices, sign out.
import { useId, useRef, useState } from 'preact/hooks';
import { forget } from '../login.ts';
import { signOut } from '../rest.ts';
import type { Device, DevicePolicy, Listed, Room, View } from './room.ts';

export function Account({ room, view }: { room: Room; view: View }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [devices, setDevices] = useState<readonly Device[]>([]);
  const [sessions, setSessions] = useState<readonly Listed[]>([]);
  const [error, setError] = useState('');
  const id = useId();
  const { user } = room.login;

  const attempt = async (what: () => Promise<void>) => {
    setError('');
    try {
      await what();
    } catch (error) {
      setError(error instanceof Error ? error.message : 'That did not work.');
    }
  };
  const load = () =>
    attempt(async () => {
      const [devices, sessions] = await Promise.all([room.devices(), room.sessions()]);
      setDevices(devices);
      setSessions(sessions);
    });
  const open = () => {
    dialog.current?.showModal();
    void load();
  };
  const choose = (sessionId: string) => {
    dialog.current?.close();
    void attempt(() => room.open(sessionId));
  };
  const make = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const title = String(form.get('title') ?? '').trim();
    dialog.current?.close();
    void attempt(() => room.make(title === '' ? 'Notes' : title, policy(form.get('devices'))));
  };
  const leave = async () => {
    try {
      await signOut(room.login.tokens.refreshToken);
    } finally {
      // The server ends the login when it can be told; here it ends in any case.
      forget();
      await room.close();
      location.replace('/');
    }
  };

  return (
    <>
      <button
        class="button account-button"
        type="button"
        data-testid="account"
        aria-haspopup="dialog"
        onClick={open}
      >
        <span class="visually-hidden">Lists, devices and account</span>
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11" />
        </svg>
      </button>
      <dialog class="dialog side-dialog" ref={dialog} aria-labelledby={`${id}-title`}>
        <div class="dialog-head">
          <h2 id={`${id}-title`}>
            {user.name === undefined || user.name === '' ? 'Your account' : user.name}
          </h2>
          <button class="button plain small" type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
        {user.email && <p class="soft">{user.email}</p>}
        {error !== '' && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        <section aria-labelledby={`${id}-lists`}>
          <h3 id={`${id}-lists`}>Lists</h3>
          <ul class="choices" data-testid="sessions">
            {sessions.map(({ sessionId, role }) => (
              <li key={sessionId}>
                <button
                  class="choice"
                  type="button"
                  aria-current={sessionId === view.sessionId ? 'true' : undefined}
                  onClick={() => choose(sessionId)}
                >
                  <span class="choice-name">
                    {sessionId === view.sessionId && view.page.title !== '' ? view.page.title : sessionId}
                  </span>
                  <span class="soft small-text">{role}</span>
                </button>
              </li>
            ))}
          </ul>
          <form class="make" method="post" onSubmit={make}>
            <div class="field">
              <label for={`${id}-new`}>New list</label>
              <input
                class="input"
                id={`${id}-new`}
                name="title"
                placeholder="Groceries"
                maxLength={120}
                data-testid="new-list"
              />
            </div>
            <div class="field">
              <label for={`${id}-policy`}>Who writes</label>
              <select class="input" id={`${id}-policy`} name="devices" data-testid="new-list-policy">
                <option value="many">All devices</option>
                <option value="exclusive">One device at a time</option>
                <option value="ask">One at a time, and it is asked</option>
              </select>
            </div>
            <button class="button" type="submit" data-testid="make-list">
              Make it
            </button>
          </form>
        </section>
        <section aria-labelledby={`${id}-devices`}>
          <h3 id={`${id}-devices`}>Your devices</h3>
          <ul class="choices" data-testid="own-devices">
            {devices.map(({ deviceId, name, platform, lastSeenAt }) => (
              <li key={deviceId} class="own-device">
                <span>
                  <span class="choice-name">
                    {deviceId === room.device ? 'This device' : name === '' ? deviceId : name}
                  </span>
                  <span class="soft small-text">
                    {platform} · seen {new Date(lastSeenAt).toLocaleString()}
                  </span>
                </span>
                {deviceId !== room.device && (
                  <button
                    class="button small danger"
                    type="button"
                    aria-label={`Sign out ${name === '' ? deviceId : name}`}
                    onClick={() => attempt(() => room.removeDevice(deviceId).then(load))}
                  >
                    Sign out
                  </button>
                )}
              </li>
            ))}
          </ul>
        </section>
        <button class="button" type="button" data-testid="sign-out" onClick={() => void leave()}>
          Sign out here
        </button>
      </dialog>
    </>
  );
}

function policy(chosen: FormDataEntryValue | null): DevicePolicy {
  return chosen === 'exclusive' || chosen === 'ask' ? chosen : 'many';
}
