/** The chosen presenter and voice, remembered; what this server does not have counts as not chosen. */

import { useCallback, useState } from "react";

import type { Api } from "../api";
import type { Link } from "../link";
import { recall, remember } from "../preferences";
import { type Catalogue, chosenAvatar, useCatalogue } from "./use-catalogue";
import type { Avatar } from "../shapes";

export interface Choices {
  catalogue: Catalogue;
  avatar: Avatar | undefined;
  /** Id; empty lets the server choose by language. */
  voice: string;
  chooseAvatar(id: string): void;
  chooseVoice(id: string): void;
  /** Asks the server again what there is. */
  reload(): void;
}

export function useChoices(api: Api, link: Link, live: boolean): Choices {
  const [avatar, setAvatar] = useState(recall("avatar") ?? "");
  const [voice, setVoice] = useState(recall("voice") ?? "");
  const [round, setRound] = useState(0);
  const catalogue = useCatalogue(api, avatar, `${live} ${round}`);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  const chooseAvatar = (id: string) => {
    setAvatar(id);
    remember("avatar", id);
    link.setAvatar(id);
  };
  const chooseVoice = (id: string) => {
    setVoice(id);
    remember("voice", id === "" ? undefined : id);
    link.setVoice(id === "" ? undefined : id);
  };
  return {
    catalogue,
    avatar: chosenAvatar(catalogue.avatars, avatar, catalogue.server),
    voice: catalogue.voices.some((row) => row.id === voice) ? voice : "",
    chooseAvatar,
    chooseVoice,
    reload,
  };
}
