/** Presenters of one's own: made, followed, shown, deleted. Goes on while its window is closed. */

import { useEffect, useEffectEvent, useMemo, useState, useSyncExternalStore } from "react";

import { type Api, ApiError } from "../api";
import { type BuildsState, BuildWatch, isOver } from "../builds";
import type { Language, Words } from "../i18n";
import { recall, remember } from "../preferences";
import { deleteAvatar } from "../removal";
import type { Choices } from "./use-choices";
import { type Maker, type Source, useMaker } from "./use-maker";
import type { Avatar, Build } from "../shapes";

/** The licence of avatars that were made of somebody's own clip. */
const OWN = "private";

export interface Workshop {
  /** Whether this server makes avatars. */
  offered: boolean;
  open: boolean;
  setOpen(open: boolean): void;
  maker: Maker;
  /** Ids that another avatar cannot have. */
  taken: ReadonlySet<string>;
  state: BuildsState;
  /** Percent of the build begun here that is furthest; undefined when none runs. */
  percent: number | undefined;
  /** What ended last, for those who cannot see the list. */
  news: string;
  nameOf(build: Build): string;
  /** Cancels it, or takes it off the list. */
  end(build: Build): void;
  /** Undefined where the file is not at hand any more. */
  again: ((build: Build) => (() => void) | undefined);
  own: readonly Avatar[];
  removal: Removal;
}

export interface Removal {
  /** Id being deleted. */
  running: string | undefined;
  refused: { id: string; said: string } | undefined;
  start(avatar: Avatar): void;
}

interface Surroundings {
  api: Api;
  choices: Choices;
  language: Language;
  words: Words;
  onNotice(words: string): void;
  onProblem(words: string): void;
}

export function useWorkshop(around: Surroundings): Workshop {
  const { api, choices, language } = around;
  const { avatars, server } = choices.catalogue;
  const [open, setOpen] = useState(false);
  const [sources, setSources] = useState<ReadonlyMap<string, Source>>(new Map());
  const watch = useWatch(api, server.avatars, open);
  const state = useSyncExternalStore(watch.subscribe, watch.getState);
  const taken = useMemo(
    () => new Set([...avatars.map(({ id }) => id), ...state.builds.filter((build) => !isOver(build)).map(({ avatar }) => avatar)]),
    [avatars, state],
  );
  const maker = useMaker(api, server.clipMiBMax, taken, (id, source) => {
    setSources((before) => new Map(before).set(id, source));
    watch.add(id);
  });
  const nameOf = (build: Build) => {
    const made = build.status === "completed" ? avatars.find(({ id }) => id === build.avatar) : undefined;
    return (made && (made.names[language] ?? made.name)) || sources.get(build.id)?.name || build.avatar;
  };
  const news = useNews(watch, around, open, nameOf);
  const end = (build: Build) => {
    api.endBuild(build.id).catch(() => undefined).finally(watch.ask); // the next list says what came of it
  };
  const again = (build: Build) => {
    const source = sources.get(build.id);
    return source && !taken.has(source.id) ? () => maker.again(source, () => end(build)) : undefined;
  };
  const running = state.builds.filter((build) => !isOver(build) && watch.isMine(build.id));
  return {
    offered: server.avatars,
    open,
    setOpen,
    maker,
    taken,
    state,
    percent: running.length > 0 ? Math.max(...running.map(({ percent }) => percent)) : undefined,
    news,
    nameOf,
    end,
    again,
    own: avatars.filter(({ licence }) => licence === OWN),
    removal: useRemoval(around, (id) => state.builds.filter(({ avatar, status }) => avatar === id && status === "completed").forEach(end)),
  };
}

function useWatch(api: Api, offered: boolean, open: boolean): BuildWatch {
  const [watch] = useState(() => {
    const mine = (recall("builds") ?? "").split(" ").filter((id) => id !== "");
    return new BuildWatch({ api, mine, onMine: (ids) => remember("builds", ids.length > 0 ? ids.join(" ") : undefined) });
  });
  useEffect(() => watch.follow(offered, open), [watch, offered, open]);
  useEffect(() => {
    addEventListener("online", watch.ask);
    return () => {
      removeEventListener("online", watch.ask);
      watch.close();
    };
  }, [watch]);
  return watch;
}

/** Tells of what has ended: in the window while it is open, else where the page says everything. */
function useNews(watch: BuildWatch, { choices, words, onNotice, onProblem }: Surroundings, open: boolean, nameOf: (build: Build) => string): string {
  const [news, setNews] = useState("");
  const onEnd = useEffectEvent((build: Build, mine: boolean) => {
    if (build.status === "completed") choices.reload();
    if (!mine || build.status === "cancelled") return;
    const name = nameOf(build);
    const failed = build.status === "failed";
    setNews(failed ? words.workshop.failed(name) : words.workshop.readyHere(name));
    if (!open && failed) onProblem(words.workshop.failed(name));
    if (!open && !failed) onNotice(words.workshop.ready(name));
  });
  useEffect(() => watch.onEnd((build, mine) => onEnd(build, mine)), [watch]);
  return news;
}

function useRemoval({ api, choices, language, words, onNotice }: Surroundings, onDeleted: (id: string) => void): Removal {
  const [running, setRunning] = useState<string>();
  const [refused, setRefused] = useState<Removal["refused"]>();
  const start = async ({ id, name, names }: Avatar) => {
    const usual = choices.catalogue.server.avatar;
    const left = choices.avatar?.id === id && id !== usual && usual !== "";
    if (left) choices.chooseAvatar(usual);
    setRunning(id);
    setRefused(undefined);
    try {
      await deleteAvatar(api, id, left);
      onDeleted(id);
      onNotice(words.workshop.deleted(names[language] ?? name));
    } catch (error) {
      const answered = error instanceof ApiError && error.status !== 0;
      setRefused({ id, said: answered ? error.message : words.workshop.away.unreachable });
    }
    setRunning(undefined);
    choices.reload();
  };
  return { running, refused, start: (avatar) => void start(avatar) };
}
