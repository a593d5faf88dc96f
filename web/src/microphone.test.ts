import { describe, expect, it } from "vitest";

import { explained, voiceEn } from "./i18n-voice";
import { CONSTRAINTS, meterLevel, openMicrophone, reasonOfEnd, troubleOfMicrophone } from "./microphone";

const devices = (outcome: () => Promise<MediaStream>) => ({ getUserMedia: outcome });
const stream = (...tracks: object[]) => ({ getAudioTracks: () => tracks }) as unknown as MediaStream;

describe("openMicrophone", () => {
  it("asks for the browser's echo canceller, noise filter and level control", async () => {
    const track = { kind: "audio" };
    let asked: unknown;
    const found = await openMicrophone({ secure: true, devices: { getUserMedia: async (wish) => ((asked = wish), stream(track)) } });
    expect(found).toBe(track);
    expect(asked).toEqual(CONSTRAINTS);
    expect(CONSTRAINTS.audio).toMatchObject({ echoCancellation: true, noiseSuppression: true, autoGainControl: true });
  });

  it.each([[false, "insecure"], [true, "unsupported"]] as const)("names a page without microphones (secure %s): %s", async (secure, trouble) => {
    await expect(openMicrophone({ secure, devices: undefined })).rejects.toMatchObject({ trouble });
  });

  it("names the refusal, with the browser's words", async () => {
    const refused = devices(() => Promise.reject(new DOMException("Permission denied", "NotAllowedError")));
    await expect(openMicrophone({ secure: true, devices: refused })).rejects.toMatchObject({ trouble: "denied", detail: "Permission denied" });
    await expect(openMicrophone({ secure: true, devices: devices(async () => stream()) })).rejects.toMatchObject({ trouble: "missing" });
  });
});

describe("troubleOfMicrophone", () => {
  it.each([
    ["NotAllowedError", "Permission denied", "denied"],
    ["NotAllowedError", "Permission denied by system", "system"],
    ["SecurityError", "", "denied"],
    ["NotFoundError", "Requested device not found", "missing"],
    ["OverconstrainedError", "", "missing"],
    ["NotReadableError", "Could not start audio source", "busy"],
    ["AbortError", "", "busy"],
    ["TypeError", "", "failed"],
  ] as const)("%s (%s) is %s", (name, message, trouble) => {
    expect(troubleOfMicrophone(new DOMException(message, name), true)).toBe(trouble);
  });

  it("takes anything", () => {
    expect(troubleOfMicrophone("odd", true)).toBe("failed");
  });
});

describe("reasonOfEnd", () => {
  const permissions = (state: PermissionState) => ({ query: async () => ({ state }) as PermissionStatus });

  it("tells a permission taken back from a plug pulled", async () => {
    expect(await reasonOfEnd(permissions("denied"))).toBe("revoked");
    expect(await reasonOfEnd(permissions("granted"))).toBe("unplugged");
    expect(await reasonOfEnd(undefined)).toBe("unplugged");
    expect(await reasonOfEnd({ query: () => Promise.reject(new TypeError("not known here")) })).toBe("unplugged");
  });
});

describe("meterLevel", () => {
  const tone = (amplitude: number) => Float32Array.from({ length: 1_024 }, (_, k) => amplitude * Math.SQRT2 * Math.sin((2 * Math.PI * 8 * k) / 1_024));

  it("is empty in silence, full when close by, and even in loudness between", () => {
    expect(meterLevel(new Float32Array(1_024))).toBe(0);
    expect(meterLevel(tone(0.5))).toBe(1);
    expect(meterLevel(tone(10 ** (-36 / 20)))).toBeCloseTo(0.5, 2);
  });
});

describe("explained", () => {
  it("puts a sentence before what is about talking, and leaves the rest", () => {
    expect(explained("recogniser failed: away", voiceEn)).toMatch(/^What you said could not be recognised\. .*away/);
    expect(explained("chat needs a language model: start the server with --llm_base_url", voiceEn)).toMatch(/^The language model/);
    expect(explained("kokoro: out of memory", voiceEn)).toBe("kokoro: out of memory");
  });
});
