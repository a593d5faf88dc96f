import { describe, expect, it } from "vitest";

import { figuresOf, type Row, type Sample } from "./stats";

function sample(atMs: number, bytes: number, emitted: number, delayS: number): Sample {
  const rows: Row[] = [
    {
      id: "V", type: "inbound-rtp", kind: "video", bytesReceived: bytes, packetsReceived: 95, packetsLost: 5, framesPerSecond: 25,
      frameWidth: 512, frameHeight: 512, jitterBufferDelay: delayS, jitterBufferEmittedCount: emitted, codecId: "CV",
      estimatedPlayoutTimestamp: 1_000,
    },
    { id: "A", type: "inbound-rtp", kind: "audio", bytesReceived: 0, packetsReceived: 100, packetsLost: 0, estimatedPlayoutTimestamp: 1_012, codecId: "CA" },
    { id: "CV", type: "codec", mimeType: "video/H264" },
    { id: "CA", type: "codec", mimeType: "audio/opus" },
    { id: "P0", type: "candidate-pair", nominated: false, state: "waiting" },
    { id: "P", type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.004, localCandidateId: "L", remoteCandidateId: "R" },
    { id: "L", type: "local-candidate", protocol: "udp", candidateType: "prflx" },
    { id: "R", type: "remote-candidate", protocol: "udp", candidateType: "host" },
  ];
  return { atMs, rows };
}

describe("figuresOf", () => {
  it("reads rates from the difference of two reports", () => {
    const figures = figuresOf(sample(2_000, 225_000, 150, 14), sample(1_000, 100_000, 100, 9));
    expect(figures.kbps).toBeCloseTo(1_000);
    expect(figures.videoBufferMs).toBeCloseTo(100);
  });

  it("reads what stands in one report", () => {
    const figures = figuresOf(sample(1_000, 1, 1, 0));
    expect(figures).toMatchObject({ fps: 25, width: 512, rttMs: 4, packetsLost: 5, offsetMs: 12, codec: "H264 + opus", path: "UDP prflx → host" });
    expect(figures.lostPercent).toBeCloseTo(2.5);
    expect(figures.kbps).toBeUndefined();
  });

  it("leaves out what a browser does not report", () => {
    expect(figuresOf({ atMs: 1, rows: [] })).toEqual({ packetsLost: 0, lostPercent: 0 });
  });
});
