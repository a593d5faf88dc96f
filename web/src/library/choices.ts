/** What voices are told apart by, in the order it is offered. */

import type { Gender } from "./shapes";

/** BCP 47 primary tags that people look for and speak. */
export const LANGUAGES = ["zh", "en", "ja", "ko", "fr", "de", "es", "pt", "it", "ru", "hi"] as const;

/** Those that are said; a voice may also be of none. */
export const GENDERS = ["female", "male", "neutral"] as const satisfies Gender[];
