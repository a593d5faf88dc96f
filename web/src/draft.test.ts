import { describe, expect, it } from "vitest";

import { type Draft, type DraftAction, fileFault, idFault, NO_DRAFT, reduceDraft, suggestId } from "./draft";

const NONE: ReadonlySet<string> = new Set();
const file = (name: string) => new File(["x"], name);

function after(...actions: DraftAction[]): Draft {
  return actions.reduce(reduceDraft, NO_DRAFT);
}

describe("suggestId", () => {
  it.each([
    ["Anna at the Sea.MOV", "anna-at-the-sea"],
    ["IMG_2034.mp4", "img_2034"],
    ["Zoë Müller.webm", "zoe-muller"],
    ["v1.2 final.mp4", "v1-2-final"],
    ["--_x_--.png", "x"],
    ["小美.mp4", "presenter"],
    ["小美2.mp4", "2"],
    ["ｆｕｌｌ.jpg", "full"],
    [".mp4", "presenter"],
    ["", "presenter"],
  ])("of %j is %s", (name, id) => {
    expect(suggestId([name], NONE)).toBe(id);
    expect(idFault(id, NONE)).toBeUndefined();
  });

  it("prefers the name, and takes the file where the name leaves nothing", () => {
    expect(suggestId(["小美", "clip 7.mp4"], NONE)).toBe("clip-7");
  });

  it("steps aside for those that are there, and stays within 64 characters", () => {
    expect(suggestId(["Ana"], new Set(["ana", "ana-2"]))).toBe("ana-3");
    const long = "a".repeat(200);
    expect(suggestId([long], NONE)).toHaveLength(64);
    const second = suggestId([long], new Set(["a".repeat(64)]));
    expect(second).toHaveLength(64);
    expect(second).toMatch(/a-2$/);
  });
});

describe("idFault", () => {
  it.each([
    ["", "missing"],
    ["an a", "letters"],
    ["小美", "letters"],
    ["../x", "letters"],
    ["a".repeat(65), "letters"],
    ["mira", "taken"],
    ["Ana_2-x", undefined],
  ])("of %j is %s", (id, fault) => {
    expect(idFault(id, new Set(["mira"]))).toBe(fault);
  });
});

describe("fileFault", () => {
  it.each([
    [{ name: "a.mp4", type: "video/mp4", size: 5 }, undefined],
    [{ name: "a.mkv", type: "", size: 5 }, undefined],
    [{ name: "photo", type: "image/png", size: 5 }, undefined],
    [{ name: "a.mp3", type: "audio/mpeg", size: 5 }, "notPicture"],
    [{ name: "mp4", type: "", size: 5 }, "notPicture"],
    [{ name: "a.pdf", type: "application/pdf", size: 5 }, "notPicture"],
    [{ name: "a.mp4", type: "video/mp4", size: 0 }, "emptyFile"],
    [{ name: "a.mp4", type: "video/mp4", size: 2 ** 20 }, undefined],
    [{ name: "a.mp4", type: "video/mp4", size: 2 ** 20 + 1 }, "tooLarge"],
  ])("of %j is %s", (given, fault) => {
    expect(fileFault(given, 1)).toBe(fault);
  });
});

describe("a draft", () => {
  it("suggests name and id from the file", () => {
    expect(after({ type: "file", file: file("Anna_Sea.mp4"), taken: NONE })).toMatchObject({ name: "Anna Sea", id: "anna-sea" });
  });

  it("lets the id follow the name until it is typed", () => {
    const named = after({ type: "file", file: file("clip.mp4"), taken: NONE }, { type: "name", name: "Ben", taken: NONE });
    expect(named).toMatchObject({ name: "Ben", id: "ben" });
    const own = reduceDraft(reduceDraft(named, { type: "id", id: "me" }), { type: "name", name: "Benno", taken: NONE });
    expect(own).toMatchObject({ name: "Benno", id: "me" });
  });

  it("keeps what was typed when another file is chosen", () => {
    const draft = after(
      { type: "name", name: "Ben", taken: NONE },
      { type: "id", id: "" },
      { type: "file", file: file("clip.mp4"), taken: NONE },
    );
    expect(draft).toMatchObject({ name: "Ben", id: "" });
    expect(draft.file?.name).toBe("clip.mp4");
  });

  it("cuts a name by characters, not through the middle of one", () => {
    const { name } = after({ type: "file", file: file(`${"😀".repeat(100)}.png`), taken: NONE });
    expect(name).toBe("😀".repeat(80));
  });

  it("is empty again once the build is queued", () => {
    expect(after({ type: "again", file: file("a.mp4"), name: "Ana", id: "ana" }, { type: "queued" })).toEqual(NO_DRAFT);
  });
});
