import { describe, expect, it, vi } from "vitest";

import { takeVoiceOf } from "../arrival";
import { ApiError } from "../wire";
import { LibraryApi, parameters } from "./api";
import { byDay } from "./components/UsageChart";
import { Deck } from "./deck";
import { EMPTY, makerKey, missing, tagsOf, wishOf } from "./draft";
import { clock, hueOf, languageName } from "./format";
import { queryOf } from "./pages/Discover";
import { nextAskMs } from "./queries";
import { cutOut, fileFault, lengthFault, within } from "./recording";
import type { Creation } from "./shapes";
import { WORDS } from "./words";

const LIMITS = { seconds_min: 5, seconds_max: 10 };

describe("words", () => {
  it("leave nothing untranslated", () => {
    const leaves = (words: object, path = ""): [string, unknown][] =>
      Object.entries(words).flatMap(([key, value]) => (typeof value === "object" ? leaves(value as object, `${path}${key}.`) : [[`${path}${key}`, value]]));
    const zh = new Map(leaves(WORDS.zh));
    const same = leaves(WORDS.en).filter(([key, value]) => typeof value === "string" && zh.get(key) === value);
    expect(same.filter(([key]) => !key.startsWith("taste."))).toEqual([]);
    expect([...zh.keys()].toSorted()).toEqual(leaves(WORDS.en).map(([key]) => key).toSorted());
  });
});

describe("recordings", () => {
  it.each([
    ["a.wav", "audio/wav", 1_000, undefined],
    ["a.txt", "text/plain", 1_000, "notSound"],
    ["a.mp3", "audio/mpeg", 0, "empty"],
    ["a.mp3", "audio/mpeg", 11 * 2 ** 20, "tooLarge"],
  ])("%s (%s, %d bytes): %s", (name, type, size, fault) => {
    expect(fileFault({ name, type, size }, 10)).toBe(fault);
  });

  it.each([[4.9, "tooShort"], [4.97, undefined], [10.03, undefined], [10.2, "tooLong"]])("%d s: %s", (seconds, fault) => {
    expect(lengthFault(seconds, LIMITS)).toBe(fault);
  });

  it("keep a part inside of them", () => {
    expect(within({ from: -2, length: 30 }, 60, LIMITS)).toEqual({ from: 0, length: 10 });
    expect(within({ from: 58, length: 1 }, 60, LIMITS)).toEqual({ from: 55, length: 5 });
  });

  it("are cut to one channel of 16 bit", async () => {
    const channel = (sign: number) => Float32Array.from({ length: 100 }, (_, k) => (sign * k) / 100);
    const sound = { sampleRate: 10, numberOfChannels: 2, getChannelData: (k: number) => channel(k === 0 ? 1 : 0.5) };
    const file = cutOut(sound, { from: 2, length: 3 }, "talk.final.mp3");
    expect([file.name, file.type, file.size]).toEqual(["talk.final.wav", "audio/wav", 44 + 2 * 30]);
    const view = new DataView(await file.arrayBuffer());
    expect(view.getUint32(24, true)).toBe(10);
    expect(view.getInt16(44, true)).toBe(Math.round(32_767 * 0.75 * 0.2));
  });
});

describe("drafts", () => {
  const limits = { sample_characters_max: 5, text_characters_max: 10 };
  const whole = { ...EMPTY, speaker: "Ada", agreed: true };

  it("say what is missing", () => {
    expect(missing(EMPTY, limits)).toBe("speaker");
    expect(missing({ ...EMPTY, speaker: "Ada" }, limits)).toBe("agreed");
    expect(missing({ ...whole, sample: "123456" }, limits)).toBe("sample");
    expect(missing({ ...whole, sample: "😀😀😀😀😀" }, limits)).toBeUndefined();
    expect(missing({ ...whole, text: "12345678901" }, limits)).toBe("text");
  });

  it("keep each tag once, whatever separates them", () => {
    expect(tagsOf(" warm, 温柔，calm、warm;; ")).toEqual(["warm", "温柔", "calm"]);
    expect(tagsOf(Array.from({ length: 20 }, (_, k) => `t${k}`).join(","))).toHaveLength(12);
  });

  it("become what the server is asked for", () => {
    const wish = wishOf({ ...whole, name: " Nora ", maker: makerKey("scripted", "hum-2") }, "file-1", "2026-11");
    expect(wish).toMatchObject({ name: "Nora", maker: "scripted", model: "hum-2", consent: { speaker: "Ada", relation: "self", statement: "2026-11", agreed: true } });
  });
});

