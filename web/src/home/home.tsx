// `/home`: a list of notes that every device shows and changes at once.
import type { TakenOver } from '@syncbridge/client';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Activity } from './activity.tsx';
import { AddNote } from './add-note.tsx';
import { Banners } from './banners.tsx';
import { Bar } from './bar.tsx';
import { Devices } from './devices.tsx';
import { HandoffDialog } from './handoff-dialog.tsx';
import * as list from './list.ts';
import { NoteRow } from './note-row.tsx';
import type { Room, View } from './room.ts';

interface Props {
  readonly room: Room;
  /** Another login has taken this one's place. */
  readonly onTaken: (taken: TakenOver, device: string) => void;
}

export function Home({ room, onTaken }: Props) {
  const [view, setView] = useState(() => room.view());
  const [handing, setHanding] = useState(false);
  useEffect(() => {
    setView(room.view());
    return room.subscribe(setView);
  }, [room]);
  useEffect(() => {
    document.title = view.page.title === '' ? 'SyncBridge' : `${view.page.title} · SyncBridge`;
  }, [view.page.title]);
  const actions = useActions(room, view);
  const { page } = view;
  const readOnly = view.watching || !page.writable;
  const open = page.rows.reduce((count, row) => count + (row.done ? 0 : 1), page.left);

  return (
    <div class="home">
      <a class="skip" href="#notes">
        Skip to the notes
      </a>
      <Bar room={room} view={view} onHandoff={() => setHanding(true)} />
      <div class="columns">
        <main class="sheet" id="notes" tabIndex={-1}>
          <Banners room={room} view={view} />
          <div class="sheet-head">
            <h1 class="visually-hidden">{page.title === '' ? 'Notes' : page.title}</h1>
            <input
              class="title"
              aria-label="Name of the list"
              data-testid="list-title"
              value={page.title}
              placeholder="Notes"
              maxLength={120}
              readOnly={readOnly}
              onInput={event => actions.rename(event.currentTarget.value)}
            />
            <p class="soft count" data-testid="count">
              {view.sessionId === undefined || (view.version === 0 && page.rows.length === 0)
                ? 'Opening…'
                : open === 0
                  ? page.rows.length === 0
                    ? 'Nothing here yet'
                    : 'All done'
                  : `${open} to do`}
            </p>
          </div>
          <ol class="notes" data-testid="notes">
            {page.rows.map(row => (
              <NoteRow
                key={row.id}
                row={row}
                highlight={room.highlight(row.id)}
                cursors={view.cursors.get(row.id)}
                names={view.names}
                readOnly={readOnly}
                actions={actions}
              />
            ))}
          </ol>
          {page.rows.length === 0 && view.version > 0 && !readOnly && (
            <p class="soft empty">
              Write the first one. It is on your other devices before you have looked up.
            </p>
          )}
          {page.left > 0 && <p class="soft more">and {page.left} more</p>}
          {!readOnly && <AddNote onAdd={actions.add} />}
          {page.rest.length > 0 && (
            <details class="rest">
              <summary>Also in this session</summary>
              <dl>
                {page.rest.slice(0, 50).map(([key, value]) => (
                  <div key={key}>
                    {key !== '' && <dt>{key}</dt>}
                    <dd>
                      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and a keyboard has to reach that */}
                      <pre tabIndex={0}>{list.shortJson(value)}</pre>
                    </dd>
                  </div>
                ))}
              </dl>
            </details>
          )}
        </main>
        <aside class="side" aria-label="What goes on">
          <Devices
            here={room.device}
            names={view.names}
            devices={view.devices}
            activeDevice={view.activeDevice}
            cursors={view.cursors}
          />
          <Activity names={view.names} log={view.log} />
        </aside>
      </div>
      {handing && (
        <HandoffDialog
          room={room}
          movedTo={view.movedTo}
          onTaken={onTaken}
          onClose={() => setHanding(false)}
        />
      )}
    </div>
  );
}

/** What rows can do. The same functions for as long as the page lives, so that a row is drawn only when it changes. */
export interface Actions {
  readonly add: (text: string) => void;
  readonly write: (row: list.Row, text: string) => void;
  readonly check: (row: list.Row, done: boolean) => void;
  readonly remove: (row: list.Row) => void;
  readonly move: (row: list.Row, down: boolean) => void;
  readonly rename: (title: string) => void;
  readonly stand: (row: list.Row | undefined, from: number, to: number) => void;
}

function useActions(room: Room, view: View): Actions {
  const latest = useRef(view);
  latest.current = view;
  const actions = useRef<{ of: Room; actions: Actions }>(undefined);
  if (actions.current?.of !== room) {
    actions.current = { of: room, actions: actionsOf(room, () => latest.current.page) };
  }
  return actions.current.actions;
}

function actionsOf(room: Room, page: () => list.Page): Actions {
  return {
    add: text => room.change(list.add(drawnId(), text, page())),
    write: (row, text) => room.change(list.write(row.id, text)),
    check: (row, done) => room.change(list.check(row.id, done)),
    remove: row => room.change(list.remove(row.id)),
    move: (row, down) => {
      const recipe = list.move(row.id, down, page());
      if (recipe !== undefined) room.change(recipe);
    },
    rename: title => room.change(list.rename(title)),
    stand: (row, from, to) => room.stand(row && { note: row.id, from, to }),
  };
}

/** An id for a note: later ones sort after earlier ones, and no two devices make the same. */
function drawnId(): string {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return `${Date.now().toString(36)}-${(random ?? 0).toString(36)}`;
}
