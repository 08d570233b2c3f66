// Takes a profile of the processor and draws it as a flame graph: width is time, what is above was called by what is below.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { profile, type Profile as Taken } from './api.ts';
import { bars, type Frame, label, tree } from './flame.ts';

const SECONDS = [2, 5, 15, 30];
const ROW = 18;
const WIDTH = 1200;

export function Profile({ token }: { token: string | undefined }) {
  const [seconds, setSeconds] = useState(5);
  const [taken, setTaken] = useState<Taken>();
  const [state, setState] = useState<'idle' | 'taking'>('idle');
  const [error, setError] = useState<string>();
  const take = async () => {
    if (token === undefined) return;
    setState('taking');
    setError(undefined);
    try {
      setTaken(await profile(seconds, token));
    } catch (error) {
      setError(error instanceof Error ? error.message : String(error));
    }
    setState('idle');
  };
  return (
    <section class="card" aria-labelledby="profile-title">
      <div class="card-head">
        <h2 id="profile-title">Where the processor's time goes</h2>
        <div class="row">
          <label class="small-text" for="seconds">
            For
          </label>
          <select
            id="seconds"
            class="input short"
            value={seconds}
            onChange={event => setSeconds(Number(event.currentTarget.value))}
          >
            {SECONDS.map(choice => (
              <option key={choice} value={choice}>
                {choice} s
              </option>
            ))}
          </select>
          <button
            class="button primary"
            type="button"
            data-testid="take-profile"
            disabled={token === undefined || state === 'taking'}
            onClick={() => void take()}
          >
            {state === 'taking' ? 'Sampling…' : 'Take a profile'}
          </button>
        </div>
      </div>
      {token === undefined && <p class="soft">To take one needs the operators' token.</p>}
      {error !== undefined && <p class="error">{error}</p>}
      {taken !== undefined &&
        (taken.samples === 0 ? (
          <p>In {taken.seconds} s nothing was seen to run: the server was idle.</p>
        ) : (
          <Flame taken={taken} />
        ))}
    </section>
  );
}

function Flame({ taken }: { taken: Taken }) {
  const [plumbing, setPlumbing] = useState(false);
  const whole = useMemo(() => tree(taken, plumbing), [taken, plumbing]);
  const [chosen, setChosen] = useState<Frame>();
  useEffect(() => setChosen(undefined), [whole]);
  const root = chosen ?? whole;
  const drawn = useMemo(() => bars(root), [root]);
  const deepest = drawn.reduce((most, { depth }) => Math.max(most, depth), 0);
  const share = (frame: Frame) => `${((100 * frame.count) / whole.count).toFixed(1)} %`;
  return (
    <>
      <p class="soft" data-testid="profile-summary">
        {taken.samples} samples in {taken.seconds} s at {taken.rate} a second.{' '}
        {chosen === undefined ? 'Choose a frame to see only it.' : ''}
        {chosen !== undefined && (
          <button class="button small" type="button" onClick={() => setChosen(undefined)}>
            Show everything
          </button>
        )}
      </p>
      <label class="row small-text">
        <input
          type="checkbox"
          checked={plumbing}
          onChange={event => setPlumbing(event.currentTarget.checked)}
        />
        With the standard library and the runtime
      </label>
      <div class="scroll flame">
        <svg
          viewBox={`0 0 ${WIDTH} ${(deepest + 1) * ROW}`}
          role="img"
          aria-label="Flame graph"
          data-testid="flame"
        >
          {drawn.map(({ frame, from, width, depth }) => {
            const y = (deepest - depth) * ROW;
            const letters = Math.floor((width * WIDTH - 6) / 6.2);
            return (
              // biome-ignore lint/a11y/noStaticElementInteractions: the list of the heaviest functions below is for keyboards.
              <g
                key={`${depth} ${from} ${frame.name}`}
                onClick={() => setChosen(depth === 0 ? undefined : frame)}
              >
                <title>
                  {frame.name} · {share(frame)}
                </title>
                <rect
                  x={from * WIDTH}
                  y={y}
                  width={width * WIDTH}
                  height={ROW - 1}
                  data-tone={tone(frame.name)}
                />
                <text x={from * WIDTH + 3} y={y + 12.5}>
                  {label(frame.name, letters)}
                </text>
              </g>
            );
          })}
        </svg>
      </div>
      <Heaviest whole={whole} share={share} />
    </>
  );
}

/** The functions that the processor was in itself, the heaviest first. */
function Heaviest({ whole, share }: { whole: Frame; share: (frame: Frame) => string }) {
  const own = useMemo(() => {
    const sums = new Map<string, number>();
    const walk = (frame: Frame) => {
      let itself = frame.count;
      for (const called of frame.calls.values()) {
        itself -= called.count;
        walk(called);
      }
      if (itself > 0) sums.set(frame.name, (sums.get(frame.name) ?? 0) + itself);
    };
    walk(whole);
    return [...sums].sort(([, one], [, other]) => other - one).slice(0, 12);
  }, [whole]);
  return (
    <>
      <h3>In the function itself</h3>
      <ol class="heaviest">
        {own.map(([name, count]) => (
          <li key={name}>
            <b>{share({ name, count, calls: new Map() })}</b>
            <code>{name}</code>
          </li>
        ))}
      </ol>
    </>
  );
}

/** One of five tones, the same for the same crate. */
function tone(name: string): number {
  const crate = name.replace(/^<+/, '').split('::')[0] ?? '';
  let sum = 0;
  for (const letter of crate) sum = (sum * 31 + letter.charCodeAt(0)) % 5;
  return sum;
}
