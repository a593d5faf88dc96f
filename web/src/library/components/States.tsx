/** What stands where data is to be: on its way, failed, or not there. */

import type { ReactNode } from "react";

import { Icon, type IconName } from "../../components/Icon";
import { sentence, useLibrary } from "../context";

export function Failure({ error, onRetry }: { error: unknown; onRetry(): void }) {
  const { words } = useLibrary();
  return (
    <div className="blank" role="alert" data-testid="failure">
      <h2>{words.trouble.failed}</h2>
      <p>{sentence(error, words)}</p>
      <button type="button" className="button" onClick={onRetry}>
        {words.trouble.again}
      </button>
    </div>
  );
}

interface BlankProps {
  icon: IconName;
  title: string;
  text: string;
  /** It is all that the page shows. */
  whole?: boolean;
  children?: ReactNode;
}

export function Blank({ icon, title, text, whole = false, children }: BlankProps) {
  const Heading = whole ? "h1" : "h2";
  return (
    <div className="blank" data-testid="blank">
      <span className="blank-icon">
        <Icon name={icon} />
      </span>
      <Heading>{title}</Heading>
      <p>{text}</p>
      {children !== undefined && <div className="blank-actions">{children}</div>}
    </div>
  );
}

/** Grey shapes of what is on its way; a screen reader hears one word. */
export function Skeletons({ number, className }: { number: number; className: string }) {
  const { words } = useLibrary();
  return (
    <>
      <p role="status" className="visually-hidden">
        {words.loading}
      </p>
      {Array.from({ length: number }, (_, k) => (
        <div key={k} className={`skeleton ${className}`} aria-hidden="true" />
      ))}
    </>
  );
}

interface MoreProps {
  query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage(): Promise<unknown> };
  shown: number;
  total: number;
}

/** Asks for the next page, where there is one. */
export function More({ query, shown, total }: MoreProps) {
  const { words } = useLibrary();
  if (!query.hasNextPage) return null;
  return (
    <div className="more">
      <button type="button" className="small-button" disabled={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
        {query.isFetchingNextPage ? words.loading : words.more}
      </button>
      <span className="faint">{words.shown(shown, total)}</span>
    </div>
  );
}
