// The sessions in memory, those with the most subscribers first.
import { useCallback, useState } from 'preact/hooks';
import { sessions } from './api.ts';
import { usePolled } from './polled.ts';
import { Search } from './search.tsx';
import { bytes, count } from './words.ts';

const EVERY_MS = 3000;

export function Sessions() {
  const [search, setSearch] = useState('');
  const ask = useCallback((signal: AbortSignal) => sessions(search, signal), [search]);
  const { answer, error } = usePolled(ask, EVERY_MS);
  return (
    <section class="card" aria-labelledby="sessions-title">
      <div class="card-head">
        <h2 id="sessions-title">Sessions and their topics</h2>
        <Search label="Search sessions" hint="part of an id" onSearch={setSearch} />
      </div>
      {error !== undefined && <p class="error">{error}</p>}
      {answer !== undefined && (
        <p class="soft">
          {count(answer.matching)} {search === '' ? 'in memory' : 'found'}
        </p>
      )}
      <div class="scroll">
        <table class="stacked" data-testid="sessions-table">
          <thead>
            <tr>
              <th scope="col">Session</th>
              <th scope="col">Subscribers</th>
              <th scope="col">Version</th>
              <th scope="col">Epoch</th>
              <th scope="col">Document</th>
            </tr>
          </thead>
          <tbody>
            {answer?.sessions.map(session => (
              <tr key={session.id}>
                <th scope="row">{session.id}</th>
                <td data-label="Subscribers">{count(session.subscribers)}</td>
                <td data-label="Version">{session.version}</td>
                <td data-label="Epoch">{session.epoch}</td>
                <td data-label="Document">{bytes(session.bytes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
