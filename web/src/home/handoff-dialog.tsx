// The way to another device: a code and a QR code that it can take, and the place for a code that it shows.
import type { Offer, TakenOver } from '@syncbridge/client';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { deviceId } from '../device.ts';
import { CodeEntry } from '../ui/code-entry.tsx';
import type { Moved, Room } from './room.ts';
import { left } from './time.ts';

interface Props {
  readonly room: Room;
  readonly movedTo: Moved | undefined;
  readonly onTaken: (taken: TakenOver, device: string) => void;
  readonly onClose: () => void;
}

export function HandoffDialog({ room, movedTo, onTaken, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [offer, setOffer] = useState<Offer>();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const id = useId();

  useEffect(() => dialog.current?.showModal(), []);
  // It went where it should: what was shown here is of no use any more.
  useEffect(() => {
    if (movedTo !== undefined && offer !== undefined) dialog.current?.close();
  }, [movedTo]);

  const generate = async () => {
    setBusy(true);
    setError('');
    try {
      setOffer(await room.offer());
    } catch (error) {
      setError(error instanceof Error ? error.message : 'That did not work.');
    }
    setBusy(false);
  };

  return (
    <dialog class="dialog" ref={dialog} onClose={onClose} aria-labelledby={`${id}-title`}>
      <div class="dialog-head">
        <h2 id={`${id}-title`}>Hand off</h2>
        <button class="button plain small" type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
      <section class="handing" aria-labelledby={`${id}-out`}>
        <h3 id={`${id}-out`}>Continue on another device</h3>
        {offer === undefined ? (
          <p class="soft">It opens where you stand now, and nothing has to be saved or sent.</p>
        ) : (
          <Shown offer={offer} onExpired={() => setOffer(undefined)} />
        )}
        {error !== '' && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        <button
          class={`button ${offer === undefined ? 'primary' : ''}`}
          type="button"
          data-testid="generate-handoff-code"
          disabled={busy}
          onClick={() => void generate()}
        >
          {offer === undefined ? 'Show a code' : 'Another code'}
        </button>
      </section>
      <section class="handing" aria-labelledby={`${id}-in`}>
        <h3 id={`${id}-in`}>Bring a session here</h3>
        <CodeEntry
          device={deviceId}
          onBegin={() => room.handOver(true)}
          onFail={() => room.handOver(false)}
          onTaken={(taken, device) => {
            dialog.current?.close();
            onTaken(taken, device);
          }}
        />
      </section>
    </dialog>
  );
}

/** A code that is good now. */
function Shown({ offer, onExpired }: { offer: Offer; onExpired: () => void }) {
  const [now, setNow] = useState(Date.now());
  const [copied, setCopied] = useState(false);
  const ends = Date.parse(offer.expiresAt);
  const link = `${location.origin}/handoff#${offer.token}`;

  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => setCopied(false), [offer]);
  useEffect(() => {
    if (now >= ends) onExpired();
  }, [now, ends]);

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link);
      setCopied(true);
    } catch {
      // No right to the clipboard: the link can be selected.
      setCopied(false);
    }
  };

  return (
    <div class="shown">
      {/* As an image: an SVG in an image can run nothing and load nothing. */}
      <img
        class="qr"
        src={`data:image/svg+xml,${encodeURIComponent(offer.qrSvg)}`}
        alt="QR code of the link"
        width="200"
        height="200"
        data-testid="handoff-qr"
      />
      <div class="shown-words">
        <p class="soft small-text">Type this code there</p>
        <output class="code" data-testid="handoff-code">
          {offer.code}
        </output>
        <p class="soft small-text" data-testid="handoff-left">
          Good for {left(ends - now)}, once
        </p>
        <div class="shown-link">
          <input
            class="input link"
            readOnly
            value={link}
            aria-label="Link"
            data-testid="handoff-link"
            onFocus={event => event.currentTarget.select()}
          />
          <button class="button small" type="button" onClick={() => void copy()}>
            <span aria-live="polite">{copied ? 'Copied' : 'Copy link'}</span>
          </button>
        </div>
      </div>
    </div>
  );
}
