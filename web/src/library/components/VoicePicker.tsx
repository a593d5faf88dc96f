/** A voice chosen by search, from the library and from what comes with the server. */

import { type KeyboardEvent, useEffect, useId, useRef, useState } from "react";

import { Icon } from "../../components/Icon";
import { useLibrary } from "../context";
import { languageName } from "../format";
import { useVoices } from "../queries";
import type { VoiceCard, VoiceQuery } from "../shapes";
import { trackOf } from "../tracks";
import { useSettled } from "../use-settled";
import { KindBadge } from "./Badges";
import { Orb } from "./Orb";
import { PlayButton } from "./PlayButton";
import { nameOf } from "./VoiceTile";

interface Props {
  chosen: VoiceCard | undefined;
  onChoose(voice: VoiceCard): void;
}

const ANY: VoiceQuery = { scope: "all", q: "", language: "", gender: "", sort: "popular" };

export function VoicePicker({ chosen, onChoose }: Props) {
  const { api, words, language } = useLibrary();
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  const close = () => {
    setOpen(false);
    opener.current?.focus();
  };
  const track = chosen && trackOf(chosen, api, words);
  return (
    <div className="picker" ref={root}>
      <div className="picker-chosen">
        <button ref={opener} type="button" className="picker-button" aria-haspopup="listbox" aria-expanded={open} onClick={() => setOpen(!open)} data-testid="picker">
          {chosen ? <Orb id={chosen.voiceId} size="tiny" /> : <Icon name="people" />}
          <span className="picker-name">{chosen ? nameOf(chosen) : words.generate.choose}</span>
          {chosen && <span className="faint picker-facts">{chosen.languages.slice(0, 2).map((tag) => languageName(tag, language)).join(" · ")}</span>}
          <Icon name="chevron" />
        </button>
        {chosen && track && <PlayButton track={track} name={nameOf(chosen)} className="play-flat" />}
      </div>
      {open && <PickerList chosen={chosen} onClose={close} onChoose={(voice) => { onChoose(voice); close(); }} />}
    </div>
  );
}

/** After the combobox pattern of the ARIA practices: the input keeps the focus, arrows move through the list. */
function PickerList({ chosen, onClose, onChoose }: Props & { onClose(): void }) {
  const { words, language } = useLibrary();
  const id = useId();
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const q = useSettled(typed);
  const own = useVoices({ ...ANY, q });
  const builtin = useVoices({ ...ANY, q, scope: "builtin" });
  const voices = [own, builtin].flatMap(({ data }) => data?.pages.flatMap((page) => page.voices) ?? []);
  const current = Math.min(at, voices.length - 1);
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }, [current]);
  const onKey = (event: KeyboardEvent) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const voice = voices[current];
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Escape") onClose();
    else if (move !== undefined) setAt(Math.min(Math.max(current + move, 0), voices.length - 1));
    else if (event.key === "Enter" && voice) onChoose(voice);
    else return;
    event.preventDefault();
  };
  const option = (k: number) => `${id}-${k}`;
  return (
    <div className="picker-list">
      <div className="search-box">
        <Icon name="search" />
        <input
          className="field"
          role="combobox"
          aria-label={words.generate.search}
          aria-expanded="true"
          aria-controls={`${id}-list`}
          aria-activedescendant={voices.length > 0 ? option(current) : undefined}
          placeholder={words.generate.search}
          autoComplete="off"
          ref={(input) => input?.focus()}
          value={typed}
          onChange={(event) => {
            setTyped(event.target.value);
            setAt(0);
          }}
          onKeyDown={onKey}
        />
      </div>
      <div role="listbox" className="picker-options" id={`${id}-list`} ref={list} aria-label={words.generate.voice}>
        {voices.map((voice, k) => (
          // The keys are the input's: the list itself is never focused.
          // oxlint-disable-next-line jsx-a11y/click-events-have-key-events
          <div key={voice.voiceId} id={option(k)} role="option" tabIndex={-1} aria-selected={k === current} data-chosen={voice.voiceId === chosen?.voiceId} onClick={() => onChoose(voice)}>
            <Orb id={voice.voiceId} size="tiny" />
            <span className="picker-name">{nameOf(voice)}</span>
            <span className="faint picker-facts">{voice.languages.slice(0, 2).map((tag) => languageName(tag, language)).join(" · ")}</span>
            <KindBadge voice={voice} />
          </div>
        ))}
      </div>
      {voices.length === 0 && (
        <p role="status" className="faint picker-none">
          {own.isPending || builtin.isPending ? words.loading : words.generate.noVoice}
        </p>
      )}
    </div>
  );
}
