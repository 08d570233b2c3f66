// `/handoff`: bring a session to this device, by a code, by the camera, or by the link that one came with.
import { useEffect, useState } from 'preact/hooks';
import { enterWith, prepareHome } from '../enter.ts';
import type { Login } from '../login.ts';
import { completeHandoff } from '../rest.ts';
import { CodeEntry, words } from '../ui/code-entry.tsx';
import { Mark } from '../ui/mark.tsx';

interface Props {
  readonly device: Promise<string>;
  /** Of the link that one came with. */
  readonly token: string | undefined;
  /** Who is signed in in this tab already. */
  readonly login: Login | undefined;
}

export function HandoffPage({ device, token, login }: Props) {
  // Somebody who is signed in is asked before a link makes them somebody else.
  const [phase, setPhase] = useState<'entry' | 'asked' | 'bringing'>(
    token === undefined ? 'entry' : login === undefined ? 'bringing' : 'asked',
  );
  const [error, setError] = useState('');

  const bring = async () => {
    if (token === undefined) return;
    setPhase('bringing');
    try {
      const here = await device;
      await enterWith(await completeHandoff({ token }, here), here);
    } catch (error) {
      setError(words(error));
      setPhase('entry');
    }
  };
  useEffect(() => {
    prepareHome();
    if (phase === 'bringing') void bring();
  }, []);

  return (
    <main class="handoff-page">
      <a class="brand" href="/">
        <Mark /> SyncBridge
      </a>
      <div class="handoff-card">
        <h1>Continue here</h1>
        {phase === 'bringing' && (
          <p class="bringing soft" role="status">
            Bringing your session to this device…
          </p>
        )}
        {phase === 'asked' && (
          <>
            <p>
              You are signed in here as{' '}
              <strong>{login?.user.email ?? login?.user.name ?? login?.user.id}</strong>. The link signs this
              tab in as whoever made it.
            </p>
            <div class="code-actions">
              <button class="button primary" type="button" data-testid="complete-handoff" onClick={bring}>
                Continue here
              </button>
              <a class="button" href="/home">
                Stay as I am
              </a>
            </div>
          </>
        )}
        {phase === 'entry' && (
          <>
            <p class="soft">
              On the device that has your session, choose <strong>Hand off</strong>. It shows a code, and this
              screen takes over where that one stands.
            </p>
            {error !== '' && (
              <p class="error" role="alert" data-testid="link-error">
                {error}
              </p>
            )}
            <CodeEntry device={() => device} onTaken={(taken, here) => void enterWith(taken, here)} />
          </>
        )}
      </div>
      <p class="soft small-text">Codes are good for five minutes, and once.</p>
    </main>
  );
}
