/** The microphone: opened when somebody asks for it, closed for good when they no longer do, and why it cannot be had. */

/** Why nobody is heard. Each one has a plain reason and a remedy in `i18n-voice.ts`. */
export type MicrophoneTrouble =
  | "insecure" // the page did not come by HTTPS, where browsers have no microphones
  | "unsupported" // a browser without `getUserMedia`
  | "denied" // by the person, or by a rule of the browser
  | "system" // the browser itself is not allowed
  | "missing" // no microphone is plugged in
  | "busy" // another program holds it
  | "unplugged" // it went away while it was on
  | "revoked" // the permission was taken back while it was on
  | "deaf" // the server does not listen
  | "failed"; // anything else

/** The browser's own canceller comes first: what she says must not come back through the loudspeaker. */
export const CONSTRAINTS: MediaStreamConstraints = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: { ideal: 1 } },
};

export interface Surroundings {
  secure: boolean;
  devices: Pick<MediaDevices, "getUserMedia"> | undefined;
}

export class MicrophoneError extends Error {
  override readonly name = "MicrophoneError";

  constructor(
    readonly trouble: MicrophoneTrouble,
    /** The browser's own words. */
    readonly detail = "",
  ) {
    super(detail || trouble);
  }
}

/** Asks for the microphone, as `wish` says. Throws `MicrophoneError`. */
export async function openMicrophone({ secure, devices }: Surroundings, wish = CONSTRAINTS): Promise<MediaStreamTrack> {
  if (!devices) throw new MicrophoneError(secure ? "unsupported" : "insecure");
  let stream: MediaStream;
  try {
    stream = await devices.getUserMedia(wish);
  } catch (error) {
    throw new MicrophoneError(troubleOfMicrophone(error, secure), error instanceof Error ? error.message : "");
  }
  const [track] = stream.getAudioTracks();
  if (!track) throw new MicrophoneError("missing");
  return track;
}

/** What a refusal of `getUserMedia` means; the names are those of the Media Capture specification and older browsers. */
export function troubleOfMicrophone(error: unknown, secure: boolean): MicrophoneTrouble {
  const { name, message } = error instanceof Error || error instanceof DOMException ? error : new Error();
  switch (name) {
    case "NotAllowedError":
    case "PermissionDeniedError":
      return /system/i.test(message) ? "system" : "denied";
    case "SecurityError":
      return secure ? "denied" : "insecure";
    case "NotFoundError":
    case "DevicesNotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "TrackStartError":
    case "AbortError":
      return "busy";
    default:
      return "failed";
  }
}

/** Why a track that was on has ended: somebody took the permission back, or the device away. */
export async function reasonOfEnd(permissions: Pick<Permissions, "query"> | undefined): Promise<MicrophoneTrouble> {
  try {
    const status = await permissions?.query({ name: "microphone" as PermissionName });
    return status?.state === "denied" ? "revoked" : "unplugged";
  } catch {
    return "unplugged"; // a browser that does not tell
  }
}

const QUIET_DBFS = -60;
const LOUD_DBFS = -12;

/** Loudness of samples of -1..1 as 0..1 of a meter: from a quiet room to a voice close by, in even steps of loudness. */
export function meterLevel(samples: Float32Array): number {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  const dbfs = 10 * Math.log10(energy / Math.max(samples.length, 1) + 1e-10);
  return Math.min(1, Math.max(0, (dbfs - QUIET_DBFS) / (LOUD_DBFS - QUIET_DBFS)));
}

/** One microphone that is on. `close` frees it. */
export class Microphone {
  private readonly context = new AudioContext();
  private readonly tap = this.context.createAnalyser();
  private readonly samples: Float32Array<ArrayBuffer>;

  constructor(readonly track: MediaStreamTrack) {
    this.tap.fftSize = 1_024; // 21 ms at 48 kHz
    this.samples = new Float32Array(this.tap.fftSize);
    this.context.createMediaStreamSource(new MediaStream([track])).connect(this.tap);
    void this.context.resume().catch(() => undefined); // the meter stands still then, and all else works
  }

  /** 0..1 of a meter. */
  level(): number {
    this.tap.getFloatTimeDomainData(this.samples);
    return meterLevel(this.samples);
  }

  /** Sends sound, or silence that nobody can listen to. */
  let(through: boolean): void {
    this.track.enabled = through;
  }

  /** Follows its fate: `silenced` hears whether device or system hold it back, `ended` that it is gone. */
  follow(silenced: (on: boolean) => void, ended: () => void): void {
    const tell = () => silenced(this.track.muted);
    this.track.onmute = this.track.onunmute = tell;
    this.track.onended = ended;
    tell();
  }

  close(): void {
    this.track.onended = this.track.onmute = this.track.onunmute = null;
    this.track.stop();
    void this.context.close().catch(() => undefined);
  }
}
