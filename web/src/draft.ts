/** What somebody is about to make a presenter of: the file, her name and her id, suggested until they are typed. */

export interface Draft {
  file: File | undefined;
  name: string;
  id: string;
  /** Typed by hand, so that no suggestion replaces it. */
  ownName: boolean;
  ownId: boolean;
}

export type DraftAction =
  | { type: "file"; file: File; taken: ReadonlySet<string> }
  | { type: "name"; name: string; taken: ReadonlySet<string> }
  | { type: "id"; id: string }
  | { type: "again"; file: File; name: string; id: string }
  | { type: "queued" };

export type FileFault = "notPicture" | "emptyFile" | "tooLarge";
export type IdFault = "missing" | "letters" | "taken";

export const NO_DRAFT: Draft = { file: undefined, name: "", id: "", ownName: false, ownId: false };
export const ID_CHARACTERS_MAX = 64;
export const NAME_CHARACTERS_MAX = 80;
/** For a name without a Latin letter or a digit. */
const PLAIN_ID = "presenter";
const MIB = 2 ** 20;
const PICTURES = /\.(mp4|m4v|mov|webm|mkv|avi|gif|png|jpe?g|webp|bmp|tiff?|avif|heic)$/i;

export function reduceDraft(draft: Draft, action: DraftAction): Draft {
  switch (action.type) {
    case "file": {
      const name = draft.ownName ? draft.name : nameOf(action.file.name);
      return { ...draft, file: action.file, name, id: draft.ownId ? draft.id : suggestId([name, action.file.name], action.taken) };
    }
    case "name": {
      const from = [action.name, draft.file?.name ?? ""];
      return { ...draft, name: action.name, ownName: true, id: draft.ownId ? draft.id : suggestId(from, action.taken) };
    }
    case "id":
      return { ...draft, id: action.id, ownId: true };
    case "again":
      return { file: action.file, name: action.name, id: action.id, ownName: true, ownId: true };
    case "queued":
      return NO_DRAFT;
  }
}

/** `Anna_at the sea.MOV` shows Anna at the sea. */
function nameOf(fileName: string): string {
  return [...bare(fileName).replaceAll("_", " ").trim()].slice(0, NAME_CHARACTERS_MAX).join("");
}

function bare(fileName: string): string {
  return fileName.replace(PICTURES, "");
}

/** The first of `texts` that letters and digits remain of, made an id that is not taken. */
export function suggestId(texts: readonly string[], taken: ReadonlySet<string>): string {
  const slug = texts.map(slugOf).find((text) => text !== "") ?? PLAIN_ID;
  for (let n = 1; ; n++) {
    const tail = n === 1 ? "" : `-${n}`;
    const id = slug.slice(0, ID_CHARACTERS_MAX - tail.length) + tail;
    if (!taken.has(id)) return id;
  }
}

function slugOf(text: string): string {
  const plain = bare(text).normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.replace(/[^a-z0-9_]+/g, "-").replace(/^[-_]+|[-_]+$/g, "");
}

export function idFault(id: string, taken: ReadonlySet<string>): IdFault | undefined {
  if (id === "") return "missing";
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) return "letters";
  return taken.has(id) ? "taken" : undefined;
}

/** A name or type that is plainly no picture is refused here; what is inside is for the server to judge. */
export function fileFault(file: Pick<File, "name" | "type" | "size">, limitMiB: number): FileFault | undefined {
  const picture = file.type === "" ? PICTURES.test(file.name) : /^(video|image)\//.test(file.type);
  if (!picture) return "notPicture";
  if (file.size === 0) return "emptyFile";
  return file.size > limitMiB * MIB ? "tooLarge" : undefined;
}
