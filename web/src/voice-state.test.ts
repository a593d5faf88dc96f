import { describe, expect, it } from "vitest";

import { announcedOf, earsOf, firstVoice, isOpen, reduceVoice, shownOf, type VoiceAction, type VoiceState, type Way } from "./voice-state";
import { parseVoiceEvent, type VoiceEvent } from "./voice-events";

const run = (way: Way, ...actions: VoiceAction[]): VoiceState => actions.reduce(reduceVoice, firstVoice(way));
const hear = (event: VoiceEvent): VoiceAction => ({ type: "heard", event });
const simple = (event: "user.started" | "user.stopped" | "speech.started" | "speech.ended" | "interrupted" | "paused" | "resumed") => hear({ event });
const listening = (state: string) => hear({ event: "listening", state });
const ended = (reason: string) => hear({ event: "turn.ended", reason });
const on: VoiceAction[] = [{ type: "asked" }, { type: "opened" }, listening("ready")];

describe("what is shown", () => {
  it("goes from off over permission and the server's waking to listening", () => {
    const shown = on.map((_, k) => shownOf(run("open", ...on.slice(0, k + 1))));
    expect([shownOf(firstVoice("open")), ...shown]).toEqual(["off", "asking", "waking", "listening"]);
  });

  it("follows a turn: heard through its pauses, thought about, answered", () => {
    const turn = [simple("user.started"), simple("user.stopped"), ended("finished"), simple("speech.started"), simple("speech.ended")];
    const shown = turn.map((_, k) => shownOf(run("open", ...on, ...turn.slice(0, k + 1))));
    expect(shown).toEqual(["hearing", "hearing", "thinking", "speaking", "listening"]);
  });

  it("hears somebody who speaks over her, and goes back to her when it was a cough", () => {
    const over = [...on, simple("speech.started"), simple("user.started")];
    expect(shownOf(run("open", ...over))).toBe("hearing");
    const cough = run("open", ...over, simple("paused"), listening("too short for a word: 0.20 s"), simple("resumed"));
    expect(shownOf(cough)).toBe("speaking");
    expect(cough.note).toBeUndefined();
  });

  it("goes on thinking when the new turn ends what she was saying, not when nothing was being said", () => {
    const asked = [...on, simple("speech.started"), simple("user.started"), ended("finished"), simple("interrupted")];
    expect(shownOf(run("open", ...asked))).toBe("thinking");
    expect(shownOf(run("open", ...asked, simple("interrupted")))).toBe("listening");
  });

  it("waits for somebody who asked to be waited for", () => {
    const waiting = run("open", ...on, simple("user.started"), ended("wait"), listening("waiting"));
    expect(shownOf(waiting)).toBe("listening");
    expect(waiting.note).toBe("waiting");
  });

  it.each(["nothing was said", "nothing was recognised"])("says that nothing came of it: %s", (reason) => {
    const quiet = run("open", ...on, simple("user.started"), listening(reason));
    expect([shownOf(quiet), quiet.note]).toEqual(["listening", "nothing"]);
    expect(reduceVoice(quiet, { type: "noted" }).note).toBeUndefined();
  });

  it("is muted whatever else happens, but shows the answer that is on its way", () => {
    const muted: VoiceAction[] = [...on, { type: "muted", on: true }];
    expect(shownOf(run("open", ...muted, simple("user.started")))).toBe("muted");
    expect(shownOf(run("open", ...on, ended("finished"), { type: "muted", on: true }))).toBe("thinking");
  });

  it("waits at the talk button, and hears while it is held", () => {
    expect(shownOf(run("push", ...on))).toBe("hold");
    expect(shownOf(run("push", ...on, { type: "held", on: true }))).toBe("held");
    expect(shownOf(run("push", ...on, { type: "held", on: true }, simple("user.started")))).toBe("hearing");
  });

  it("says when the device gives nothing", () => {
    expect(shownOf(run("open", ...on, { type: "silenced", on: true }))).toBe("silenced");
  });

  it("announces nothing that would be spoken into an open microphone", () => {
    const talk = [simple("user.started"), ended("finished"), simple("speech.started")];
    for (const k of talk.keys()) expect(announcedOf(run("open", ...on, ...talk.slice(0, k + 1)))).toBe("listening");
    expect(announcedOf(run("push", ...on, { type: "held", on: true }))).toBe("hold");
  });
});

