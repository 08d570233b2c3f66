import { describe, expect, test } from 'vitest';
import type { Json, Patch } from '../../src/api.ts';
import { apply } from '../../src/document/apply.ts';
import { record } from '../../src/document/draft.ts';
import { freeze } from '../../src/document/value.ts';

// biome-ignore lint/suspicious/noExplicitAny: recipes do what people do.
type Any = any;

/** What a recipe records; and that it comes to what the recipe made of a plain copy. */
function recorded(document: Json, recipe: (draft: Any) => void): Patch {
  const frozen = freeze(document);
  const patch = record(frozen, recipe as (draft: never) => void);
  const plain = structuredClone(document);
  recipe(plain);
  expect(apply(frozen, patch, false).document).toEqual(plain);
  return patch;
}

describe('objects', () => {
  test('a member set is replaced or added; the same again is nothing', () => {
    expect(
      recorded({ a: 1 }, d => {
        d.a = 2;
      }),
    ).toEqual([{ op: 'replace', path: '/a', value: 2 }]);
    expect(
      recorded({}, d => {
        d.a = { b: [1] };
      }),
    ).toEqual([{ op: 'add', path: '/a', value: { b: [1] } }]);
    expect(
      recorded({ a: { b: 1 } }, d => {
        d.a = { b: 1 };
        d.a.b = 1;
      }),
    ).toEqual([]);
  });

  test('a member set several times in a row is set once', () => {
    expect(
      recorded({ a: 1 }, d => {
        d.a = 2;
        d.a++;
        d.a += 5;
      }),
    ).toEqual([{ op: 'replace', path: '/a', value: 8 }]);
  });

  test('a member deleted, or set to undefined, is removed', () => {
    expect(
      recorded({ a: 1, b: 2 }, d => {
        delete d.a;
        delete d.c;
      }),
    ).toEqual([{ op: 'remove', path: '/a' }]);
    expect(
      record(
        { a: 1 } as Json,
        ((d: Any) => {
          d.a = undefined;
          d.b = undefined;
        }) as never,
      ),
    ).toEqual([{ op: 'remove', path: '/a' }]);
  });

  test('names are escaped', () => {
    expect(
      recorded({ 'a/b': {} }, d => {
        d['a/b']['m~n'] = 1;
      }),
    ).toEqual([{ op: 'add', path: '/a~1b/m~0n', value: 1 }]);
  });

  test('what was just set can be changed further', () => {
    const patch = recorded({}, d => {
      d.list = [];
      d.list.push({ n: 1 });
      d.list[0].n = 2;
    });
    expect(patch).toHaveLength(3);
  });
});

