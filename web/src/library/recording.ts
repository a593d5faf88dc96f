/** A recording before it is uploaded: what can be told of it here, and the part of it that is to be used. */

import { looksLikeSound } from "../hooks/use-upload";

export type FileFault = "notSound" | "empty" | "tooLarge" | "tooShort" | "tooLong";

export interface Lengths {
  seconds_min: number;
  seconds_max: number;
}

/** Seconds of a recording. */
export interface Part {
  from: number;
  length: number;
}

const MIB = 2 ** 20;
/** As the server has it: a recording stopped at exactly ten seconds may be a buffer longer. */
const SLACK_S = 0.05;
const DECODE_RATE_HZ = 48_000;
const WAV_HEADER_BYTES = 44;

/** What is wrong with a file at first sight. */
export function fileFault(file: Pick<File, "name" | "type" | "size">, mibMax: number): FileFault | undefined {
  if (!looksLikeSound(file)) return "notSound";
  if (file.size === 0) return "empty";
  return file.size > mibMax * MIB ? "tooLarge" : undefined;
}

/** What is wrong with its length; silence at its ends, which the server cuts, is not known here. */
export function lengthFault(seconds: number, { seconds_min, seconds_max }: Lengths): FileFault | undefined {
  if (seconds < seconds_min - SLACK_S) return "tooShort";
  return seconds > seconds_max + SLACK_S ? "tooLong" : undefined;
}

/** A part inside the recording and of a length that is taken. */
export function within({ from, length }: Part, seconds: number, { seconds_min, seconds_max }: Lengths): Part {
  const kept = Math.min(seconds_max, Math.max(seconds_min, length));
  return { from: Math.min(Math.max(0, from), Math.max(0, seconds - kept)), length: kept };
}

/** The sound of a file; undefined where this browser cannot read it, which the server may. */
export async function decoded(file: Blob): Promise<AudioBuffer | undefined> {
  try {
    return await new OfflineAudioContext(1, 1, DECODE_RATE_HZ).decodeAudioData(await file.arrayBuffer());
  } catch {
    return undefined;
  }
}

/** Part of a recording as a WAV file: one channel, 16 bit. */
export function cutOut(sound: Pick<AudioBuffer, "sampleRate" | "numberOfChannels" | "getChannelData">, { from, length }: Part, name: string): File {
  const begin = Math.round(from * sound.sampleRate);
  const channels = Array.from({ length: sound.numberOfChannels }, (_, k) => sound.getChannelData(k).subarray(begin, begin + Math.round(length * sound.sampleRate)));
  const samples = new Int16Array(channels[0]?.length ?? 0);
  for (let k = 0; k < samples.length; k++) {
    const mean = channels.reduce((sum, channel) => sum + (channel[k] ?? 0), 0) / channels.length;
    samples[k] = Math.round(32_767 * Math.min(1, Math.max(-1, mean)));
  }
  const base = name.replace(/\.[^.]*$/, "");
  return new File([wavHeader(samples.byteLength, sound.sampleRate), samples], `${base}.wav`, { type: "audio/wav" });
}

function wavHeader(dataBytes: number, rateHz: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(WAV_HEADER_BYTES));
  const text = (at: number, word: string) => [...word].forEach((letter, k) => view.setUint8(at + k, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, WAV_HEADER_BYTES - 8 + dataBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, rateHz, true);
  view.setUint32(28, 2 * rateHz, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, dataBytes, true);
  return view;
}
