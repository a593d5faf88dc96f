/** A voice on its way: its recording uploaded, its creation begun; the job that makes it is followed by its id. */

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { useLibrary } from "./context";
import { type Draft, wishOf } from "./draft";
import { useStale } from "./queries";
import type { Creation } from "./shapes";

export interface Order {
  recording: File;
  draft: Draft;
  /** Id of the statement that was agreed to. */
  statement: string;
}

export function useCreation(onBegun: (job: Creation) => void) {
  const { api } = useLibrary();
  const stale = useStale();
  const [sent, setSent] = useState(0);
  const begin = useMutation({
    mutationFn: async ({ recording, draft, statement }: Order) => {
      setSent(0);
      const file = await api.uploadRecording(recording, setSent);
      return api.create(wishOf(draft, file.fileId, statement));
    },
    onSuccess: (job) => {
      onBegun(job);
      stale.voices();
    },
  });
  return { begin, sent };
}
