import { expect, test, vi } from 'vitest';
import { canonical } from '../src/app-state.ts';
import { deviceColour, platformName } from '../src/device.ts';
import { nameOf, settled } from '../src/home/names.ts';
import { escaped, unescaped } from '../src/home/pointer.ts';
import { duration, left } from '../src/home/time.ts';
import { tokenOf } from '../src/ui/scanner.tsx';

test('durations are as short as they can be said', () => {
  expect([0.4, 1, 12.4, 1_500, 90_000, 7_200_000].map(duration)).toEqual([
    '<1 ms',
    '1 ms',
    '12 ms',
    '1.5 s',
    '2 min',
    '2 h',
  ]);
  expect([300_000, 61_000, 900, -5].map(left)).toEqual(['5:00', '1:01', '0:01', '0:00']);
});

test('parts of a pointer come back as they were', () => {
  for (const key of ['', 'a/b', '~', '~1', 'a~0/b', 'é/~~']) expect(unescaped(escaped(key))).toBe(key);
});

test('a device has one colour, and a name that people gave it or none', () => {
  expect(deviceColour('phone')).toBe(deviceColour('phone'));
  expect(new Set(Array.from({ length: 100 }, (_, n) => deviceColour(`web-${n}`))).size).toBe(6);
  const names = new Map([['web-0011223344556677', 'Firefox on Android']]);
  expect(['web-0011223344556677', 'web-8899aabbccddeeff', '', 'laptop'].map(id => nameOf(names, id))).toEqual(
    ['Firefox on Android', 'Another device', 'Another device', 'laptop'],
  );
  expect(settled(names, new Map(names))).toBe(names);
  expect(settled(names, new Map([['web-0011223344556677', 'Other']]))).not.toBe(names);
});

test('platforms are told apart', () => {
  const agents = [
    '(iPhone; CPU iPhone OS 18 like Mac OS X)',
    '(Linux; Android 15)',
    '(X11; Linux x86_64)',
    '(Windows NT 10.0)',
    '?',
  ];
  expect(agents.map(platformName)).toEqual(['iOS', 'Android', 'Linux', 'Windows', 'another system']);
});

test('equal states are equal texts, and parts that are the same are sorted once', () => {
  const part = { b: 1, a: [{ d: 1, c: 2 }] };
  const one = canonical({ z: part, y: null });
  expect(JSON.stringify(one)).toBe('{"y":null,"z":{"a":[{"c":2,"d":1}],"b":1}}');
  expect((canonical({ z: part }) as { z: unknown }).z).toBe((one as { z: unknown }).z);
  const strange = JSON.parse('{"b": 1, "__proto__": {"x": 1}}');
  expect(JSON.stringify(canonical(strange))).toBe('{"__proto__":{"x":1},"b":1}');
});

test("a camera takes this server's handoff links and nothing else", () => {
  vi.stubGlobal('location', { origin: 'https://sync.example.com' });
  const token = 'A'.repeat(43);
  expect(tokenOf(`https://sync.example.com/handoff#${token}`)).toBe(token);
  for (const other of [
    `https://evil.example.com/handoff#${token}`,
    `http://sync.example.com/handoff#${token}`,
    `https://sync.example.com/home#${token}`,
    'https://sync.example.com/handoff',
    'https://sync.example.com/handoff#',
    `javascript:alert(1)//handoff#${token}`,
    'no link',
  ]) {
    expect(tokenOf(other)).toBeUndefined();
  }
  vi.unstubAllGlobals();
});
