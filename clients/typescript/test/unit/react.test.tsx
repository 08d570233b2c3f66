// The hooks, with the example of the README, over a client whose server is a page of this test.

import { act, createElement } from 'react';
import { create } from 'react-test-renderer';
import { expect, test } from 'vitest';
import { Todo } from '../../examples/todo.jsx';
import type { Transport } from '../../src/api.ts';
import { connect } from '../../src/node.ts';

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

/** A link that never stands. */
const nowhere: Transport = {
  open: () => ({ streams: 1, buffered: 0, send() {}, close() {} }),
};

/** Lets what is conflated be told. */
const settle = () => act(() => new Promise<void>(resolve => setTimeout(resolve, 20)));

test('a component shows the state, changes it, and shows it again', async () => {
  const client = await connect({ url: 'http://localhost', device: 'phone', transport: nowhere });
  const session = client.create({ items: [{ id: 1, text: 'bread', done: false }] });
  const tree = await act(() => create(createElement(Todo, { client, session: session as never })));
  expect(JSON.stringify(tree.toJSON())).toContain('bread');
  await act(() => tree.root.findByType('input').props.onChange());
  expect(session.state?.items).toEqual([{ id: 1, text: 'bread', done: true }]);
  session.update(draft => void draft.items.push({ id: 2, text: 'milk', done: false }));
  session.update(draft => void draft.items.push({ id: 3, text: 'salt', done: false }));
  await settle();
  expect(tree.root.findAllByType('label').map(item => item.children[1])).toEqual(['bread', 'milk', 'salt']);
  await act(() => tree.unmount());
  session.update(draft => void draft.items.pop());
  await settle();
  await act(() => client.close());
});

test('without a state the connection is shown', async () => {
  const client = await connect({ url: 'http://localhost', device: 'phone', transport: nowhere });
  const tree = await act(() =>
    create(createElement(Todo, { client, session: client.session('todo') as never })),
  );
  expect(tree.toJSON()).toMatchObject({ type: 'p', children: ['connecting'] });
  await act(() => client.close());
});
