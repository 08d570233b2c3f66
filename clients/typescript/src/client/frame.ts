// When listeners hear of a state that changes more often than anybody can look: once an animation frame where there is a
// screen, once a task elsewhere.

/** A hidden page has no frames: it hears this late, in milliseconds. */
const HIDDEN = 200;

/** Runs `task` soon, once for however many calls come until then. */
export function conflated(task: () => void): () => void {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    const { requestAnimationFrame, cancelAnimationFrame } = globalThis as Partial<typeof globalThis>;
    if (!requestAnimationFrame || !cancelAnimationFrame) {
      setTimeout(() => {
        isDue = false;
        task();
      }, 0);
      return;
    }
    const run = () => {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      isDue = false;
      task();
    };
    const timer = setTimeout(run, HIDDEN);
    const frame = requestAnimationFrame(run);
  };
}
