/** The recording a voice is to be made of: chosen, dropped or recorded, read, checked, and cut to what is used. */

import { useCallback, useRef, useState } from "react";

import { cutOut, decoded, fileFault, type FileFault, lengthFault, type Part, within } from "./recording";
import type { VoiceOptions } from "./shapes";

export interface Chosen {
  file: File;
  /** Undefined where this browser cannot read it. */
  sound: AudioBuffer | undefined;
  /** Of a recording that is too long. */
  part: Part | undefined;
}

export interface Recording {
  chosen: Chosen | undefined;
  /** Name of a file that is being read. */
  reading: string;
  /** What is wrong with the last one that was chosen; a recording that is too long is cut instead. */
  fault: FileFault | undefined;
  choose(file: File): void;
  setPart(part: Part): void;
  clear(): void;
  /** What is to be uploaded. */
  result(): File | undefined;
}

export function useRecording(options: VoiceOptions): Recording {
  const [chosen, setChosen] = useState<Chosen>();
  const [reading, setReading] = useState("");
  const [fault, setFault] = useState<FileFault>();
  const latest = useRef<File>(undefined);

  const choose = useCallback(
    async (file: File) => {
      latest.current = file;
      const wrong = fileFault(file, options.mib_max);
      setFault(wrong);
      setChosen(undefined);
      if (wrong !== undefined) return;
      setReading(file.name);
      const sound = await decoded(file);
      if (latest.current !== file) return; // another was chosen meanwhile
      setReading("");
      const length = sound === undefined ? undefined : lengthFault(sound.duration, options);
      if (length === "tooShort") {
        setFault("tooShort");
        return;
      }
      setChosen({ file, sound, part: sound && length === "tooLong" ? within({ from: 0, length: options.seconds_max }, sound.duration, options) : undefined });
    },
    [options],
  );
  const setPart = useCallback((part: Part) => setChosen((before) => before && { ...before, part }), []);
  const clear = useCallback(() => {
    latest.current = undefined;
    setChosen(undefined);
    setReading("");
    setFault(undefined);
  }, []);
  const result = () => {
    if (chosen === undefined) return undefined;
    const { file, sound, part } = chosen;
    return sound && part ? cutOut(sound, part, file.name) : file;
  };
  return { chosen, reading, fault, choose: (file) => void choose(file), setPart, clear, result };
}
