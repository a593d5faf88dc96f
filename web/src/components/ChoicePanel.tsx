/** Which presenter, and which voice. */

import { type ReactNode, useId } from "react";

import type { Choices } from "../hooks/use-choices";
import type { Workshop } from "../hooks/use-workshop";
import type { Language, Words } from "../i18n";
import { groupVoices } from "../voices";
import { Icon } from "./Icon";
import { WorkshopButton } from "./WorkshopButton";

interface Props {
  choices: Choices;
  workshop: Workshop;
  words: Words;
  language: Language;
}

export function ChoicePanel({ choices, workshop, words, language }: Props) {
  const { avatars, voices } = choices.catalogue;
  if (avatars.length === 0 && voices.length === 0 && !workshop.offered) return null;
  const maker = workshop.offered && <WorkshopButton workshop={workshop} words={words.workshop} />;
  const groups = groupVoices(voices, language, words);
  return (
    <section className="choices" aria-label={words.settings}>
      {avatars.length === 0 && maker}
      {avatars.length > 0 && (
        <Choice label={words.presenter} value={choices.avatar?.id ?? ""} onChange={choices.chooseAvatar} beside={maker}>
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
  /** Stands to the right of the list. */
  beside?: ReactNode;
  children: ReactNode;
}

function Choice({ label, value, onChange, beside, children }: ChoiceProps) {
  const id = useId();
  return (
    <div className="choice">
      <label className="choice-label" htmlFor={id}>
        {label}
      </label>
      <span className="choice-row">
        <span className="select">
          <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
            {children}
          </select>
          <Icon name="chevron" />
        </span>
        {beside}
      </span>
    </div>
  );
}
