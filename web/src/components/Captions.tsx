import type { Caption } from "../speech";

/** What is being said, as it is heard: yours while you speak, else hers. Screen readers get it from the conversation, not
 * word by word from here. */
export function Captions({ caption, yours }: { caption: Caption; yours: string }) {
  if (yours !== "")
    return (
      <p className="caption yours" aria-hidden="true" data-testid="your-caption">
        <span>{yours}</span>
      </p>
    );
  if (caption.clause === "") return null;
  const { clause, spoken, speaking } = caption;
  return (
    <p className="caption" data-speaking={speaking} data-follows={spoken > 0} aria-hidden="true" data-testid="caption">
      <span>
        <mark>{clause.slice(0, spoken)}</mark>
        {clause.slice(spoken)}
      </span>
    </p>
  );
}
