// One plot of the last minutes. uPlot draws on a canvas; colours are the page's, read anew when it is light or dark.
import { useEffect, useRef } from 'preact/hooks';
import UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

export interface Line {
  readonly label: string;
  /** A token of styles/tokens.css. */
  readonly colour: string;
  readonly values: readonly (number | undefined)[];
}

interface Props {
  readonly title: string;
  readonly at: readonly number[];
  readonly lines: readonly Line[];
  readonly show: (value: number) => string;
  /** The top of the plot is at least this, so that noise does not look like a mountain. */
  readonly least: number;
}

const HEIGHT = 168;

export function Plot({ title, at, lines, show, least }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(undefined);
  const labels = lines.map(line => line.label).join('\n');

  useEffect(() => {
    const element = frame.current;
    if (element === null) return undefined;
    const make = () => {
      plot.current?.destroy();
      plot.current = new UPlot(options(element, lines, show, least), data(at, lines), element);
    };
    make();
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    resized.observe(element);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', make);
    return () => {
      dark.removeEventListener('change', make);
      resized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [labels]);

  useEffect(() => plot.current?.setData(data(at, lines)), [at, lines]);

  return (
    <figure class="card plot">
      <figcaption>
        <h3>{title}</h3>
        <ul class="legend">
          {lines.map(line => {
            const last = line.values.at(-1);
            return (
              <li key={line.label} data-line={line.colour}>
                <span class="swatch" aria-hidden="true" /> {line.label}{' '}
                <b>{last === undefined ? '–' : show(last)}</b>
              </li>
            );
          })}
        </ul>
      </figcaption>
      <div ref={frame} class="plot-frame" aria-hidden="true" />
    </figure>
  );
}

function data(at: readonly number[], lines: readonly Line[]): UPlot.AlignedData {
  const drawable = (value: number | undefined) =>
    value !== undefined && Number.isFinite(value) ? value : null;
  return [[...at], ...lines.map(line => line.values.map(drawable))];
}

function options(
  element: HTMLElement,
  lines: readonly Line[],
  show: (value: number) => string,
  least: number,
): UPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => resolved(element, name) || style.color;
  const axis = {
    stroke: colour('--ink-soft'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width: Math.max(element.clientWidth, 120),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 4, 0, 0],
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, least)] } },
    axes: [
      {
        ...axis,
        size: 28,
        space: 64,
        font: `11px ${style.fontFamily}`,
        values: (_plot, ticks) => ticks.map(clock),
      },
      {
        ...axis,
        size: 64,
        font: `11px ${style.fontFamily}`,
        values: (_plot, ticks) => ticks.map(tick => (tick === 0 ? '0' : show(tick))),
      },
    ],
    series: [
      {},
      ...lines.map(line => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 2,
        points: { show: false },
        ...(lines.length === 1 ? { fill: colour(`${line.colour}-soft`) } : {}),
      })),
    ],
  };
}

/** The time of day of Unix seconds, as clocks show it everywhere. */
function clock(seconds: number): string {
  return new Date(seconds * 1_000).toLocaleTimeString('en-GB');
}

/** A token's colour as it is now; `light-dark()` is only resolved in a property that takes a colour. */
function resolved(element: HTMLElement, name: string): string {
  const before = element.style.color;
  element.style.color = `var(${name})`;
  const colour = getComputedStyle(element).color;
  element.style.color = before;
  return colour;
}
