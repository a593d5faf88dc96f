/** Every word of the library's pages, in both languages. */

import type { Language } from "../language";
import { en, type LibraryWords } from "./words-en";
import { zh } from "./words-zh";

export type { LibraryWords } from "./words-en";

export const WORDS: Record<Language, LibraryWords> = { en, zh };
