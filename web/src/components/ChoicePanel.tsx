/** Which presenter, and which voice. */

import { type ReactNode, useId } from "react";

import type { Choices } from "../hooks/use-choices";
import type { Language, Words } from "../i18n";
import { groupVoices } from "../voices";
import { Icon } from "./Icon";

interface Props {
  choices: Choices;
  words: Words;
  language: Language;
}

export function ChoicePanel({ choices, words, language }: Props) {
  const { avatars, voices } = choices.catalogue;
  if (avatars.length === 0 && voices.length === 0) return null;
  const groups = groupVoices(voices, language, words);
  return (
    <section className="choices" aria-label={words.settings}>
      {avatars.length > 0 && (
        <Choice label={words.presenter} value={choices.avatar?.id ?? ""} onChange={choices.chooseAvatar}>
          {avatars.map((row) => (
            <option key={row.id} value={row.id}>
              {row.names[language] ?? row.name}
            </option>
          ))}
        </Choice>
      )}
      {groups.length > 0 && (
        <Choice label={words.voice} value={choices.voice} onChange={choices.chooseVoice}>
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
