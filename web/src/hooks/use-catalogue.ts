/** Presenters and voices this server offers. A server that has no such lists still plays: the choices stay away. */

import { useEffect, useState } from "react";

import type { Api, Avatar, Voice } from "../api";
import { recall, remember } from "../preferences";

export interface Catalogue {
  avatars: Avatar[];
  voices: Voice[];
  /** Address of a picture of the chosen presenter, to show until she comes. */
  poster: string | undefined;
}

/** Asks again whenever `asked` changes: a server that was away may have come back, or a key was given. */
export function useCatalogue(api: Api, avatar: string, asked: unknown): Catalogue {
  const [avatars, setAvatars] = useState<Avatar[]>([]);
  const [voices, setVoices] = useState<Voice[]>([]);
  const [poster, setPoster] = useState(recall("poster"));

  useEffect(() => {
    let ended = false;
    const take = <T,>(rows: Promise<T[]>, set: (rows: T[]) => void) =>
      rows.then((found) => { if (!ended && found.length > 0) set(found); }).catch(() => undefined);
    void take(api.avatars(), setAvatars);
    void take(api.voices(), setVoices);
    return () => {
      ended = true;
    };
  }, [api, asked]);

  const path = (avatars.find((row) => row.id === avatar) ?? avatars[0])?.poster;
  useEffect(() => {
    if (path === undefined) return;
    let ended = false;
    api.picture(path)
      .then((address) => {
        if (ended) return;
        setPoster(address);
        remember("poster", address === path ? path : undefined);
      })
      .catch(() => undefined);
    return () => {
      ended = true;
    };
  }, [api, path]);
  return { avatars, voices, poster };
}
