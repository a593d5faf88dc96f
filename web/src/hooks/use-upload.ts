/** A recording on its way to the server, chosen or dropped anywhere on the page. */

import { useCallback, useEffect, useRef, useState } from "react";

export interface Upload {
  /** `part` is 0..1. */
  current: { name: string; part: number } | undefined;
  /** True while a file is held over the page. */
  hovering: boolean;
  start(file: File): void;
  cancel(): void;
}

/** Why a file was not sent, with what the sentence about it needs. */
export interface Refusal {
  why: "notSound" | "tooLarge";
  name: string;
  limitMiB: number;
}

const MIB = 2 ** 20;

type Play = (file: File, onProgress: (part: number) => void, signal: AbortSignal) => Promise<void>;

/** A name or type that is plainly no sound is refused here; what is inside is for the server to judge. */
export function looksLikeSound(file: Pick<File, "name" | "type">): boolean {
  if (file.type.startsWith("audio/") || file.type.startsWith("video/") || file.type === "application/ogg") return true;
  return /\.(wav|mp3|m4a|aac|ogg|oga|opus|flac|webm|aiff?|amr|wma)$/i.test(file.name);
}

export function useUpload(play: Play, limitMiB: number, onRefused: (refusal: Refusal) => void): Upload {
  const [current, setCurrent] = useState<Upload["current"]>();
  const running = useRef<AbortController>(null);

  const start = useCallback(
    (file: File) => {
      if (running.current) return;
      const why = !looksLikeSound(file) ? "notSound" : file.size > limitMiB * MIB ? "tooLarge" : undefined;
      if (why) {
        onRefused({ why, name: file.name, limitMiB });
        return;
      }
      const control = new AbortController();
      running.current = control;
      setCurrent({ name: file.name, part: 0 });
      void play(file, (part) => setCurrent({ name: file.name, part }), control.signal).finally(() => {
        running.current = null;
        setCurrent(undefined);
      });
    },
    [play, limitMiB, onRefused],
  );
  const hovering = useDrop(start);
  const cancel = useCallback(() => running.current?.abort(), []);
  return { current, hovering, start, cancel };
}

function useDrop(onFile: (file: File) => void): boolean {
  const [hovering, setHovering] = useState(false);
  useEffect(() => {
    const holdsFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const over = (event: DragEvent) => {
      if (!holdsFile(event)) return;
      event.preventDefault();
      setHovering(true);
    };
    const leave = (event: DragEvent) => {
      if (event.relatedTarget === null) setHovering(false);
    };
    const drop = (event: DragEvent) => {
      if (!holdsFile(event)) return;
      event.preventDefault();
      setHovering(false);
      const file = event.dataTransfer?.files[0];
      if (file) onFile(file);
    };
    document.addEventListener("dragover", over);
    document.addEventListener("dragleave", leave);
    document.addEventListener("drop", drop);
    return () => {
      document.removeEventListener("dragover", over);
      document.removeEventListener("dragleave", leave);
      document.removeEventListener("drop", drop);
    };
  }, [onFile]);
  return hovering;
}
