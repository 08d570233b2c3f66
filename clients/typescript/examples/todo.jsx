// The example of the README; test/unit/react.test.tsx renders it.
import { usePresence, useSession, useStatus } from '@syncbridge/client/react';

export function Todo({ client, session }) {
  const { state, update } = useSession(session);
  const { devices } = usePresence(session);
  const { phase } = useStatus(client);
  if (!state) return <p>{phase}</p>;

  const check = id =>
    update(draft => {
      const item = draft.items.find(item => item.id === id);
      item.done = !item.done;
    });
  return (
    <>
      <p>{devices.map(({ device }) => device).join(', ')}</p>
      {state.items.map(({ id, text, done }) => (
        <label key={id}>
          <input type="checkbox" checked={done} onChange={() => check(id)} />
          {text}
        </label>
      ))}
    </>
  );
}
