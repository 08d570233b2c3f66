// Where a handoff's code is typed, or read by a camera.
import type { TakenOver } from '@syncbridge/client';
import { useId, useRef, useState } from 'preact/hooks';
import { completeHandoff, Refusal } from '../rest.ts';
import { canScan, Scanner } from './scanner.tsx';

interface Props {
  readonly device: () => Promise<string>;
  readonly onTaken: (taken: TakenOver, device: string) => void;
  /** Before the code is presented, and when that has failed. */
  readonly onBegin?: () => void;
  readonly onFail?: () => void;
}

export function CodeEntry({ device, onTaken, onBegin, onFail }: Props) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [scanning, setScanning] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();

  const present = async (presented: { code: string } | { token: string }) => {
    setBusy(true);
    setError('');
    onBegin?.();
    try {
      const here = await device();
      onTaken(await completeHandoff(presented, here), here);
    } catch (error) {
      onFail?.();
      setError(words(error));
      setBusy(false);
      input.current?.focus();
    }
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const code = input.current?.value.trim() ?? '';
    if (code === '') {
      setError('Type the code that the other device shows.');
      input.current?.focus();
    } else {
      void present({ code });
    }
  };

  return (
    <form class="code-entry" method="post" onSubmit={submit}>
      <div class="field">
        <label for={id}>Code from the other device</label>
        <input
          class="input code-input"
          id={id}
          ref={input}
          name="code"
          data-testid="handoff-code-input"
          autocomplete="off"
          autocapitalize="characters"
          spellcheck={false}
          placeholder="7K2M9 QXR4T"
          maxLength={64}
          aria-invalid={error !== ''}
          aria-describedby={`${id}-error`}
        />
      </div>
      <p
        id={`${id}-error`}
        class={error === '' ? 'visually-hidden' : 'error'}
        role="alert"
        data-testid="handoff-error"
      >
        {error}
      </p>
      <div class="code-actions">
        <button class="button primary" type="submit" data-testid="complete-handoff" disabled={busy}>
          {busy ? 'Bringing it here…' : 'Continue here'}
        </button>
        {canScan() && (
          <button class="button" type="button" data-testid="scan" onClick={() => setScanning(!scanning)}>
            {scanning ? 'Stop the camera' : 'Scan with the camera'}
          </button>
        )}
      </div>
      {scanning && (
        <Scanner
          onToken={token => {
            setScanning(false);
            void present({ token });
          }}
          onFail={reason => {
            setScanning(false);
            setError(reason);
          }}
        />
      )}
    </form>
  );
}

/** What a person is told when a code does not work. */
export function words(error: unknown): string {
  if (!(error instanceof Refusal)) return 'Something went wrong in this page. Reload it and try again.';
  switch (error.status) {
    case 400:
    case 404:
      return 'There is no such code. Look at the other device again.';
    case 409:
      return 'The other device kept the session.';
    case 410:
      return 'This code was used or has expired. Make a new one on the other device.';
    case 429:
      return 'Too many attempts. Wait a minute and try again.';
    default:
      return error.message;
  }
}
