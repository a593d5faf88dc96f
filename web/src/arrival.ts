/** A visitor who comes from a voice's page: `?voice=` names what she is to speak with. */

import { remember } from "./preferences";

/** Remembers that voice as chosen, and takes it out of the address, so that a later choice survives a reload. */
export function takeVoiceOf({ pathname, search, hash }: Pick<Location, "pathname" | "search" | "hash">, replace: (address: string) => void): void {
  const parameters = new URLSearchParams(search);
  const voice = parameters.get("voice");
  if (voice === null) return;
  parameters.delete("voice");
  remember("voice", voice === "" ? undefined : voice);
  const rest = parameters.toString();
  replace(`${pathname}${rest === "" ? "" : `?${rest}`}${hash}`);
}
