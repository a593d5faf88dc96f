/** One line of what went wrong or went well, above the text box. */

import { useEffect } from "react";

import type { Words } from "../i18n";
import { IconButton } from "./IconButton";

interface Props {
  problem: string;
  notice: string;
  onProblem(problem: string): void;
  onNotice(notice: string): void;
  words: Words;
}

const NOTICE_MS = 6_000;

export function Messages({ problem, notice, onProblem, onNotice, words }: Props) {
  useEffect(() => {
    if (notice === "") return;
    const timer = setTimeout(() => onNotice(""), NOTICE_MS);
    return () => clearTimeout(timer);
  }, [notice, onNotice]);
  return (
    <div className="messages">
      <div role="alert">
        {problem !== "" && (
          <p className="message" data-tone="bad" data-testid="problem">
            <span>{problem}</span>
            <IconButton icon="close" label={words.dismiss} onClick={() => onProblem("")} />
          </p>
        )}
      </div>
      <div role="status">
        {notice !== "" && (
          <p className="message" data-tone="good">
            <span>{notice}</span>
          </p>
        )}
      </div>
    </div>
  );
}
