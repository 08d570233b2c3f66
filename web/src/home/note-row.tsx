// A note: its text, who else has their caret in it, and who changed it a moment ago.
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { deviceColour } from '../device.ts';
import { memo } from '../ui/memo.tsx';
import type { Highlight } from './changes.ts';
import type { Actions } from './home.tsx';
import type { Row } from './list.ts';
import { type Names, nameOf } from './names.ts';
import { duration } from './time.ts';
import type { Cursor } from './whereabouts.ts';

interface Props {
  readonly row: Row;
  readonly highlight: Highlight | undefined;
  readonly cursors: readonly Cursor[] | undefined;
  readonly names: Names;
  readonly readOnly: boolean;
  readonly actions: Actions;
}

export const NoteRow = memo(function NoteRow({ row, highlight, cursors, names, readOnly, actions }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  // What this row has written and the page has not drawn yet must not be written over by an older state.
  const composing = useRef(false);
  // Ends when this row's text is left, or goes.
  const focused = useRef<AbortController>(null);
  useEffect(() => () => focused.current?.abort(), []);

  useLayoutEffect(() => {
    if (area.current !== null && !composing.current) put(area.current, row.text);
  }, [row.text]);

  const write = (element: HTMLTextAreaElement) => {
    if (!composing.current) actions.write(row, element.value);
    stand(element);
  };
  const stand = ({ selectionStart, selectionEnd }: HTMLTextAreaElement) =>
    actions.stand(row, selectionStart, selectionEnd);
  const focus = (element: HTMLTextAreaElement) => {
    focused.current?.abort();
    focused.current = new AbortController();
    // Where a caret moves without a letter being written, only the document is told (and in some browsers the field too).
    document.addEventListener('selectionchange', () => stand(element), focused.current);
    stand(element);
  };
  const blur = () => {
    focused.current?.abort();
    actions.stand(undefined, 0, 0);
  };
  const keys = (event: KeyboardEvent) => {
    if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
      event.preventDefault();
      actions.move(row, event.key === 'ArrowDown');
    } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      document.querySelector<HTMLElement>('[data-testid="new-note"]')?.focus();
    }
  };

  return (
    <li
      class={`note${row.done ? ' done' : ''}`}
      data-testid="note"
      data-note={row.id}
      data-colour={highlight && (highlight.own ? 'own' : deviceColour(highlight.device))}
    >
      {highlight && <span key={highlight.id} class="wash" />}
      <input
        class="check"
        type="checkbox"
        checked={row.done}
        disabled={readOnly}
        aria-label={`Done: ${row.text.slice(0, 80)}`}
        data-testid="note-done"
        onChange={event => actions.check(row, event.currentTarget.checked)}
      />
      <div class="text">
        <div class="mirror" aria-hidden="true">
          {`${row.text}\u200b`}
        </div>
        {cursors?.map(cursor => (
          <Caret key={cursor.device} cursor={cursor} text={row.text} name={nameOf(names, cursor.device)} />
        ))}
        <textarea
          ref={area}
          rows={1}
          aria-label="Note"
          aria-keyshortcuts="Alt+ArrowUp Alt+ArrowDown"
          data-testid="note-text"
          readOnly={readOnly}
          maxLength={10_000}
          onInput={event => write(event.currentTarget)}
          onFocus={event => focus(event.currentTarget)}
          onBlur={blur}
          onKeyDown={keys}
          onCompositionStart={() => {
            composing.current = true;
          }}
          onCompositionEnd={event => {
            composing.current = false;
            write(event.currentTarget);
          }}
        />
      </div>
      <span class="by" data-testid="note-by">
        {highlight && (
          <span class="chip" key={highlight.id} title={explain(highlight)}>
            {highlight.own ? 'You' : nameOf(names, highlight.device)} · {duration(highlight.took)}
          </span>
        )}
      </span>
      {!readOnly && (
        <button
          class="remove"
          type="button"
          aria-label={`Remove: ${row.text.slice(0, 80)}`}
          onClick={() => actions.remove(row)}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M4 4l8 8M12 4l-8 8" />
          </svg>
        </button>
      )}
    </li>
  );
});

function explain({ own, took }: Highlight): string {
  return own
    ? `The server had your change after ${duration(took)}.`
    : `It was here ${duration(took)} after the server had it.`;
}

/** Another device's caret, at its place in the text: the text before it is laid out like the note's own, unseen. */
function Caret({ cursor, text, name }: { cursor: Cursor; text: string; name: string }) {
  const flag = useRef<HTMLSpanElement>(null);
  const [from, to] = [Math.min(cursor.from, cursor.to), Math.max(cursor.from, cursor.to)];
  useLayoutEffect(() => {
    const [element, caret] = [flag.current, flag.current?.parentElement];
    const layer = caret?.parentElement;
    if (element === null || caret === null || caret === undefined || !layer) return;
    // The name stands to the left of a caret that is near the right edge.
    element.classList.toggle('turned', caret.offsetLeft + element.offsetWidth > layer.clientWidth);
  }, [from, to, text, name]);
  return (
    <div
      class="mirror caret-layer"
      aria-hidden="true"
      data-colour={deviceColour(cursor.device)}
      data-testid="cursor"
    >
      {text.slice(0, from)}
      {to > from && <span class="selected">{text.slice(from, to)}</span>}
      <span class="caret">
        <span class="flag" ref={flag}>
          {name}
        </span>
      </span>
    </div>
  );
}

/** Puts another text into a field without moving the caret of who is writing there: it stays beside the same letters. */
function put(area: HTMLTextAreaElement, text: string): void {
  const old = area.value;
  if (old === text) return;
  if (document.activeElement !== area) {
    area.value = text;
    return;
  }
  const shortest = Math.min(old.length, text.length);
  let front = 0;
  while (front < shortest && old[front] === text[front]) front += 1;
  let back = 0;
  while (back < shortest - front && old[old.length - 1 - back] === text[text.length - 1 - back]) back += 1;
  const moved = (at: number) =>
    at <= front ? at : at >= old.length - back ? at + text.length - old.length : text.length - back;
  const { selectionStart, selectionEnd, selectionDirection } = area;
  area.value = text;
  area.setSelectionRange(moved(selectionStart), moved(selectionEnd), selectionDirection);
}
