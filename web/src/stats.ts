/** The figures of the statistics panel, from two reports of `RTCPeerConnection.getStats`. */

export interface Figures {
  fps?: number;
  width?: number;
  height?: number;
  /** Video and sound together. */
  kbps?: number;
  rttMs?: number;
  videoBufferMs?: number;
  audioBufferMs?: number;
  packetsLost: number;
  /** Of all packets, 0..100. */
  lostPercent: number;
  freezes?: number;
  /** How far the sound is ahead of the picture, from the sender's clock on what is being played. Negative: behind. */
  offsetMs?: number;
  codec?: string;
  /** `udp host` and the like. */
  path?: string;
}

/** What is needed of one report to compare it with the next. */
export interface Sample {
  atMs: number;
  rows: Row[];
}

export type Row = Record<string, unknown> & { id: string; type: string };

export function sampleOf(report: RTCStatsReport): Sample {
  const rows = [...report.values()] as Row[];
  return { atMs: performance.now(), rows };
}

export function figuresOf(now: Sample, before?: Sample): Figures {
  const video = inbound(now, "video");
  const audio = inbound(now, "audio");
  const videoBefore = before && inbound(before, "video");
  const audioBefore = before && inbound(before, "audio");
  const lost = sum([video, audio], "packetsLost");
  const received = sum([video, audio], "packetsReceived");
  const bytes = sum([video, audio], "bytesReceived") - sum([videoBefore, audioBefore], "bytesReceived");
  const pair = now.rows.find((row) => row.type === "candidate-pair" && row["nominated"] === true && row["state"] === "succeeded");
  const figures: Figures = { packetsLost: lost, lostPercent: lost + received > 0 ? (100 * lost) / (lost + received) : 0 };
  put(figures, "fps", number(video, "framesPerSecond"));
  put(figures, "width", number(video, "frameWidth"));
  put(figures, "height", number(video, "frameHeight"));
  put(figures, "freezes", number(video, "freezeCount"));
  if (before && now.atMs > before.atMs) put(figures, "kbps", (8 * bytes) / (now.atMs - before.atMs));
  put(figures, "rttMs", scale(number(pair, "currentRoundTripTime"), 1000));
  put(figures, "videoBufferMs", bufferMs(video, videoBefore));
  put(figures, "audioBufferMs", bufferMs(audio, audioBefore));
  put(figures, "offsetMs", difference(number(audio, "estimatedPlayoutTimestamp"), number(video, "estimatedPlayoutTimestamp")));
  put(figures, "codec", codecs(now, video, audio));
  put(figures, "path", path(now, pair));
  return figures;
}

function put<K extends keyof Figures>(figures: Figures, key: K, value: Figures[K] | undefined): void {
  if (value !== undefined) figures[key] = value;
}

function inbound(sample: Sample, kind: string): Row | undefined {
  return sample.rows.find((row) => row.type === "inbound-rtp" && row["kind"] === kind);
}

function number(row: Row | undefined, key: string): number | undefined {
  const value = row?.[key];
  return typeof value === "number" ? value : undefined;
}

function sum(rows: (Row | undefined)[], key: string): number {
  return rows.reduce((total, row) => total + (number(row, key) ?? 0), 0);
}

function scale(value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : value * factor;
}

function difference(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a - b;
}

/** Mean delay of what left the buffer between the two reports, or since the start. */
function bufferMs(now: Row | undefined, before: Row | undefined): number | undefined {
  const emitted = (number(now, "jitterBufferEmittedCount") ?? 0) - (number(before, "jitterBufferEmittedCount") ?? 0);
  const delay = (number(now, "jitterBufferDelay") ?? 0) - (number(before, "jitterBufferDelay") ?? 0);
  return emitted > 0 ? (1000 * delay) / emitted : undefined;
}

function codecs(sample: Sample, ...streams: (Row | undefined)[]): string | undefined {
  const names = streams.map((stream) => sample.rows.find((row) => row.id === stream?.["codecId"])?.["mimeType"]);
  const known = names.filter((name) => typeof name === "string").map((name) => name.slice(name.indexOf("/") + 1));
  return known.length > 0 ? known.join(" + ") : undefined;
}

function path(sample: Sample, pair: Row | undefined): string | undefined {
  const local = sample.rows.find((row) => row.id === pair?.["localCandidateId"]);
  const remote = sample.rows.find((row) => row.id === pair?.["remoteCandidateId"]);
  if (!local || !remote) return undefined;
  return `${String(local["protocol"] ?? "?").toUpperCase()} ${String(local["candidateType"])} → ${String(remote["candidateType"])}`;
}
