/** Silence as soon as the server says that she has stopped: what it sent before is still on its way to the loudspeaker. */

import { parseSpeechEvent } from "./speech";

/** Longer than network, buffer and device hold of what was sent; another answer is later than that. */
export const HUSH_MS = 300;

export class Hush {
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `tracks` gives those of her sound, whenever it is asked. */
  constructor(private readonly tracks: () => readonly MediaStreamTrack[]) {}

  /** Takes a message of the events channel, before anybody else does. */
  hear(message: string): void {
    switch (parseSpeechEvent(message)?.event) {
      case "paused":
      case "interrupted":
        this.end();
        this.enable(false);
        this.timer = setTimeout(() => this.end(), HUSH_MS);
        break;
      case "resumed":
      case "speech.started": // told as it is sent: its sound comes a buffer's length later
        this.end();
        break;
      default:
        break;
    }
  }

  /** She may be heard again. */
  end(): void {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.enable(true);
  }

  private enable(on: boolean): void {
    for (const track of this.tracks()) track.enabled = on;
  }
}
