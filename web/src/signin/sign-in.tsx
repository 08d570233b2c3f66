// The form to sign in with, and to make an account.
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { enterHome, prepareHome } from '../enter.ts';
import { keep } from '../login.ts';
import { Refusal, register, signIn } from '../rest.ts';
import { Mark } from '../ui/mark.tsx';
import { Picture } from './picture.tsx';

/** `device`: which device signs in, once it is known. */
export function SignIn({ device }: { device: Promise<string> }) {
  const [fresh, setFresh] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(ended());
  const first = useRef<HTMLInputElement>(null);
  const id = useId();

  useEffect(() => {
    document.title = `${fresh ? 'Create an account' : 'Sign in'} · SyncBridge`;
    first.current?.focus();
  }, [fresh]);
  useEffect(prepareHome, []);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? '');
    const email = text('email').trim();
    setBusy(true);
    setError('');
    try {
      const here = await device;
      if (fresh) await register(email, text('password'), text('name').trim());
      // Tokens of a registration are for no device: who is seen to write is the device that signed in.
      await enterHome(keep(await signIn(email, text('password'), here), here));
    } catch (error) {
      setError(words(error));
      setBusy(false);
    }
  };

  return (
    <div class="signin">
      <main class="signin-side">
        <a class="brand" href="/">
          <Mark /> SyncBridge
        </a>
        <form class="signin-form" method="post" onSubmit={submit} aria-labelledby={`${id}-title`}>
          <h1 id={`${id}-title`}>{fresh ? 'Make it yours' : 'Pick up where you left off'}</h1>
          <p class="soft">
            {fresh
              ? 'One account, one live session on every device you own.'
              : 'Your session is live. Sign in, and it is here.'}
          </p>
          {error !== '' && (
            <p class="error" role="alert" data-testid="error">
              {error}
            </p>
          )}
          {fresh && (
            <div class="field">
              <label for={`${id}-name`}>What to call you</label>
              <input
                class="input"
                id={`${id}-name`}
                name="name"
                data-testid="name"
                autocomplete="name"
                maxLength={100}
              />
            </div>
          )}
          <div class="field">
            <label for={`${id}-email`}>E-mail</label>
            <input
              class="input"
              id={`${id}-email`}
              ref={first}
              name="email"
              type="email"
              data-testid="email"
              autocomplete="username"
              required
            />
          </div>
          <div class="field">
            <label for={`${id}-password`}>Password</label>
            <input
              class="input"
              id={`${id}-password`}
              name="password"
              type="password"
              data-testid="password"
              autocomplete={fresh ? 'new-password' : 'current-password'}
              minLength={fresh ? 8 : undefined}
              aria-describedby={fresh ? `${id}-rule` : undefined}
              required
            />
            {fresh && (
              <span id={`${id}-rule`} class="soft small-text">
                At least 8 characters.
              </span>
            )}
          </div>
          <button class="button primary" type="submit" data-testid="login-button" disabled={busy}>
            {busy ? 'One moment…' : fresh ? 'Create account' : 'Sign in'}
          </button>
        </form>
        <div class="signin-more">
          <button
            class="button plain small"
            type="button"
            data-testid="switch-mode"
            onClick={() => {
              setFresh(!fresh);
              setError('');
            }}
          >
            {fresh ? 'I have an account' : 'Create an account'}
          </button>
          <a class="button plain small" href="/handoff">
            I have a code
          </a>
        </div>
      </main>
      <Picture />
    </div>
  );
}

/** Why /home sent somebody back here. */
function ended(): string {
  return new URLSearchParams(location.search).has('ended')
    ? 'You were signed out. Sign in again to go on.'
    : '';
}

function words(error: unknown): string {
  if (!(error instanceof Refusal)) return 'Something went wrong in this page. Reload it and try again.';
  switch (error.status) {
    case 401:
      return 'The e-mail address or the password is wrong.';
    case 409:
      return 'This e-mail address has an account. Sign in instead.';
    case 429:
      return 'Too many attempts. Wait a minute and try again.';
    default:
      return error.message;
  }
}
