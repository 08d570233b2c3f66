// What a person has to know or decide, above the notes.
import { nameOf } from './names.ts';
import type { Room, View } from './room.ts';

export function Banners({ room, view }: { room: Room; view: View }) {
  const { asked, movedTo, trouble, watching, unsent } = view;
  return (
    <div class="banners">
      {asked !== undefined && (
        <div class="banner" role="alertdialog" aria-label="Handoff" data-testid="asked">
          <p>
            <strong>{nameOf(view.names, asked.device)}</strong> asks to take over.
          </p>
          <button
            class="button small primary"
            type="button"
            data-testid="allow"
            onClick={() => room.answer(true)}
          >
            Let it
          </button>
          <button class="button small" type="button" data-testid="decline" onClick={() => room.answer(false)}>
            Keep it here
          </button>
        </div>
      )}
      {watching && (
        <div class="banner" role="status" data-testid="watching">
          <p>
            {unsent > 0
              ? `${unsent} of your changes wait: another device is the one that writes.`
              : 'Another device is the one that writes. Here you see what it does.'}
          </p>
          <button
            class="button small primary"
            type="button"
            data-testid="take-over"
            onClick={() => void room.takeOver()}
          >
            {unsent > 0 ? 'Take over and send' : 'Take over'}
          </button>
          {unsent > 0 && (
            <button class="button small" type="button" onClick={() => room.discardUnsent()}>
              Discard
            </button>
          )}
        </div>
      )}
      {movedTo !== undefined && (
        <div class="banner calm" role="status" data-testid="moved">
          <p>
            The session went on to <strong>{nameOf(view.names, movedTo.device)}</strong>.
          </p>
          <button class="button small plain" type="button" onClick={() => room.dismiss()}>
            Fine
          </button>
        </div>
      )}
      {view.status.phase === 'stopped' && (
        <div class="banner" role="status" data-testid="stopped">
          <p>The connection was ended by the server. What you write waits here.</p>
          <button
            class="button small primary"
            type="button"
            data-testid="reconnect"
            onClick={() => room.reconnect()}
          >
            Connect again
          </button>
        </div>
      )}
      {trouble !== undefined && (
        <div class="banner bad" role="alert" data-testid="trouble">
          <p>{trouble}</p>
          <button class="button small plain" type="button" onClick={() => room.dismiss()}>
            Understood
          </button>
        </div>
      )}
    </div>
  );
}
