/** What is being built on this server, and what became of it. */

import { failureOf, isOver, queuedBefore } from "../builds";
import type { Choices } from "../hooks/use-choices";
import type { Workshop } from "../hooks/use-workshop";
import type { Language } from "../i18n";
import type { WorkshopWords } from "../i18n-workshop";
import { IconButton } from "./IconButton";
import type { Build } from "../shapes";

interface Props {
  workshop: Workshop;
  choices: Choices;
  language: Language;
  words: WorkshopWords;
  onShow(avatar: string): void;
}

export function BuildList(props: Props) {
  const { workshop, words } = props;
  const { builds, answered, away, said } = workshop.state;
  const running = builds.find((build) => build.status === "running");
  return (
    <section aria-label={words.builds}>
      <h3>{words.builds}</h3>
      <p className="visually-hidden" role="status">
        {running ? `${workshop.nameOf(running)}: ${stageOf(running, words)}` : workshop.news}
      </p>
      {away && (
        <p className="maker-note" data-tone="bad" role="alert" data-testid="builds-away">
          {words.away[away]} {said !== "" && <span lang="en">{said}</span>}
        </p>
      )}
      {!answered && !away && <p className="faint">{words.loading}</p>}
      {answered && builds.length === 0 && <p className="faint">{words.noBuilds}</p>}
      <ul className="builds">
        {builds.map((build) => (
          <BuildRow key={build.id} build={build} {...props} />
        ))}
      </ul>
    </section>
  );
}

function BuildRow({ build, workshop, choices, language, words, onShow }: Props & { build: Build }) {
  const name = workshop.nameOf(build);
  const over = isOver(build);
  const present = choices.catalogue.avatars.some(({ id }) => id === build.avatar);
  const again = build.status === "failed" || build.status === "cancelled" ? workshop.again(build) : undefined;
  return (
    <li className="build" data-status={build.status} data-testid="build">
      <div className="build-head">
        <span className="build-name" title={build.avatar}>
          {name}
        </span>
        {build.status === "completed" && present && <ShowButton id={build.avatar} choices={choices} onShow={onShow} words={words} />}
        {again && (
          <button type="button" className="small-button" onClick={again} disabled={workshop.maker.sending !== undefined}>
            {words.again}
          </button>
        )}
        <IconButton icon="close" label={over ? words.forget(name) : words.cancel(name)} onClick={() => workshop.end(build)} />
      </div>
      <p className="build-state">{stateOf(build, workshop, choices.catalogue.fresh && !present, language, words)}</p>
      {!over && <progress value={build.percent} max={100} aria-label={`${name}: ${stageOf(build, words)}`} />}
      {build.notes.map((note) => (
        <p key={note} className="build-error" lang="en" data-testid="note">
          {note}
        </p>
      ))}
      {build.status === "failed" && build.error !== "" && (
        <p className="build-error" lang="en">
          {build.error}
        </p>
      )}
    </li>
  );
}

export function ShowButton({ id, choices, onShow, words }: Pick<Props, "choices" | "onShow" | "words"> & { id: string }) {
  if (choices.avatar?.id === id) return <span className="build-on">{words.showing}</span>;
  return (
    <button type="button" className="small-button" onClick={() => onShow(id)}>
      {words.show}
    </button>
  );
}

function stageOf(build: Build, words: WorkshopWords): string {
  return words.stages[build.stage] ?? words.beginning;
}

function stateOf(build: Build, workshop: Workshop, missing: boolean, language: Language, words: WorkshopWords): string {
  switch (build.status) {
    case "pending":
      return words.waiting(queuedBefore(workshop.state.builds, build));
    case "running":
      return `${stageOf(build, words)} · ${build.percent} %`;
    case "completed":
      return missing ? words.elsewhere : build.seconds === undefined ? words.doneQuick : words.done(duration(build.seconds, language));
    case "failed":
      return words.failure[failureOf(build.error)];
    case "cancelled":
      return words.cancelled;
  }
}

/** `42 s`, or minutes once they are many. */
function duration(seconds: number, language: Language): string {
  const minutes = seconds >= 120;
  const format = { style: "unit", unit: minutes ? "minute" : "second", unitDisplay: "short", maximumFractionDigits: minutes ? 1 : 0 } as const;
  return new Intl.NumberFormat(language, format).format(minutes ? seconds / 60 : seconds);
}
