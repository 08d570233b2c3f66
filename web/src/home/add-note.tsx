// Where a note begins.
import { useRef } from 'preact/hooks';

export function AddNote({ onAdd }: { onAdd: (text: string) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const text = input.current?.value.trim() ?? '';
    if (input.current === null || text === '') return;
    onAdd(text);
    input.current.value = '';
  };
  return (
    <form class="add" method="post" onSubmit={submit}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d="M8 2.5v11M2.5 8h11" />
      </svg>
      <input
        ref={input}
        aria-label="New note"
        placeholder="Add a note"
        data-testid="new-note"
        maxLength={10_000}
        autocomplete="off"
        enterkeyhint="done"
      />
      <button class="button small add-button" type="submit" data-testid="add-note">
        Add
      </button>
    </form>
  );
}
