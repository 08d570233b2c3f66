// A field that searches a while after the last key.
import { useEffect, useId, useState } from 'preact/hooks';

interface Props {
  readonly label: string;
  readonly hint: string;
  readonly onSearch: (text: string) => void;
}

const PAUSE_MS = 200;

export function Search({ label, hint, onSearch }: Props) {
  const [text, setText] = useState('');
  const id = useId();
  useEffect(() => {
    const timer = setTimeout(() => onSearch(text.trim()), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text, onSearch]);
  return (
    <div class="search">
      <label class="visually-hidden" for={id}>
        {label}
      </label>
      <input
        id={id}
        class="input"
        type="search"
        placeholder={hint}
        value={text}
        onInput={event => setText(event.currentTarget.value)}
      />
    </div>
  );
}