describe("addresses", () => {
  it("ask only for what is known", () => {
    expect(queryOf(new URLSearchParams("scope=builtin&q=a&language=xx&gender=female&sort=odd"))).toEqual({ scope: "builtin", q: "a", language: "", gender: "female", sort: "newest" });
  });

  it("leave out what is empty", () => {
    expect(parameters({ q: "", page: 1, name: "温柔" })).toBe("page=1&name=%E6%B8%A9%E6%9F%94");
  });

  it("bring a voice to the live page, once", () => {
    const replace = vi.fn();
    takeVoiceOf({ pathname: "/", search: "?voice=library%3Avoice-1&mode=a", hash: "" }, replace);
    expect(replace).toHaveBeenCalledExactlyOnceWith("/?mode=a");
    takeVoiceOf({ pathname: "/", search: "?mode=a", hash: "" }, replace);
    expect(replace).toHaveBeenCalledTimes(1);
  });
});

describe("a creation", () => {
  const job = { status: "running" } as Creation;

  it("is asked about until it has ended or is not there, also of a server that is away for a while", () => {
    expect(nextAskMs(undefined, null)).toBeGreaterThan(0);
    expect(nextAskMs(job, new ApiError("away", 0))).toBeGreaterThan(0);
    expect(nextAskMs(job, new ApiError("busy", 429))).toBeGreaterThan(0);
    expect(nextAskMs({ ...job, status: "failed" }, null)).toBe(false);
    expect(nextAskMs(undefined, new ApiError("no such job", 404))).toBe(false);
  });
});

describe("format", () => {
  it.each([[0, "0:00"], [7.4, "0:07"], [65, "1:05"], [Infinity, "0:00"]])("%d s is %s", (seconds, shown) => {
    expect(clock(seconds)).toBe(shown);
  });

  it("gives a voice one colour and unknown languages their tag", () => {
    expect(hueOf("voice-1")).toBe(hueOf("voice-1"));
    expect(hueOf("voice-1")).not.toBe(hueOf("voice-2"));
    expect([languageName("zh", "en"), languageName("not a tag", "en")]).toEqual(["Chinese", "not a tag"]);
  });

  it("fills in the days on which nothing was said", () => {
    const usage = { calls: 1, characters: 1, seconds: 3, by_day: [{ date: "2026-11-28", calls: 1, characters: 1, seconds: 3 }], by_voice: [] };
    expect(byDay(usage, 3, new Date("2026-11-29T01:00:00Z"))).toEqual([
      { date: "2026-11-27", seconds: 0 }, { date: "2026-11-28", seconds: 3 }, { date: "2026-11-29", seconds: 0 },
    ]);
  });
});

describe("LibraryApi", () => {
  it("unwraps what was asked for and tells a refusal in the server's words", async () => {
    const good = new LibraryApi(async () => Response.json({ success: true, data: { voices: 2 }, message: "", error: null }));
    expect(await good.account()).toEqual({ voices: 2 });
    const bad = new LibraryApi(async () => Response.json({ success: false, data: null, message: "太短", error: { code: "too_short", message: "太短" } }, { status: 422 }));
    await expect(bad.account()).rejects.toMatchObject({ message: "太短", status: 422, code: "too_short" });
    await expect(new LibraryApi(async () => Response.json({})).account()).rejects.toThrow("no data");
  });
});

class FakeAudio extends EventTarget {
  src = "";
  currentTime = 0;
  duration = 10;
  ended = false;
  async play(): Promise<void> {
    this.dispatchEvent(new Event("playing"));
  }
  pause(): void {
    this.dispatchEvent(new Event("pause"));
  }
}

describe("Deck", () => {
  const made = () => {
    const audio = new FakeAudio();
    return { audio, deck: new Deck(audio as unknown as HTMLAudioElement) };
  };
  const track = (key: string) => ({ key, source: () => `/${key}` });

  it("plays one thing at a time, pauses and goes on", async () => {
    const { audio, deck } = made();
    const other = { pause: vi.fn() };
    deck.take(other);
    await deck.toggle(track("a"));
    expect(other.pause).toHaveBeenCalled();
    audio.currentTime = 5;
    audio.dispatchEvent(new Event("timeupdate"));
    expect(deck.snapshot()).toMatchObject({ key: "a", phase: "playing", part: 0.5 });
    await deck.toggle(track("a"));
    expect(deck.snapshot()).toMatchObject({ phase: "paused", part: 0.5 });
    await deck.toggle(track("a"));
    expect(deck.snapshot()).toMatchObject({ phase: "playing", part: 0.5 });
    await deck.toggle(track("b"));
    expect([audio.src, deck.snapshot().key]).toEqual(["/b", "b"]);
    deck.take(other);
    expect(deck.snapshot().phase).toBe("paused");
  });

  it("forgets a source that comes too late, and says why one does not come", async () => {
    const { audio, deck } = made();
    let give: (address: string) => void = () => undefined;
    const late = deck.toggle({ key: "late", source: () => new Promise((resolve) => { give = resolve; }) });
    await deck.toggle(track("b"));
    give("/late");
    await late;
    expect([audio.src, deck.snapshot().key]).toEqual(["/b", "b"]);
    await deck.toggle({ key: "c", source: () => Promise.reject(new Error("gone")) });
    expect(deck.snapshot()).toMatchObject({ key: "c", phase: "failed", error: new Error("gone") });
  });
});
