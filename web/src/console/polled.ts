// Asking the server again and again while somebody looks: one question at a time, the next a while after the answer.
import { useEffect, useState } from 'preact/hooks';

/** What came last, and what is wrong, if something is. */
export interface Polled<Answer> {
  readonly answer: Answer | undefined;
  readonly error: string | undefined;
}

/** `ask` must be the same function for as long as it asks the same. */
export function usePolled<Answer>(
  ask: (signal: AbortSignal) => Promise<Answer>,
  everyMs: number,
): Polled<Answer> {
  const [polled, setPolled] = useState<Polled<Answer>>({ answer: undefined, error: undefined });
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const again = async () => {
      try {
        const answer = await ask(stop.signal);
        if (!stop.signal.aborted) setPolled({ answer, error: undefined });
      } catch (error) {
        if (stop.signal.aborted) return;
        setPolled(({ answer }) => ({
          answer,
          error: error instanceof Error ? error.message : String(error),
        }));
      }
      timer = setTimeout(again, everyMs);
    };
    void again();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [ask, everyMs]);
  return polled;
}
