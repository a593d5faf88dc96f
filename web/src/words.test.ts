import { describe, expect, it } from "vitest";

import { looksLikeSound } from "./hooks/use-upload";
import { WORDS } from "./i18n";
import { preferredLanguage } from "./language";
import { groupVoices, voiceName } from "./voices";

describe("languages", () => {
  it.each([[["zh-CN", "en"], "zh"], [["zh"], "zh"], [["en-GB", "zh"], "en"], [["fr"], "en"], [[], "en"]] as const)("%j reads %s", (tags, language) => {
    expect(preferredLanguage(tags)).toBe(language);
  });

  it("leaves no word untranslated", () => {
    const leaves = (words: object, path = ""): [string, unknown][] =>
      Object.entries(words).flatMap(([key, value]) => (typeof value === "object" ? leaves(value as object, `${path}${key}.`) : [[`${path}${key}`, value]]));
    const zh = new Map(leaves(WORDS.zh));
    const same = leaves(WORDS.en).filter(([key, value]) => typeof value === "string" && zh.get(key) === value);
    expect(same.filter(([key]) => !key.startsWith("samples."))).toEqual([]);
    expect([...zh.keys()].toSorted()).toEqual(leaves(WORDS.en).map(([key]) => key).toSorted());
  });
});

describe("voices", () => {
  it.each([
    ["kokoro:zf_xiaobei", "Xiaobei"],
    ["edge:zh-CN-XiaoxiaoNeural", "Xiaoxiao"],
    ["edge:en-US-AvaMultilingualNeural", "Ava"],
    ["hibari:default", "Default"],
    ["espeak:en", "En"],
    ["odd", "Odd"],
  ])("%s is %s", (id, name) => {
    expect(voiceName(id)).toBe(name);
  });

  it("groups by language, the page's own first", () => {
    const voice = (id: string, ...languages: string[]) => ({ id, engine: "kokoro", languages, gender: "female" });
    const voices = [voice("a", "ja"), voice("b", "en"), voice("c", "zh", "en"), voice("d", "en"), voice("e")];
    expect(groupVoices(voices, "zh", WORDS.zh).map(({ language, voices: of }) => [language, of.length])).toEqual([
      ["zh", 1], ["en", 2], ["ja", 1], ["und", 1],
    ]);
    const many = { ...voice("espeak:female", "en", "zh", "ja", "ko", "fr"), engine: "espeak" };
    expect(groupVoices([many, voice("f", "fr")], "en", WORDS.en)[1]).toMatchObject({
      label: "Many languages",
      voices: [{ label: "female · eSpeak" }],
    });
    const own = { ...voice("library:voice-1", "fr"), name: "Nora" };
    expect(groupVoices([voice("g", "en"), own], "en", WORDS.en)[0]).toMatchObject({ label: "Voice library", voices: [{ label: "Nora" }] });
    expect(groupVoices([voice("kokoro:zf_xiaobei", "zh")], "en", WORDS.en)[0]).toMatchObject({
      label: "Chinese",
      voices: [{ label: "Xiaobei · female · Kokoro" }],
    });
  });
});

describe("looksLikeSound", () => {
  it.each([["a.wav", ""], ["a.MP3", ""], ["x", "audio/mpeg"], ["clip", "video/mp4"]])("takes %s (%s)", (name, type) => {
    expect(looksLikeSound({ name, type })).toBe(true);
  });

  it.each([["a.txt", "text/plain"], ["a.png", "image/png"], ["wav", ""]])("refuses %s (%s)", (name, type) => {
    expect(looksLikeSound({ name, type })).toBe(false);
  });
});
