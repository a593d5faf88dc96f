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
  const [phase, setPhase] = useState<RecorderPhase>("off");
  const [seconds, setSeconds] = useState(0);

  useEffect(() => setPhase("off"), [sessionid]);
  useEffect(() => {
    if (phase !== "on") return;
    setSeconds(0);
    const timer = setInterval(() => setSeconds((s) => s + 1), 1_000);
    return () => clearInterval(timer);
  }, [phase]);

  const toggle = useCallback(async () => {
    if (sessionid === undefined) return;
    try {
      if (phase === "off") {
        await api.record(sessionid, "start_record");
        setPhase("on");
        return;
      }
      setPhase("preparing");
      await api.record(sessionid, "end_record");
      download(await api.recording(sessionid), fileName());
      onSaved();
    } catch (error) {
      onError(error);
    }
    setPhase("off");
  }, [api, sessionid, phase, onSaved, onError]);
  return { phase, seconds, toggle: () => void toggle() };
}
