/** What this server offers. One that does not say still plays: the choices stay away. */

import { useEffect, useMemo, useState } from "react";

import { type Api, type ClientInfo, PLAIN_SERVER } from "../api";
import { recall, remember } from "../preferences";
import type { Avatar, Voice } from "../shapes";

export interface Catalogue {
  avatars: Avatar[];
  voices: Voice[];
  server: ClientInfo;
  /** False until the presenters of the newest question have come. */
  fresh: boolean;
  /** Address of a picture of the chosen presenter, to show until she comes. */
  poster: string | undefined;
}

/** The presenter of that id, else the server's own, else the first. */
export function chosenAvatar(avatars: readonly Avatar[], id: string, server: ClientInfo): Avatar | undefined {
  return avatars.find((row) => row.id === id) ?? avatars.find((row) => row.id === server.avatar) ?? avatars[0];
}

/** Asks again whenever `asked` changes: a server that was away may have come back, a key was given, an avatar was made. */
export function useCatalogue(api: Api, avatar: string, asked: string): Catalogue {
  const [avatars, setAvatars] = useState<Avatar[]>([]);
  const [builtin, setBuiltin] = useState<Voice[]>([]);
  const [own, setOwn] = useState<Voice[]>([]);
  const [server, setServer] = useState(PLAIN_SERVER);
  const [poster, setPoster] = useState(recall("poster"));
  const [answered, setAnswered] = useState("");

  useEffect(() => {
    let ended = false;
    const take = <T,>(found: Promise<T>, set: (value: T) => void) =>
      found.then((value) => { if (!ended) set(value); }).catch(() => undefined);
    void take(api.avatars(), (rows) => {
      setAvatars(rows);
      setAnswered(asked);
    });
    void take(api.voices(), setBuiltin);
    void take(api.libraryVoices(recall("voice") ?? ""), setOwn);
    void take(api.client(), setServer);
    return () => {
      ended = true;
    };
  }, [api, asked]);

  const path = chosenAvatar(avatars, avatar, server)?.poster;
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
  const voices = useMemo(() => [...own, ...builtin], [own, builtin]);
  return { avatars, voices, server, poster, fresh: answered === asked };
}
