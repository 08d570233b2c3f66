// The whole console: what it polls, its places, and who acts in it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { Mark } from '../ui/mark.tsx';
import { drain, overview } from './api.ts';
import { Connections } from './connections.tsx';
import { Overview } from './overview.tsx';
import { usePolled } from './polled.ts';
import { Profile } from './profile.tsx';
import { type Point, point, type Sample } from './rates.ts';
import { Sessions } from './sessions.tsx';

const EVERY_MS = 1000;
/** Points that a plot has: five minutes. */
const POINTS = 300;
const PLACES = ['Overview', 'Connections', 'Sessions', 'Profile'] as const;
type Place = (typeof PLACES)[number];

export function Console() {
  const { answer: told, error } = usePolled(overview, EVERY_MS);
  const [points, setPoints] = useState<readonly Point[]>([]);
  const last = useRef<Sample>(undefined);
  const [place, setPlace] = usePlace();
  const [token, setToken] = useState<string>();
  useEffect(() => {
    if (told === undefined) return;
    const now = { at: performance.now(), overview: told };
    const before = last.current;
    last.current = now;
    // A server that was started anew counts from zero.
    if (before === undefined || before.overview.about.epoch !== told.about.epoch) return setPoints([]);
    const next = point(before, now, Date.now());
    setPoints(points => [...points.slice(1 - POINTS), next]);
  }, [told]);
  return (
    <div class="console">
      <header class="bar">
        <a class="brand" href="/">
          <Mark /> <span class="brand-name">SyncBridge</span> <span class="soft">console</span>
        </a>
        {told !== undefined && (
          <p class="soft small-text about">
            {told.about.version} · {told.about.listen} · {told.about.storage}
          </p>
        )}
        <p
          class="state"
          role="status"
          data-testid="state"
          data-ok={error === undefined && told?.complaints.length === 0}
        >
          {error ?? (told === undefined ? 'Looking…' : (told.complaints[0] ?? 'Ready'))}
        </p>
        <Actor mayAct={told?.mayAct ?? false} token={token} onToken={setToken} />
      </header>
      <nav aria-label="Places">
        {PLACES.map(name => (
          <a
            key={name}
            href={`#${name.toLowerCase()}`}
            aria-current={name === place ? 'page' : undefined}
            onClick={() => setPlace(name)}
          >
            {name}
          </a>
        ))}
      </nav>
      <main>
        <h1 class="visually-hidden">{place}</h1>
        {told?.warnings.map(warning => (
          <p key={warning} class="warning">
            {warning}
          </p>
        ))}
        {place === 'Overview' && told !== undefined && <Overview told={told} points={points} />}
        {place === 'Connections' && <Connections token={token} />}
        {place === 'Sessions' && <Sessions />}
        {place === 'Profile' && <Profile token={token} />}
      </main>
    </div>
  );
}

/** Which place is looked at; the address tells, so that it can be shared and gone back from. */
function usePlace(): [Place, (place: Place) => void] {
  const named = () => PLACES.find(name => `#${name.toLowerCase()}` === location.hash) ?? 'Overview';
  const [place, setPlace] = useState<Place>(named);
  useEffect(() => {
    const changed = () => setPlace(named());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  });
  return [place, setPlace];
}

interface ActorProps {
  readonly mayAct: boolean;
  readonly token: string | undefined;
  readonly onToken: (token: string | undefined) => void;
}

/** Who looks only, and who may act. The token is asked for once a visit and kept by nothing. */
function Actor({ mayAct, token, onToken }: ActorProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const draining = useRef<HTMLDialogElement>(null);
  const [typed, setTyped] = useState('');
  const [said, setSaid] = useState('');
  const goDown = async () => {
    draining.current?.close();
    if (token === undefined) return;
    try {
      await drain(token);
      setSaid('The server goes down: clients are told where and when to come back.');
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <div class="actor">
      <span class="small-text" role="status">
        {said}
      </span>
      {token === undefined ? (
        <button
          class="button small"
          type="button"
          data-testid="unlock"
          disabled={!mayAct}
          title={mayAct ? undefined : 'This server has no `console.token_file`: the console only shows.'}
          onClick={() => dialog.current?.showModal()}
        >
          {mayAct ? 'Act' : 'Read only'}
        </button>
      ) : (
        <>
          <button
            class="button small danger"
            type="button"
            data-testid="drain"
            onClick={() => draining.current?.showModal()}
          >
            Drain
          </button>
          <button class="button small" type="button" onClick={() => onToken(undefined)}>
            Lock
          </button>
        </>
      )}
      <dialog ref={dialog} aria-labelledby="token-title">
        <form
          method="dialog"
          onSubmit={() => {
            onToken(typed.trim() || undefined);
            setTyped('');
          }}
        >
          <h2 id="token-title">The operators' token</h2>
          <p class="soft">
            It is in the file that <code>console.token_file</code> names.
          </p>
          <input
            class="input"
            type="password"
            aria-label="Token"
            autocomplete="off"
            data-testid="token"
            value={typed}
            onInput={event => setTyped(event.currentTarget.value)}
          />
          <div class="row end">
            <button class="button plain" type="button" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
            <button class="button primary" type="submit">
              Use it
            </button>
          </div>
        </form>
      </dialog>
      <dialog ref={draining} aria-labelledby="drain-title">
        <h2 id="drain-title">Take the server down?</h2>
        <p class="soft">Clients are told, everything accepted is made durable, then it ends.</p>
        <div class="row end">
          <button class="button plain" type="button" onClick={() => draining.current?.close()}>
            Cancel
          </button>
          <button class="button danger" type="button" data-testid="drain-now" onClick={() => void goDown()}>
            Drain
          </button>
        </div>
      </dialog>
    </div>
  );
}
