/** Why there is no picture, and what helps. */

import { type SubmitEvent, useEffect, useState } from "react";

import type { Words } from "../i18n";
import type { LinkState } from "../link-state";

interface Props {
  link: LinkState;
  words: Words;
  onRetry(): void;
  onKey(key: string): void;
}

/** A reconnection that works at once should not shout: the picture stands still and the pill says so. */
const QUIET_FAILURES = 1;

export function Trouble({ link, words, onRetry, onKey }: Props) {
  const { trouble, phase } = link;
  if (trouble === undefined || phase === "live") return null;
  if (link.met && link.failures <= QUIET_FAILURES && phase !== "failed") return null;
  const { title, remedy } = words.trouble[trouble];
  const repeats = link.detail !== undefined && trouble !== "key";
  return (
    <div className="trouble-cover">
      <section className="trouble" role="alert" data-testid="trouble" data-trouble={trouble}>
        <h2>{title}</h2>
        <p>{remedy}</p>
        {repeats && (
          <p className="trouble-detail">
            {words.serverSays} <span lang="en">{link.detail}</span>
          </p>
        )}
        {trouble === "key" ? <KeyForm words={words} onKey={onKey} /> : <Retry link={link} words={words} onRetry={onRetry} />}
      </section>
    </div>
  );
}

function Retry({ link, words, onRetry }: Omit<Props, "onKey">) {
  const left = useSecondsUntil(link.retryAtMs);
  const waiting = link.phase === "waiting";
  return (
    <div className="trouble-actions">
      <button type="button" className="button" onClick={onRetry} disabled={link.phase === "connecting"}>
        {link.phase === "connecting" ? words.connecting : waiting ? words.tryNow : words.tryAgain}
      </button>
      {waiting && left > 0 && (
        <span className="trouble-countdown" aria-live="off">
          {words.nextTry(left)}
        </span>
      )}
    </div>
  );
}

function KeyForm({ words, onKey }: Pick<Props, "words" | "onKey">) {
  const [key, setKey] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (key.trim() !== "") onKey(key.trim());
  };
  return (
    <form className="trouble-actions" onSubmit={submit}>
      <input
        className="field"
        type="password"
        autoComplete="current-password"
        aria-label={words.apiKey}
        placeholder={words.apiKey}
        value={key}
        onChange={(event) => setKey(event.target.value)}
      />
      <button type="submit" className="button" disabled={key.trim() === ""}>
        {words.useKey}
      </button>
    </form>
  );
}

function useSecondsUntil(atMs: number | undefined): number {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    if (atMs === undefined) return;
    const read = () => setLeft(Math.max(0, Math.ceil((atMs - Date.now()) / 1_000)));
    read();
    const timer = setInterval(read, 500);
    return () => clearInterval(timer);
  }, [atMs]);
  return left;
}
