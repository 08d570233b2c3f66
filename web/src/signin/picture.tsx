// What the product does, drawn: one list on two screens, and a change on its way. An ornament; nobody needs to see it.

export function Picture() {
  return (
    <div class="picture" aria-hidden="true">
      <div class="screen laptop">
        <i class="line done w-7" />
        <i class="line w-5" />
        <i class="line w-8 typed" />
        <i class="line w-4" />
        <i class="line w-6" />
      </div>
      <svg class="arc" viewBox="0 0 200 90" fill="none" aria-hidden="true">
        <path d="M8 82C8 30 60 8 100 8s92 22 92 74" />
        <circle class="spark" r="5" />
      </svg>
      <div class="screen phone">
        <i class="line done w-8" />
        <i class="line w-6" />
        <i class="line w-9 arrived" />
        <i class="line w-5" />
      </div>
      <p class="picture-words">
        Write here. Read there.
        <br />
        Nothing lost in between.
      </p>
    </div>
  );
}
