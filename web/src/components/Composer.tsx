/** Where text and recordings go in. */

import {
  type ChangeEvent,
  type KeyboardEvent,
  type RefObject,
  type SyntheticEvent,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";

import type { Mode } from "../hooks/use-presenter";
import type { Upload } from "../hooks/use-upload";
import type { Voice } from "../hooks/use-voice";
import type { Language, Words } from "../i18n";
import { Icon } from "./Icon";
import { IconButton } from "./IconButton";
import { MicrophoneButton } from "./MicrophoneButton";
import { VoiceBar } from "./VoiceBar";

interface Props {
  mode: Mode;
  onMode(mode: Mode): void;
  live: boolean;
  /** Longest text, in Unicode characters. */
  characters: number;
  voice: Voice;
  language: Language;
  /** What keeps this mode from working; empty when nothing does. */
  hint: string;
  speaking: boolean;
  /** Resolves to whether the text was taken; it stays in the box when not. */
  onSend(text: string): Promise<boolean>;
  onStop(): void;
  upload: Upload;
  words: Words;
}

const WARN_CHARACTERS = 300;
const MAX_HEIGHT_PX = 160;

export function Composer(props: Props) {
  const { mode, live, characters, hint, onSend, upload, voice, words, language } = props;
  const [text, setText] = useState("");
  const box = useGrowingBox(text);
  const left = characters - [...text].length;
  const ready = live && text.trim() !== "" && left >= 0;
  const hints = useId();

  const send = async () => {
    if (!ready) return;
    setText("");
    if (!(await onSend(text.trim()))) setText((since) => since || text);
  };
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    void send();
  };
  return (
    <form className="composer" onSubmit={submit}>
      {hint !== "" && (
        <p className="hint" role="status">
          {hint}
        </p>
      )}
      <VoiceBar voice={voice} live={live} words={words.talk} language={language} />
      {upload.current && <UploadRow upload={upload} words={words} />}
      <textarea
        ref={box}
        rows={1}
        value={text}
        placeholder={mode === "chat" ? words.askPlaceholder : words.sayPlaceholder}
        aria-label={words.message}
        aria-describedby={hints}
        aria-invalid={left < 0}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => sends(event) && submit(event)}
      />
      <span className="visually-hidden" id={hints}>
        {words.sendHint}
      </span>
      <Buttons {...props} ready={ready} left={left} />
    </form>
  );
}

/** Enter sends; Shift + Enter breaks the line, and the Enter that ends a composition (229 in Safari) only does that. */
function sends(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing && event.keyCode !== 229;
}

/** A text box as high as its text, up to a limit. */
function useGrowingBox(text: string): RefObject<HTMLTextAreaElement | null> {
  const box = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    if (!box.current) return;
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight, MAX_HEIGHT_PX)}px`;
  }, [text]);
  return box;
}

function Buttons({ mode, onMode, live, speaking, onStop, upload, voice, words, ready, left }: Props & { ready: boolean; left: number }) {
  return (
    <div className="composer-row">
      <ModeSwitch mode={mode} onMode={onMode} words={words} />
      <UploadButton upload={upload} disabled={!live} words={words} />
      <span className="spacer" />
      {left <= WARN_CHARACTERS && (
        <span className="counter" data-over={left < 0} role="status">
          {words.charactersLeft(left)}
        </span>
      )}
      <MicrophoneButton voice={voice} live={live} words={words.talk} />
      <button type="button" className="stop" onClick={onStop} disabled={!live} data-active={speaking} title={words.stopHint} aria-label={words.stop}>
        <Icon name="stop" filled />
      </button>
      <button type="submit" className="send" disabled={!ready} title={words.sendHint} aria-label={words.send}>
        <Icon name="send" />
      </button>
    </div>
  );
}

function ModeSwitch({ mode, onMode, words }: Pick<Props, "mode" | "onMode" | "words">) {
  const name = useId();
  const options: [Mode, string, string][] = [
    ["echo", words.say, words.sayHint],
    ["chat", words.ask, words.askHint],
  ];
  return (
    <fieldset className="segmented">
      <legend className="visually-hidden">{words.mode}</legend>
      {options.map(([value, label, hint]) => (
        <label key={value} title={hint}>
          <input type="radio" name={name} value={value} checked={mode === value} onChange={() => onMode(value)} />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

function UploadButton({ upload, disabled, words }: { upload: Upload; disabled: boolean; words: Words }) {
  const input = useRef<HTMLInputElement>(null);
  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    const file = event.target.files?.[0];
    event.target.value = ""; // the same file can be chosen again
    if (file) upload.start(file);
  };
  return (
    <>
      <IconButton icon="upload" label={words.upload} disabled={disabled || upload.current !== undefined} onClick={() => input.current?.click()} />
      <input ref={input} type="file" accept="audio/*" hidden onChange={choose} data-testid="file" />
    </>
  );
}

function UploadRow({ upload, words }: { upload: Upload; words: Words }) {
  if (!upload.current) return null;
  const { name, part } = upload.current;
  return (
    <div className="upload">
      <span className="upload-name">{words.uploading(name)}</span>
      <progress value={part} max={1} aria-label={words.uploading(name)} />
      <IconButton icon="close" label={words.cancelUpload} onClick={upload.cancel} />
    </div>
  );
}