describe("troubles", () => {
  it("switches off with the reason, which the next try forgets", () => {
    const refused = run("open", { type: "asked" }, { type: "refused", trouble: "denied" });
    expect(refused).toMatchObject({ phase: "off", trouble: "denied" });
    expect(reduceVoice(refused, { type: "asked" }).trouble).toBeUndefined();
    expect(reduceVoice(refused, { type: "closed" }).trouble).toBeUndefined();
  });

  it("switches off when the server finds that it cannot listen", () => {
    const deaf = run("open", { type: "asked" }, { type: "opened" }, hear({ event: "error", text: "she cannot hear: whisper-base: no weights" }));
    expect(deaf).toMatchObject({ phase: "off", trouble: "deaf", detail: "whisper-base: no weights" });
  });

  it("survives a turn that failed", () => {
    const failed = run("open", ...on, simple("user.started"), ended("finished"), hear({ event: "error", text: "llm: away" }));
    expect(shownOf(failed)).toBe("listening");
  });

  it("keeps the microphone over a reconnection, until the new session listens", () => {
    const left = run("open", ...on, simple("user.started"), { type: "left" });
    expect([shownOf(left), shownOf(reduceVoice(left, listening("ready")))]).toEqual(["waking", "listening"]);
  });

  it("is ready at once when it is switched on again in a session that listens already", () => {
    expect(shownOf(run("open", ...on, { type: "closed" }, { type: "opened" }))).toBe("listening");
  });
});

describe("ears", () => {
  it.each<[Way, VoiceAction[], string, boolean]>([
    ["open", [], "muted", false],
    ["open", on, "open", true],
    ["open", [...on, { type: "muted", on: true }], "muted", false],
    ["push", on, "waiting", false],
    ["push", [...on, { type: "held", on: true }], "held", true],
    ["push", [...on, { type: "held", on: true }, { type: "held", on: false }], "waiting", false],
    ["push", [...on, { type: "held", on: true }, { type: "way", way: "open" }], "open", true],
    ["open", [...on, { type: "closed" }], "muted", false],
  ])("%s %j are %s", (way, actions, ears, open) => {
    const state = run(way, ...actions);
    expect([earsOf(state), isOpen(state)]).toEqual([ears, open]);
  });
});

describe("parseVoiceEvent", () => {
  it("reads what the server sends", () => {
    expect(parseVoiceEvent('{"event":"transcript.partial","text":"你好","language":"zh","turn":1,"at":2}')).toEqual({
      event: "transcript.partial", text: "你好", language: "zh",
    });
    expect(parseVoiceEvent('{"event":"turn.ended","wait_s":0.3,"reason":"finished"}')).toEqual({ event: "turn.ended", reason: "finished" });
    expect(parseVoiceEvent('{"event":"error","message":"recogniser failed: x"}')).toEqual({ event: "error", text: "recogniser failed: x" });
  });

  it("reads the stages of an answer, also of one that was written before the turn had ended", () => {
    const message = '{"event":"latency","turn_s":0.4,"first_text_s":null,"first_voice_s":0.25,"first_picture_s":0.05,"first_sound_s":0.3,"total_s":0.7}';
    expect(parseVoiceEvent(message)).toEqual({
      event: "latency", latency: { turnS: 0.4, textS: 0, voiceS: 0.25, pictureS: 0.05, totalS: 0.7 },
    });
    const plain = '{"event":"latency","turn_s":0.4,"first_sound_s":0.3,"total_s":0.7}';
    expect(parseVoiceEvent(plain)).toMatchObject({ latency: { voiceS: 0.3, pictureS: 0 } });
  });

  it.each(["", "hello", "null", "[]", '{"event":"word","text":"x"}', '{"event":"latency"}', '{"event":3}'])("ignores %j", (message) => {
    expect(parseVoiceEvent(message)).toBeUndefined();
  });
});
