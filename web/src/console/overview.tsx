// The first page: how the server is, and how it has been for the last minutes.
import type { Overview as Told } from './api.ts';
import { Plot } from './plot.tsx';
import type { Point } from './rates.ts';
import { bytes, count, milliseconds, percent } from './words.ts';

interface Props {
  readonly told: Told;
  readonly points: readonly Point[];
}

export function Overview({ told, points }: Props) {
  const now = points.at(-1);
  const at = points.map(point => point.at);
  const of = (value: (point: Point) => number | undefined) => points.map(value);
  const perSecond = (value: number) => `${count(value)}/s`;
  return (
    <div class="overview">
      <dl class="tiles">
        <Tile
          name="Connections"
          value={count(now?.connections ?? 0)}
          more={transports(told)}
          testid="connections"
        />
        <Tile name="Sessions in memory" value={count(told.sessions)} />
        <Tile
          name="Deliveries"
          value={perSecond(now?.deliveries ?? 0)}
          more={now?.perSend === undefined ? 'no sends' : `${count(now.perSend)} a system call`}
          testid="deliveries"
        />
        <Tile
          name="Updates"
          value={perSecond(now?.updates ?? 0)}
          more={`${perSecond(now?.messages ?? 0)} messages`}
          testid="updates"
        />
        <Tile
          name="Until durable"
          value={milliseconds(now?.commit?.p50)}
          more={`p99 ${milliseconds(now?.commit?.p99)}`}
        />
        <Tile
          name="Not durable yet"
          value={count(told.uncommitted)}
          more={`oldest ${milliseconds(told.oldestUncommittedMs)}`}
        />
        <Tile
          name="Processor"
          value={now?.cpu === undefined ? '–' : `${now.cpu.toFixed(2)} cores`}
          more={`shards ${now?.busy.map(percent).join(', ') ?? '–'}`}
        />
        <Tile
          name="Memory"
          value={told.process ? bytes(told.process.residentBytes) : '–'}
          more={`${told.process?.openFiles ?? '–'} files open`}
        />
      </dl>
      <div class="plots">
        <Plot
          title="Deliveries"
          at={at}
          lines={[
            {
              label: 'events handed to subscribers',
              colour: '--accent',
              values: of(({ deliveries }) => deliveries),
            },
          ]}
          show={perSecond}
          least={10}
        />
        <Plot
          title="Updates and messages"
          at={at}
          lines={[
            { label: 'updates', colour: '--accent', values: of(({ updates }) => updates) },
            { label: 'messages', colour: '--amber', values: of(({ messages }) => messages) },
          ]}
          show={perSecond}
          least={10}
        />
        <Plot
          title="Until an update is durable"
          at={at}
          lines={[
            { label: 'p50', colour: '--accent', values: of(({ commit }) => commit?.p50) },
            { label: 'p99', colour: '--amber', values: of(({ commit }) => commit?.p99) },
          ]}
          show={milliseconds}
          least={1}
        />
        <Plot
          title="HTTP requests"
          at={at}
          lines={[
            { label: 'p50', colour: '--accent', values: of(({ request }) => request?.p50) },
            { label: 'p99', colour: '--amber', values: of(({ request }) => request?.p99) },
          ]}
          show={milliseconds}
          least={1}
        />
        <Plot
          title="Shards at work"
          at={at}
          lines={told.shards.slice(0, SHARDS).map((_, shard) => ({
            label: `shard ${shard}`,
            colour: SHARD_COLOURS[shard % SHARD_COLOURS.length] ?? '--accent',
            values: of(({ busy }) => busy[shard]),
          }))}
          show={percent}
          least={0.1}
        />
        <Plot
          title="Connections"
          at={at}
          lines={[{ label: 'open', colour: '--accent', values: of(({ connections }) => connections) }]}
          show={count}
          least={10}
        />
      </div>
      <section class="card" aria-labelledby="shards-title">
        <h2 id="shards-title">Shards</h2>
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Shard</th>
                <th scope="col">Connections</th>
                <th scope="col">At work</th>
                <th scope="col">Messages</th>
                <th scope="col">Deliveries</th>
                <th scope="col">System calls</th>
                <th scope="col">Sent</th>
                <th scope="col">Not taken at once</th>
              </tr>
            </thead>
            <tbody>
              {told.shards.map((shard, at) => (
                <tr key={at}>
                  <th scope="row">{at}</th>
                  <td>{count(shard.connections)}</td>
                  <td>{percent(now?.busy[at] ?? 0)}</td>
                  <td>{count(shard.received)}</td>
                  <td>{count(shard.deliveries)}</td>
                  <td>{count(shard.sends)}</td>
                  <td>{bytes(shard.sentBytes)}</td>
                  <td>{count(shard.slow)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </section>
    </div>
  );
}

/** Shards that are drawn; the table has all. */
const SHARDS = 8;
const SHARD_COLOURS = [
  '--accent',
  '--amber',
  '--device-0',
  '--device-1',
  '--device-2',
  '--device-4',
  '--device-5',
  '--danger',
];

function transports(told: Told): string {
  const open = told.transports.filter(({ open }) => open > 0);
  return open.length === 0
    ? 'none'
    : open.map(({ transport, open }) => `${transport} ${count(open)}`).join(', ');
}

function Tile({
  name,
  value,
  more,
  testid,
}: {
  name: string;
  value: string;
  more?: string;
  testid?: string;
}) {
  return (
    <div class="card tile">
      <dt>{name}</dt>
      <dd>
        <span class="tile-value" data-testid={testid}>
          {value}
        </span>
        {more !== undefined && <span class="soft small-text">{more}</span>}
      </dd>
    </div>
  );
}
