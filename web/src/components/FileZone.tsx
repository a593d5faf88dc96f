/** Where a clip or photo is chosen or dropped, with a look at the one that was. */

import { type ChangeEvent, useCallback, useRef, useState } from "react";

import type { WorkshopWords } from "../i18n-workshop";
import { Icon } from "./Icon";

interface Props {
  file: File | undefined;
  limitMiB: number;
  hovering: boolean;
  disabled: boolean;
  onFile(file: File): void;
  words: WorkshopWords;
}

const MIB = 2 ** 20;

export function FileZone({ file, limitMiB, hovering, disabled, onFile, words }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    const chosen = event.target.files?.[0];
    event.target.value = ""; // the same file can be chosen again
    if (chosen) onFile(chosen);
  };
  return (
    <div className="zone" data-hovering={hovering}>
      {file ? <Look key={`${file.name} ${file.lastModified}`} file={file} /> : <Icon name="clip" />}
      <div className="zone-text">
        {file && (
          <p className="zone-file" title={file.name}>
            <span>{file.name}</span> <span className="faint">{size(file.size)}</span>
          </p>
        )}
        <button type="button" className="zone-button" disabled={disabled} onClick={() => input.current?.click()}>
          {file ? words.another : words.choose}
        </button>
        <span className="zone-drop">{hovering ? words.dropNow : words.drop}</span>
        {!file && <p className="faint">{words.kinds(limitMiB)}</p>}
      </div>
      <input ref={input} type="file" accept="video/*,image/*" hidden onChange={choose} data-testid="clip" />
    </div>
  );
}

/** The first picture of the file, where this browser can read it. */
function Look({ file }: { file: File }) {
  const [readable, setReadable] = useState(true);
  const show = useCallback(
    (look: HTMLImageElement | HTMLVideoElement | null) => {
      const address = URL.createObjectURL(file);
      if (look) look.src = address;
      return () => URL.revokeObjectURL(address);
    },
    [file],
  );
  if (!readable) return <Icon name="clip" />;
  const onError = () => setReadable(false);
  return file.type.startsWith("image/") ? (
    <img className="zone-look" ref={show} alt="" onError={onError} />
  ) : (
    <video className="zone-look" ref={show} muted playsInline preload="auto" aria-hidden="true" onError={onError} />
  );
}

function size(bytes: number): string {
  return bytes < MIB ? `${Math.ceil(bytes / 1_024)} KiB` : `${(bytes / MIB).toFixed(1)} MiB`;
}
