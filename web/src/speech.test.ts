import { describe, expect, it } from "vitest";

import { type Caption, NO_CAPTION, parseSpeechEvent, reduceCaption, type SpeechEvent } from "./speech";

function hear(...events: [SpeechEvent["event"], string?, number?][]): Caption {
  return events.reduce((caption, [event, text = "", turn = 1]) => reduceCaption(caption, { event, text, turn }), NO_CAPTION);
}

const heardPart = ({ clause, spoken }: Caption) => clause.slice(0, spoken);

describe("parseSpeechEvent", () => {
  it("reads the server's message", () => {
    expect(parseSpeechEvent('{"text":"Hello,","event":"clause.started","turn":3,"at":1.2}')).toEqual({
      event: "clause.started", turn: 3, text: "Hello,",
    });
  });

  it("prefers the message of an error over its clause", () => {
    expect(parseSpeechEvent('{"event":"error","turn":1,"text":"clause","message":"kokoro: out of memory"}')?.text).toBe("kokoro: out of memory");
  });

  it.each(["", "hello", "null", "[]", '{"event":"unheard.of","turn":1}', '{"turn":1}'])("ignores %j", (message) => {
    expect(parseSpeechEvent(message)).toBeUndefined();
  });
});

describe("reduceCaption", () => {
  it("shows the clause, not the whole utterance", () => {
    expect(hear(["speech.started", "Hello. How are you?"])).toMatchObject({ clause: "", speaking: true });
    expect(hear(["speech.started", "Hello. How are you?"], ["clause.started", "Hello."]).clause).toBe("Hello.");
  });

  it("follows the words, each from where the last ended", () => {
    const caption = hear(["clause.started", "The cat saw the dog."], ["word", "The"], ["word", "cat"], ["word", "saw"], ["word", "the"]);
    expect(heardPart(caption)).toBe("The cat saw the");
  });

  it("follows Chinese words, and words in another case", () => {
    expect(heardPart(hear(["clause.started", "你好，很高兴认识你。"], ["word", "你好"], ["word", "高兴"]))).toBe("你好，很高兴");
    expect(heardPart(hear(["clause.started", "HELLO there"], ["word", "hello"]))).toBe("HELLO");
  });

  it("is not thrown by a word the clause does not have, or has only far ahead", () => {
    const clause = "It costs 20 dollars, and that is really not too much for it";
    expect(heardPart(hear(["clause.started", clause], ["word", "It"], ["word", "twenty"]))).toBe("It");
    expect(heardPart(hear(["clause.started", clause], ["word", "It"], ["word", "for"]))).toBe("It");
  });

  it("empties at once when she is interrupted, and ignores what is left of the old turn", () => {
    const interrupted = hear(["clause.started", "Hello.", 1], ["interrupted", "", 2], ["clause.started", "late", 1]);
    expect(interrupted).toMatchObject({ clause: "", speaking: false, turn: 2 });
  });

  it("holds the clause while somebody speaks over her", () => {
    const paused = hear(["clause.started", "Hello there."], ["word", "Hello"], ["paused"]);
    expect(paused).toMatchObject({ clause: "Hello there.", spoken: 5, speaking: false });
    expect(reduceCaption(paused, { event: "resumed", text: "", turn: 1 })).toMatchObject({ spoken: 5, speaking: true });
  });

  it("keeps the last clause in sight when she ends", () => {
    expect(hear(["clause.started", "Bye."], ["speech.ended"])).toMatchObject({ clause: "Bye.", speaking: false });
  });
});
