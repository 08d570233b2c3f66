// What happened last, by whom, and how long it took.
import { useEffect, useState } from 'preact/hooks';
import { deviceColour } from '../device.ts';
import { memo } from '../ui/memo.tsx';
import type { Entry } from './changes.ts';
import { type Names, nameOf } from './names.ts';
import type { Log } from './room.ts';
import { duration, moment } from './time.ts';

interface Props {
  readonly names: Names;
  readonly log: Log;
}

/** Lines that are drawn. */
const DRAWN = 12;
/** Milliseconds between two things that a screen reader is told: others' letters would drown everything else. */
const SAY = 4_000;

export const Activity = memo(function Activity({ names, log: { entries, rows } }: Props) {
  const text = (note: string | undefined) => rows.find(row => row.id === note)?.text ?? '';
  return (
    <section class="panel" aria-labelledby="activity-title">
      <h2 id="activity-title">A moment ago</h2>
      <ol class="activity" data-testid="activity">
        {entries.slice(0, DRAWN).map(entry => (
          <li key={entry.id}>
            <span
              class="dot"
              data-colour={entry.own ? 'own' : deviceColour(entry.device)}
              aria-hidden="true"
            />
            <p>
              <strong>{entry.own ? 'You' : nameOf(names, entry.device)}</strong> {words(entry)}{' '}
              {entry.note !== undefined && <q>{short(text(entry.note))}</q>}
            </p>
            <p class="soft small-text">
              <time>{moment(entry.at)}</time> · <span class="took">{duration(entry.took)}</span>
              {entry.times > 1 && ` · ${entry.times} changes`}
            </p>
          </li>
        ))}
      </ol>
      {entries.length === 0 && (
        <p class="soft small-text">Changes appear here, with who made them and how long they took.</p>
      )}
      <Announcer names={names} latest={entries.find(entry => !entry.own)} text={text} />
    </section>
  );
});

interface AnnouncerProps {
  readonly names: Names;
  readonly latest: Entry | undefined;
  readonly text: (note: string | undefined) => string;
}

/** Tells screen readers of others' changes, now and then. */
function Announcer({ names, latest, text }: AnnouncerProps) {
  const [said, say] = useState('');
  const [at, setAt] = useState(0);
  useEffect(() => {
    if (latest === undefined) return;
    const timer = setTimeout(
      () => {
        say(`${nameOf(names, latest.device)} ${words(latest)} ${short(text(latest.note))}`);
        setAt(Date.now());
      },
      Math.max(0, at + SAY - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [latest?.id]);
  return (
    <p class="visually-hidden" aria-live="polite">
      {said}
    </p>
  );
}

/** As much of a note as a line holds. */
function short(text: string): string {
  return text.length > 60 ? `${text.slice(0, 59).trimEnd()}…` : text;
}

function words({ what, note }: Entry): string {
  switch (what) {
    case 'added':
      return 'added';
    case 'wrote':
      return 'wrote';
    case 'checked':
      return 'checked off';
    case 'reopened':
      return 'reopened';
    case 'removed':
      return 'removed a note';
    case 'renamed':
      return 'renamed the list';
    case 'moved':
      return 'moved';
    case 'changed':
      return note === undefined ? 'changed the session' : 'changed';
  }
}
