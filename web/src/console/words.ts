// Numbers as operators read them.

export function count(value: number): string {
  if (value < 10_000)
    return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : `${Math.round(value)}`;
  const [unit, size] = value < 1e6 ? ['k', 1e3] : value < 1e9 ? ['M', 1e6] : ['G', 1e9];
  const scaled = value / size;
  return `${scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
}

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${scaled < 10 && unit > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

export function milliseconds(value: number | undefined): string {
  if (value === undefined) return '–';
  if (!Number.isFinite(value)) return '> 1 s';
  return value < 10 ? `${value.toFixed(value < 1 ? 2 : 1)} ms` : `${Math.round(value)} ms`;
}

export const percent = (share: number) => `${Math.round(share * 100)} %`;
