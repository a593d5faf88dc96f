/** The presenters that were made here: shown, or deleted for good. */

import { useRef, useState } from "react";

import type { Choices } from "../hooks/use-choices";
import type { Workshop } from "../hooks/use-workshop";
import type { Language } from "../i18n";
import type { WorkshopWords } from "../i18n-workshop";
import { ShowButton } from "./BuildList";
import type { Avatar } from "../shapes";

interface Props {
  workshop: Workshop;
  choices: Choices;
  language: Language;
  words: WorkshopWords;
  onShow(avatar: string): void;
}

export function OwnList(props: Props) {
  const { workshop, words } = props;
  const [asked, setAsked] = useState<string>();
  if (workshop.own.length === 0) return null;
  return (
    <section aria-label={words.own}>
      <h3>{words.own}</h3>
      <ul className="builds">
        {workshop.own.map((avatar) => (
          <OwnRow key={avatar.id} avatar={avatar} asked={asked === avatar.id} onAsk={(ask) => setAsked(ask ? avatar.id : undefined)} {...props} />
        ))}
      </ul>
    </section>
  );
}

interface RowProps extends Props {
  avatar: Avatar;
  /** Whether it was asked to be deleted and not yet confirmed. */
  asked: boolean;
  onAsk(ask: boolean): void;
}

function OwnRow({ avatar, asked, onAsk, workshop, choices, language, words, onShow }: RowProps) {
  const name = avatar.names[language] ?? avatar.name;
  const { running, refused, start } = workshop.removal;
  const ask = useRef<HTMLButtonElement>(null);
  return (
    <li className="build" data-testid="own">
      <div className="build-head">
        <span className="build-name" title={avatar.id}>
          {name}
        </span>
        <ShowButton id={avatar.id} choices={choices} onShow={onShow} words={words} />
        <button
          type="button"
          className="small-button"
          data-tone="bad"
          ref={ask}
          aria-label={words.deleteNamed(name)}
          aria-expanded={asked}
          disabled={running !== undefined}
          onClick={() => onAsk(!asked)}
        >
          {running === avatar.id ? words.deleting : words.delete}
        </button>
      </div>
      {choices.catalogue.server.avatar === avatar.id && <p className="build-state">{words.ownUsual}</p>}
      {asked && (
        <Confirm
          question={words.confirm(name)}
          onYes={() => {
            onAsk(false);
            start(avatar);
          }}
          onNo={() => {
            onAsk(false);
            ask.current?.focus();
          }}
          words={words}
        />
      )}
      {refused?.id === avatar.id && (
        <div role="alert">
          <p className="build-state" data-tone="bad">
            {words.inUse(name)}
          </p>
          <p className="build-error" lang="en">
            {refused.said}
          </p>
        </div>
      )}
    </li>
  );
}

function Confirm({ question, onYes, onNo, words }: { question: string; onYes(): void; onNo(): void; words: WorkshopWords }) {
  return (
    <div className="confirm" role="group" aria-label={question}>
      <p>{question}</p>
      {/* The question has to be noticed, and Enter must do no harm. */}
      {/* oxlint-disable-next-line jsx-a11y/no-autofocus */}
      <button type="button" className="small-button" autoFocus onClick={onNo}>
        {words.keep}
      </button>
      <button type="button" className="small-button" data-tone="bad" onClick={onYes}>
        {words.forGood}
      </button>
    </div>
  );
}
