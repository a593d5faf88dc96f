/** A recording by the microphone: asked for, running, ended by hand, by its length, or because the microphone went. */

import { useCallback, useEffect, useRef, useState } from "react";

import { MicrophoneError, type MicrophoneTrouble, openMicrophone } from "../microphone";

/** The voice as it is: a canceller or an automatic gain would colour it. */
const WISH: MediaStreamConstraints = { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: true, channelCount: { ideal: 1 } } };
/** What browsers write, the server reads all of them. */
const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];
const TICK_MS = 100;

export interface VoiceRecorder {
  /** Of the microphone, while it is on. */
  stream: MediaStream | undefined;
  asking: boolean;
  seconds: number;
  trouble: MicrophoneTrouble | undefined;
  start(): void;
  stop(): void;
}

interface Running {
  stream: MediaStream;
  recorder: MediaRecorder;
  beganMs: number;
}

export function useVoiceRecorder(secondsMax: number, onRecorded: (file: File) => void): VoiceRecorder {
  const [running, setRunning] = useState<Running>();
  const [asking, setAsking] = useState(false);
  const [seconds, setSeconds] = useState(0);
  const [trouble, setTrouble] = useState<MicrophoneTrouble>();
  const gone = useRef(false);

  const start = useCallback(async () => {
    setTrouble(undefined);
    setAsking(true);
    try {
      const track = await openMicrophone({ secure: isSecureContext, devices: navigator.mediaDevices }, WISH);
      if (gone.current) return track.stop();
      setSeconds(0);
      setRunning(record(track, (file) => {
        setRunning(undefined);
        if (file && !gone.current) onRecorded(file);
      }));
    } catch (error) {
      setTrouble(error instanceof MicrophoneError ? error.trouble : "failed");
    } finally {
      setAsking(false);
    }
  }, [onRecorded]);

  const stop = useCallback(() => {
    if (running?.recorder.state === "recording") running.recorder.stop();
  }, [running]);

  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => {
      const passed = (performance.now() - running.beganMs) / 1_000;
      setSeconds(Math.min(passed, secondsMax));
      if (passed >= secondsMax) stop();
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [running, secondsMax, stop]);

  useEffect(() => {
    gone.current = false;
    return () => {
      gone.current = true;
    };
  }, []);
  useEffect(() => () => running?.stream.getTracks().forEach((track) => track.stop()), [running]);
  return { stream: running?.stream, asking, seconds, trouble, start: () => void start(), stop };
}

/** Records until it is stopped or the microphone ends; `done` gets what was heard, or nothing. */
function record(track: MediaStreamTrack, done: (file: File | undefined) => void): Running {
  const stream = new MediaStream([track]);
  const type = TYPES.find((name) => MediaRecorder.isTypeSupported(name));
  const recorder = new MediaRecorder(stream, type === undefined ? {} : { mimeType: type });
  const pieces: Blob[] = [];
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  recorder.onstop = () => {
    track.stop();
    const bare = recorder.mimeType.split(";")[0] ?? "";
    const blob = new Blob(pieces, { type: bare });
    done(blob.size > 0 ? new File([blob], `recording.${bare.split("/")[1] ?? "webm"}`, { type: bare }) : undefined);
  };
  recorder.start();
  return { stream, recorder, beganMs: performance.now() };
}
