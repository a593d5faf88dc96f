/** What every part of the library's pages needs. */

import { createContext, useContext, useSyncExternalStore } from "react";

import type { Theme } from "../hooks/use-look";
import type { Language } from "../language";
import { ApiError } from "../wire";
import type { LibraryApi } from "./api";
import type { Deck, DeckState } from "./deck";
import type { LibraryWords } from "./words-en";

export interface Surroundings {
  api: LibraryApi;
  deck: Deck;
  words: LibraryWords;
  language: Language;
  theme: Theme;
  /** Says something in passing. */
  tell(notice: string): void;
}

export const LibraryContext = createContext<Surroundings | undefined>(undefined);

export function useLibrary(): Surroundings {
  const found = useContext(LibraryContext);
  if (found === undefined) throw new Error("there is no LibraryContext around this component");
  return found;
}

export function useDeck(): DeckState {
  const { deck } = useLibrary();
  return useSyncExternalStore(deck.subscribe, deck.snapshot);
}

/** Why something failed, as a sentence: the server's own, or the page's where no answer came. */
export function sentence(error: unknown, words: LibraryWords): string {
  if (error instanceof ApiError && error.status !== 0) return error.message;
  return navigator.onLine ? words.trouble.unreachable : words.trouble.offline;
}