describe('arrays', () => {
  test('push appends, so that it never conflicts', () => {
    expect(
      recorded([1], d => {
        d.push(2, 3);
      }),
    ).toEqual([
      { op: 'add', path: '/-', value: 2 },
      { op: 'add', path: '/-', value: 3 },
    ]);
  });

  test.each<[string, (d: Any) => void]>([
    [
      'pop',
      d => {
        d.pop();
      },
    ],
    [
      'shift',
      d => {
        d.shift();
      },
    ],
    [
      'unshift',
      d => {
        d.unshift(8, 9);
      },
    ],
    [
      'splice that removes',
      d => {
        d.splice(1, 2);
      },
    ],
    [
      'splice that inserts',
      d => {
        d.splice(1, 0, 'x', 'y');
      },
    ],
    [
      'splice that exchanges',
      d => {
        d.splice(1, 1, 'x');
      },
    ],
    [
      'splice that grows',
      d => {
        d.splice(2, 1, 'x', 'y', 'z');
      },
    ],
    [
      'splice that shrinks',
      d => {
        d.splice(1, 3, 'x');
      },
    ],
    [
      'splice from behind',
      d => {
        d.splice(-2, 1);
      },
    ],
    [
      'splice without a count',
      d => {
        d.splice(2);
      },
    ],
    [
      'an index',
      d => {
        d[1] = 'x';
      },
    ],
    [
      'the index after the last',
      d => {
        d[4] = 'x';
      },
    ],
    [
      'a shorter length',
      d => {
        d.length = 2;
      },
    ],
    [
      'length 0',
      d => {
        d.length = 0;
      },
    ],
    [
      'sort',
      d => {
        d.sort((a: number, b: number) => b - a);
      },
    ],
    [
      'reverse',
      d => {
        d.reverse();
      },
    ],
    [
      'fill',
      d => {
        d.fill(0, 1, 3);
      },
    ],
    [
      'copyWithin',
      d => {
        d.copyWithin(0, 2);
      },
    ],
    [
      'several, one after the other',
      d => {
        d.push(5);
        d.shift();
        d[0] = 'x';
        d.splice(1, 1);
        d.unshift('y');
      },
    ],
  ])('%s comes to what it would', (_, recipe) => {
    recorded([1, 2, 3, 4], recipe);
  });

  test('methods that read work as ever, on drafts', () => {
    recorded([{ n: 1 }, { n: 2 }], d => {
      const second = d.find((item: { n: number }) => item.n === 2);
      second.n = 3;
      for (const item of d) item.seen = true;
      expect(d.map((item: { n: number }) => item.n)).toEqual([1, 3]);
      expect(d.indexOf(second)).toBe(1);
      expect(Array.isArray(d)).toBe(true);
      expect(JSON.stringify(d)).toBe('[{"n":1,"seen":true},{"n":3,"seen":true}]');
      expect([...d]).toHaveLength(2);
    });
  });

  test('an item that others moved is changed where it is now', () => {
    expect(
      recorded([{ n: 1 }, { n: 2 }], d => {
        const last = d[1];
        d.shift();
        last.n = 5;
      }),
    ).toEqual([
      { op: 'remove', path: '/0' },
      { op: 'replace', path: '/0/n', value: 5 },
    ]);
  });

  test('what was taken out changes nothing any more, and can be put back', () => {
    const patch = record(
      freeze([{ n: 1 }, { n: 2 }]) as Json,
      ((d: Any) => {
        const first = d.shift();
        first.n = 9;
        d.push(first);
      }) as never,
    );
    expect(patch).toEqual([
      { op: 'remove', path: '/0' },
      { op: 'add', path: '/-', value: { n: 9 } },
    ]);
  });

  test('holes and names are refused', () => {
    for (const recipe of [
      (d: Any) => {
        d[7] = 1;
      },
      (d: Any) => {
        d.name = 1;
      },
      (d: Any) => {
        delete d[0];
      },
      (d: Any) => {
        d.length = 9;
      },
    ]) {
      expect(() => record(freeze([1]) as Json, recipe as never)).toThrow(TypeError);
    }
  });
});

describe('safety', () => {
  test('the document is never touched, and a recipe that throws does nothing', () => {
    const document = freeze({ a: { b: [1] } });
    expect(() =>
      record(document, ((d: Any) => {
        d.a.b.push(2);
        throw new Error('no');
      }) as never),
    ).toThrow('no');
    expect(document).toEqual({ a: { b: [1] } });
  });

  test('nobody gets at a prototype by a name out of the document', () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const patch = record(
        freeze({}) as Json,
        ((d: Any) => {
          expect(d[name]).toBeUndefined();
          expect(name in d).toBe(false);
          d[name] = { polluted: true };
          d[name].polluted = 'yes';
        }) as never,
      );
      expect(patch.map(({ path }) => path)).toContain(`/${name}`);
      expect(JSON.stringify(apply({}, patch, false).document)).toBe(`{"${name}":{"polluted":"yes"}}`);
    }
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect(() =>
      record(
        freeze([]) as Json,
        ((d: Any) => {
          d.constructor.x = 1;
        }) as never,
      ),
    ).toThrow(TypeError);
  });

  test('what JSON cannot say is refused', () => {
    for (const value of [Number.NaN, 1n, () => 1, Symbol('x')]) {
      expect(() =>
        record(
          {} as Json,
          ((d: Any) => {
            d.a = value;
          }) as never,
        ),
      ).toThrow(TypeError);
    }
    const circle: Any = {};
    circle.self = circle;
    expect(() =>
      record(
        {} as Json,
        ((d: Any) => {
          d.a = circle;
        }) as never,
      ),
    ).toThrow(TypeError);
  });

  test('what has a JSON form has it, and what was given is copied', () => {
    const given = { at: new Date(0), none: undefined, list: [1] };
    const patch = record(
      {} as Json,
      ((d: Any) => {
        d.a = given;
        given.list.push(2);
      }) as never,
    );
    expect(patch).toEqual([{ op: 'add', path: '/a', value: { at: '1970-01-01T00:00:00.000Z', list: [1] } }]);
  });

  test('a draft is of no use once its recipe has returned, and a recipe cannot be async', () => {
    let leaked: Any;
    record(
      {} as Json,
      ((d: Any) => {
        leaked = d;
      }) as never,
    );
    expect(() => {
      leaked.a = 1;
    }).toThrow(TypeError);
    expect(() => record({} as Json, (async () => {}) as never)).toThrow(TypeError);
  });
});
