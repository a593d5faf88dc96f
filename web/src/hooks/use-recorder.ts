/** Recording on the server: start, time, stop, download. */

import { useCallback, useEffect, useState } from "react";

import type { Api } from "../api";

export type RecorderPhase = "off" | "on" | "preparing";

export interface Recorder {
  phase: RecorderPhase;
  seconds: number;
  toggle(): void;
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function fileName(): string {
  return `visage-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.mp4`;
}

export function useRecorder(api: Api, sessionid: string | undefined, onSaved: () => void, onError: (error: unknown) => void): Recorder {
  const [recording, setRecording] = useState<{ phase: RecorderPhase; sessionid: string; sinceMs: number }>();
  const [nowMs, setNowMs] = useState(0);
  // A recording ends with its session.
  const phase = recording && recording.sessionid === sessionid ? recording.phase : "off";

  useEffect(() => {
    if (phase !== "on") return;
    const timer = setInterval(() => setNowMs(Date.now()), 500);
    return () => clearInterval(timer);
  }, [phase]);

  const toggle = useCallback(async () => {
    if (sessionid === undefined) return;
    try {
      if (phase === "off") {
        await api.record(sessionid, "start_record");
        setRecording({ phase: "on", sessionid, sinceMs: Date.now() });
        return;
      }
      setRecording({ phase: "preparing", sessionid, sinceMs: 0 });
      await api.record(sessionid, "end_record");
      download(await api.recording(sessionid), fileName());
      onSaved();
    } catch (error) {
      onError(error);
    }
    setRecording(undefined);
  }, [api, sessionid, phase, onSaved, onError]);
  const seconds = Math.max(0, Math.floor((nowMs - (recording?.sinceMs ?? nowMs)) / 1_000));
  return { phase, seconds, toggle: () => void toggle() };
}
