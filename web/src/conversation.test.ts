import { describe, expect, it } from "vitest";

import { type Conversation, type ConversationAction, EMPTY, reduceConversation, saidNow, wording } from "./conversation";
import type { SpeechEvent } from "./speech";
import type { VoiceEvent } from "./voice-events";

const run = (...actions: ConversationAction[]): Conversation => actions.reduce(reduceConversation, EMPTY);
const heard = (event: SpeechEvent["event"], text = "", turn = 1): ConversationAction => ({ type: "heard", event: { event, text, turn } });
const echo = (text: string): ConversationAction => ({ type: "sent", kind: "echo", text });
const chat = (text: string): ConversationAction => ({ type: "sent", kind: "chat", text });
const voice = (event: VoiceEvent): ConversationAction => ({ type: "voice", event });
const partial = (text: string) => voice({ event: "transcript.partial", text, language: "en" });
const shown = ({ lines }: Conversation) => lines.map((line) => [line.who, wording(line), line.state]);

describe("reduceConversation", () => {
  it("follows one sentence from sent to said", () => {
    expect(shown(run(echo("Hello. Bye.")))).toEqual([["presenter", "Hello. Bye.", "waiting"]]);
    expect(shown(run(echo("Hello. Bye."), heard("speech.started", "Hello. Bye.")))).toEqual([["presenter", "Hello. Bye.", "speaking"]]);
    const said = run(echo("Hello. Bye."), heard("speech.started"), heard("clause.started", "Hello."), heard("speech.ended"));
    expect(shown(said)).toEqual([["presenter", "Hello. Bye.", "said"]]);
  });

  it("hears sentences in their order", () => {
    const both = run(echo("One."), echo("Two."), heard("speech.started", "One."), heard("speech.ended"), heard("speech.started", "Two."));
    expect(shown(both).map(([, , state]) => state)).toEqual(["said", "speaking"]);
  });

  it("finds the sentence by its text when one before it was never heard", () => {
    const states = shown(run(echo("One."), echo("Two."), heard("speech.started", "Two."))).map(([, , state]) => state);
    expect(states).toEqual(["waiting", "speaking"]);
  });

  it("shows a question and the answer as it is heard", () => {
    const asked = run(chat("Who are you?"), heard("speech.started", "I am Mira."), heard("clause.started", "I am Mira."));
    expect(shown(reduceConversation(asked, heard("clause.started", "Nice to meet you.")))).toEqual([
      ["you", "Who are you?", "said"],
      ["presenter", "I am Mira. Nice to meet you.", "speaking"],
    ]);
  });

  it("joins Chinese clauses without a space", () => {
    const asked = run(chat("你是谁？"), heard("speech.started"), heard("clause.started", "我是米拉，"), heard("clause.started", "很高兴认识你。"));
    expect(shown(asked)[1]).toEqual(["presenter", "我是米拉，很高兴认识你。", "speaking"]);
  });

  it("shows only what was heard of a sentence that was stopped", () => {
    const stopped = run(echo("One. Two."), heard("speech.started"), heard("clause.started", "One."), { type: "stopped" });
    expect(shown(stopped)).toEqual([["presenter", "One.", "stopped"]]);
  });

  it("lets the next question survive the interruption it causes", () => {
    const lines = shown(run(echo("Long."), heard("speech.started"), { type: "stopped" }, chat("Next?"), heard("interrupted", "", 2)));
    expect(lines.map(([, , state]) => state)).toEqual(["stopped", "said", "waiting"]);
  });

  it("gives speech that was asked for elsewhere its own line", () => {
    const lines = run(heard("speech.started", "From another program. It speaks."), heard("clause.started", "From another program."));
    expect(shown(lines)).toEqual([["presenter", "From another program.", "speaking"]]);
  });

  it("takes back what the server refused, question and awaited answer", () => {
    expect(run(echo("Hello."), chat("Who?"), { type: "refused", text: "Who?" }).lines).toHaveLength(1);
    expect(run(echo("Hello."), { type: "refused", text: "Hello." }).lines).toHaveLength(0);
  });

  it("shows what is said as it is recognised, then the answer", () => {
    const asking = run(voice({ event: "transcript.partial", text: "What is", language: "en" }));
    expect(shown(asking)).toEqual([["you", "What is", "speaking"]]);
    expect(saidNow(asking)).toBe("What is");
    const asked = [voice({ event: "transcript.final", text: "What is the time?", language: "en" }), voice({ event: "turn.ended", reason: "finished" })];
    const waiting = asked.reduce(reduceConversation, asking);
    expect(shown(waiting)).toEqual([["you", "What is the time?", "said"], ["presenter", "", "waiting"]]);
    expect(saidNow(waiting)).toBe("");
    expect(waiting.lines[0]).toMatchObject({ kind: "voice", language: "en" });
    const answered = [heard("speech.started", "Noon."), heard("clause.started", "Noon."), heard("speech.ended")].reduce(reduceConversation, waiting);
    expect(shown(answered)[1]).toEqual(["presenter", "Noon.", "said"]);
  });

  it("does not take what she says for what you say", () => {
    const both = run(echo("Long."), heard("speech.started", "Long."), partial("Wait"), heard("speech.ended"));
    expect(shown(both).map(([, , state]) => state)).toEqual(["said", "speaking"]);
    expect(shown(reduceConversation(both, { type: "stopped" }))[1]?.[2]).toBe("speaking");
  });

  it("ends everything she had to say when you speak over her, but not the answer to that", () => {
    const over = run(echo("One."), echo("Two."), heard("speech.started", "One."), partial("Stop"), heard("interrupted"));
    expect(shown(over).map(([, , state]) => state)).toEqual(["stopped", "stopped", "speaking"]);
    const late = run(
      echo("One."), heard("speech.started", "One."), voice({ event: "transcript.final", text: "Stop.", language: "en" }),
      voice({ event: "turn.ended", reason: "finished" }), heard("interrupted"),
    );
    expect(shown(late).map(([, , state]) => state)).toEqual(["stopped", "said", "waiting"]);
  });

  it("takes back a caption of which nothing came, and waits for somebody who asked for time", () => {
    expect(run(partial("Hm"), voice({ event: "listening", state: "backchannel" })).lines).toHaveLength(0);
    expect(run(partial("Hm"), voice({ event: "listening", state: "waiting" })).lines).toHaveLength(1);
    expect(run(voice({ event: "transcript.final", text: "Wait.", language: "en" }), voice({ event: "turn.ended", reason: "wait" })).lines).toHaveLength(1);
  });

  it("stops waiting for an answer that cannot come", () => {
    const failed = run(chat("Who?"), voice({ event: "error", text: "llm: away" }));
    expect(shown(failed)).toEqual([["you", "Who?", "said"]]);
    const clause = run(chat("Who?"), heard("speech.started"), voice({ event: "error", text: "kokoro: away" }));
    expect(shown(clause)[1]?.[2]).toBe("speaking");
    expect(shown(run(partial("Hello"), voice({ event: "error", text: "recogniser failed" })))[0]?.[2]).toBe("stopped");
  });

  it("keeps at most 200 lines", () => {
    const many = run(...Array.from({ length: 250 }, (_, k) => echo(`${k}`)));
    expect(many.lines).toHaveLength(200);
    expect(many.lines.at(-1)?.text).toBe("249");
  });
});
