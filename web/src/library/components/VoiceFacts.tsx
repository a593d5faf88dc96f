/** All that is known of a voice, its owner's part only for its owner. */

import { IconButton } from "../../components/IconButton";
import { useLibrary } from "../context";
import { count, fine, languageName, moment, seconds } from "../format";
import { useFile, useSimilar } from "../queries";
import type { VoiceInfo } from "../shapes";
import { Facts } from "./Facts";
import { Waveform } from "./Waveform";

const HASH_SHOWN = 12;

export function KnownFacts({ voice }: { voice: VoiceInfo }) {
  const { words, language } = useLibrary();
  const v = words.voice;
  const vector = voice.embedding_hash === "" ? "" : `${voice.embedding_model} · ${voice.embedding_hash.slice(0, HASH_SHOWN)}…`;
  const { data: near } = useSimilar(voice.voiceId);
  const score = voice.similarity === null || !near ? "" : v.similarityOf(fine(voice.similarity, language), fine(near.same_speaker, language));
  const more = Object.entries(voice.metadata).map(([name, value]) => ({ name, value: typeof value === "string" ? value : JSON.stringify(value) }));
  return (
    <section className="panel" aria-labelledby="facts">
      <h2 id="facts">{v.facts}</h2>
      <Facts
        facts={[
          { name: v.id, value: <VoiceId id={voice.voiceId} /> },
          { name: v.createdAt, value: moment(voice.created_at, language) },
          { name: v.createdBy, value: voice.owner },
          { name: v.maker, value: voice.maker },
          { name: v.model, value: voice.model },
          { name: v.languages, value: voice.languages.map((tag) => languageName(tag, language)).join(", ") },
          { name: v.gender, value: voice.gender === "" ? "" : words.gender[voice.gender] },
          { name: v.similarity, value: score },
          { name: v.embedding, value: vector },
          { name: v.visibility, value: voice.public ? words.badge.public : words.badge.private },
          ...more,
        ]}
      />
    </section>
  );
}

function VoiceId({ id }: { id: string }) {
  const { words, tell } = useLibrary();
  const copy = () => {
    void navigator.clipboard.writeText(id).then(() => tell(words.voice.copied));
  };
  return (
    <span className="voice-id">
      <code>{id}</code>
      {/* Browsers have a clipboard on secure pages only. */}
      {isSecureContext && <IconButton icon="copy" label={words.voice.copy} onClick={copy} />}
    </span>
  );
}

export function UsageFacts({ voice }: { voice: VoiceInfo }) {
  const { words, language } = useLibrary();
  const v = words.voice;
  return (
    <section className="panel" aria-labelledby="usage">
      <h2 id="usage">{v.usage}</h2>
      <Facts
        facts={[
          { name: v.calls, value: count(voice.usage.calls, language) },
          { name: v.characters, value: count(voice.usage.characters, language) },
          { name: v.spoken, value: seconds(voice.usage.seconds, language) },
          { name: v.lastUsed, value: moment(voice.last_used_at, language) || v.never },
        ]}
      />
    </section>
  );
}

/** The recording and what was agreed to. */
export function OwnersFacts({ voice }: { voice: VoiceInfo }) {
  const { words, language } = useLibrary();
  const v = words.voice;
  const { data: file, refetch } = useFile(voice.fileId);
  if (!voice.mine) return null;
  const snr = file && new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(file.checks.snr_db);
  return (
    <section className="panel" aria-labelledby="recording">
      <h2 id="recording">
        {v.recording} <span className="faint panel-aside">{v.recordingHint}</span>
      </h2>
      {file && <Waveform source={file.url} name={v.recording} peaks={file.peaks} seconds={file.duration} onFailed={() => void refetch()} />}
      <Facts
        facts={[
          { name: v.transcript, value: voice.text },
          { name: v.snr, value: snr === undefined ? "" : `${snr} dB` },
          { name: v.consent, value: voice.consent && v.consentBy(voice.consent.speaker, moment(voice.consent.agreed_at, language)) },
        ]}
      />
      {voice.consent && (
        <blockquote className="statement">
          <p>{v.relations[voice.consent.relation]}</p>
          <p className="faint">{voice.consent.text}</p>
        </blockquote>
      )}
    </section>
  );
}
