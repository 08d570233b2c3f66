// Who is connected: the slow ones first, and why they are slow.
import { useCallback, useState } from 'preact/hooks';
import { type Connection, connections, disconnect } from './api.ts';
import { usePolled } from './polled.ts';
import { Search } from './search.tsx';
import { bytes, count, milliseconds } from './words.ts';

const EVERY_MS = 2000;

export function Connections({ token }: { token: string | undefined }) {
  const [search, setSearch] = useState('');
  const ask = useCallback((signal: AbortSignal) => connections(search, signal), [search]);
  const { answer, error } = usePolled(ask, EVERY_MS);
  const [said, setSaid] = useState('');
  const end = async (connection: Connection) => {
    if (token === undefined) return;
    try {
      await disconnect(connection.id, token);
      setSaid(`${connection.device || connection.id} is being disconnected.`);
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  const slow = answer?.shards.reduce((all, shard) => all + shard.behind, 0) ?? 0;
  const blocked = answer?.shards.reduce((all, shard) => all + shard.blocked, 0) ?? 0;
  return (
    <section class="card" aria-labelledby="connections-title">
      <div class="card-head">
        <h2 id="connections-title">Connections</h2>
        <Search
          label="Search connections"
          hint="user, device, session, address, transport"
          onSearch={setSearch}
        />
      </div>
      {error !== undefined && <p class="error">{error}</p>}
      {answer !== undefined && (
        <p class="soft" data-testid="connections-summary">
          {count(answer.matching)} {search === '' ? 'open' : 'found'} · {count(slow)} behind ·{' '}
          {count(blocked)} take nothing now
          {answer.counts.map(({ transport, scope, count: number }) => (
            <span key={`${transport} ${scope}`}>
              {' '}
              · {count(number)} {transport} for a {scope}
            </span>
          ))}
        </p>
      )}
      <p role="status" class="small-text">
        {said}
      </p>
      <div class="scroll">
        <table class="stacked" data-testid="connections-table">
          <thead>
            <tr>
              <th scope="col">Device</th>
              <th scope="col">By</th>
              <th scope="col">From</th>
              <th scope="col">Sessions</th>
              <th scope="col">Behind</th>
              <th scope="col">Waiting</th>
              <th scope="col">In its socket</th>
              <th scope="col">Round trip</th>
              <th scope="col">Lost</th>
              <th scope="col">Why it is slow</th>
              {token !== undefined && (
                <th scope="col">
                  <span class="visually-hidden">Action</span>
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {answer?.connections.map(connection => (
              <tr key={connection.id} data-blocked={connection.blocked}>
                <th scope="row">
                  {connection.device || <i>not signed in</i>}
                  <span class="soft small-text block">{connection.user}</span>
                </th>
                <td data-label="By">{connection.transport}</td>
                <td data-label="From">{connection.peer}</td>
                <td data-label="Sessions" class="clip" title={connection.sessions.join(', ')}>
                  {connection.sessions.join(', ')}
                </td>
                <td data-label="Behind">
                  {count(connection.lagEvents)} <span class="soft">({bytes(connection.lagBytes)})</span>
                </td>
                <td data-label="Waiting">{bytes(connection.waitingBytes)}</td>
                <td data-label="In its socket">{bytes(connection.socketBytes)}</td>
                <td data-label="Round trip">{milliseconds(connection.rttMs ?? undefined)}</td>
                <td data-label="Lost">
                  {connection.sent > 0 ? `${((100 * connection.lost) / connection.sent).toFixed(1)} %` : '–'}
                </td>
                <td data-label="Why it is slow" class="why">
                  {connection.why.join('; ') || <span class="soft">it is not</span>}
                </td>
                {token !== undefined && (
                  <td class="act">
                    <button class="button small danger" type="button" onClick={() => void end(connection)}>
                      Disconnect
                    </button>
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {answer !== undefined && answer.matching > answer.connections.length && (
        <p class="soft small-text">
          The {answer.connections.length} that are most behind; search for others.
        </p>
      )}
    </section>
  );
}
