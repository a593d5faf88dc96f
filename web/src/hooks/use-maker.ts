/** What is to become a presenter, on its way to the server. */

import { useReducer, useRef, useState } from "react";

import { type Api, ApiError } from "../api";
import { type Draft, type FileFault, fileFault, idFault, NO_DRAFT, reduceDraft } from "../draft";

/** What came of the last try. */
export type Outcome =
  | { kind: "file"; fault: FileFault; name: string }
  | { kind: "refused"; said: string; status: number }
  | { kind: "away" }
  | { kind: "cancelled" }
  | { kind: "queued" };

export interface Source {
  file: File;
  name: string;
  id: string;
}

export interface Maker {
  draft: Draft;
  /** 0..1 of the upload; 1 while the server looks at it. */
  sending: number | undefined;
  outcome: Outcome | undefined;
  choose(file: File): void;
  setName(name: string): void;
  setId(id: string): void;
  submit(): void;
  /** Sends what was sent before; `after` runs once it is taken. */
  again(source: Source, after: () => void): void;
  cancel(): void;
}

export function useMaker(api: Api, limitMiB: number, taken: ReadonlySet<string>, onQueued: (id: string, source: Source) => void): Maker {
  const [draft, tell] = useReducer(reduceDraft, NO_DRAFT);
  const [sending, setSending] = useState<number>();
  const [outcome, setOutcome] = useState<Outcome>();
  const running = useRef<AbortController>(null);

  const send = async (source: Source, after?: () => void) => {
    if (running.current) return;
    const control = new AbortController();
    running.current = control;
    setOutcome(undefined);
    setSending(0);
    try {
      const id = await api.buildAvatar(source.file, source.id, source.name, setSending, control.signal);
      tell({ type: "queued" });
      setOutcome({ kind: "queued" });
      onQueued(id, source);
      after?.();
    } catch (error) {
      setOutcome(control.signal.aborted ? { kind: "cancelled" } : outcomeOf(error));
    }
    running.current = null;
    setSending(undefined);
  };
  const choose = (file: File) => {
    if (running.current) return;
    const fault = fileFault(file, limitMiB);
    setOutcome(fault && { kind: "file", fault, name: file.name });
    if (!fault) tell({ type: "file", file, taken });
  };
  const submit = () => {
    const { file, id, name } = draft;
    if (file && idFault(id, taken) === undefined) void send({ file, id, name: name.trim() });
  };
  const again = (source: Source, after: () => void) => {
    if (running.current) return;
    tell({ type: "again", ...source });
    void send(source, after);
  };
  return {
    draft,
    sending,
    outcome,
    choose,
    setName: (name) => tell({ type: "name", name, taken }),
    setId: (id) => tell({ type: "id", id }),
    submit,
    again,
    cancel: () => running.current?.abort(),
  };
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof ApiError && error.status !== 0) return { kind: "refused", said: error.message, status: error.status };
  return { kind: "away" };
}
