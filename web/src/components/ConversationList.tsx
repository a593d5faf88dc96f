import { useEffect, useRef } from "react";

import { type Conversation, type Line, wording } from "../conversation";
import type { Words } from "../i18n";
import { Icon } from "./Icon";

interface Props {
  conversation: Conversation;
  /** The presenter's name. */
  speaker: string;
  /** Read new lines aloud to screen readers; not while the presenter herself can be heard. */
  announce: boolean;
  canSend: boolean;
  onSample(text: string): void;
  words: Words;
}

export function ConversationList({ conversation, speaker, announce, canSend, onSample, words }: Props) {
  const end = useRef<HTMLDivElement>(null);
  const { lines } = conversation;
  const last = lines.at(-1);
  useEffect(() => {
    if (last) end.current?.scrollTo({ top: end.current.scrollHeight });
  }, [last]);
  return (
    <section className="conversation" aria-label={words.conversation}>
      <h2>{words.conversation}</h2>
      {/* A scroll area has to be reachable by keyboard. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div className="lines" ref={end} role="log" aria-live={announce ? "polite" : "off"} aria-label={words.conversation} tabIndex={0}>
        {lines.length === 0 ? (
          <Empty canSend={canSend} onSample={onSample} words={words} />
        ) : (
          lines.map((line) => <LineRow key={line.id} line={line} speaker={speaker} words={words} />)
        )}
      </div>
    </section>
  );
}

function LineRow({ line, speaker, words }: { line: Line; speaker: string; words: Words }) {
  const note = { waiting: words.waitingLine, speaking: words.speakingLine, stopped: words.stoppedLine, said: "" }[line.state];
  const text = wording(line);
  return (
    <div className="line" data-who={line.who} data-state={line.state} data-testid="line">
      <span className="line-who">
        {line.who === "you" ? words.you : speaker}
        {note !== "" && <span className="line-note"> · {note}</span>}
      </span>
      <p className="line-text" lang={line.language}>
        {line.kind === "audio" && <Icon name="upload" />}
        {line.kind === "voice" && <Icon name="microphone" />}
        {text === "" ? <span className="faint">{line.state === "waiting" ? words.thinking : "…"}</span> : text}
      </p>
    </div>
  );
}

function Empty({ canSend, onSample, words }: Pick<Props, "canSend" | "onSample" | "words">) {
  return (
    <div className="empty">
      <h3>{words.emptyTitle}</h3>
      <p>{words.emptyText}</p>
      <ul>
        {words.samples.map((sample) => (
          <li key={sample}>
            <button type="button" className="sample" disabled={!canSend} onClick={() => onSample(sample)}>
              {sample}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
