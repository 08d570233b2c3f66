// The product's mark: two points and the arc between them.

export function Mark() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect class="mark-ground" width="32" height="32" rx="8" />
      <path class="mark-arc" d="M7 20c0-7 4-11 9-11s9 4 9 11" />
      <circle class="mark-here" cx="7" cy="21" r="3.2" />
      <circle class="mark-there" cx="25" cy="21" r="3.2" />
    </svg>
  );
}
