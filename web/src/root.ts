// The element that a page is drawn into.

/** It. The pages have one; without, there is nothing to do. */
export function root(): HTMLElement {
  const element = document.getElementById('app');
  if (element === null) throw new Error('the page has no #app');
  return element;
}
