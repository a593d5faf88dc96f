import type { Workshop } from "../hooks/use-workshop";
import type { WorkshopWords } from "../i18n-workshop";
import { Icon } from "./Icon";

/** Opens the window; a ring shows how far one's own build is while that is closed. */
export function WorkshopButton({ workshop, words }: { workshop: Workshop; words: WorkshopWords }) {
  const { percent } = workshop;
  const label = percent === undefined ? words.open : words.progress(percent);
  return (
    <button
      type="button"
      className="workshop-button"
      aria-label={label}
      title={label}
      aria-haspopup="dialog"
      data-busy={percent !== undefined}
      style={{ "--done": `${percent ?? 0}%` }}
      onClick={() => workshop.setOpen(true)}
    >
      <Icon name="person" />
    </button>
  );
}
