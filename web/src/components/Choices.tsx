/** Which presenter, and which voice. */

import { type ReactNode, useId } from "react";

import type { Avatar, Voice } from "../api";
import type { Language, Words } from "../i18n";
import { groupVoices } from "../voices";
import { Icon } from "./Icon";

interface Props {
  avatars: readonly Avatar[];
  voices: readonly Voice[];
  avatar: string;
  voice: string;
  onAvatar(id: string): void;
  onVoice(id: string): void;
  words: Words;
  language: Language;
}

export function Choices({ avatars, voices, avatar, voice, onAvatar, onVoice, words, language }: Props) {
  if (avatars.length === 0 && voices.length === 0) return null;
  const groups = groupVoices(voices, language, words);
  return (
    <section className="choices" aria-label={words.settings}>
      {avatars.length > 0 && (
        <Choice label={words.presenter} value={avatar} onChange={onAvatar}>
          {avatars.map((row) => (
            <option key={row.id} value={row.id}>
              {row.names[language] ?? row.name}
            </option>
          ))}
        </Choice>
      )}
      {groups.length > 0 && (
        <Choice label={words.voice} value={voice} onChange={onVoice}>
          <option value="">{words.automaticVoice}</option>
          {groups.map((group) => (
            <optgroup key={group.language} label={group.label}>
              {group.voices.map((row) => (
                <option key={row.id} value={row.id}>
                  {row.label}
                </option>
              ))}
            </optgroup>
          ))}
        </Choice>
      )}
    </section>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  onChange(value: string): void;
  children: ReactNode;
}

function Choice({ label, value, onChange, children }: ChoiceProps) {
  const id = useId();
  return (
    <div className="choice">
      <label className="choice-label" htmlFor={id}>
        {label}
      </label>
      <span className="select">
        <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
          {children}
        </select>
        <Icon name="chevron" />
      </span>
    </div>
  );
}
