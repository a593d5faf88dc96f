/** One voice: heard, put to use, known. */

import { useState } from "react";
import { Link, useLocation } from "wouter";

import { Icon } from "../../components/Icon";
import { ApiError } from "../../wire";
import { KindBadge, kindOf } from "../components/Badges";
import { EditWindow } from "../components/EditWindow";
import { Orb } from "../components/Orb";
import { RemoveWindow } from "../components/RemoveWindow";
import { Blank, Failure, Skeletons } from "../components/States";
import { KnownFacts, OwnersFacts, UsageFacts } from "../components/VoiceFacts";
import { VoiceTile } from "../components/VoiceTile";
import { Waveform } from "../components/Waveform";
import { useLibrary } from "../context";
import { useSimilar, useVoice } from "../queries";
import type { VoiceInfo } from "../shapes";
import { useTitle } from "../use-title";

/** The library's ids; anything else it refuses as nonsense, which is no voice either. */
const VOICE_ID = /^voice-[0-9a-f]{24}$/;

export function VoicePage({ id }: { id: string }) {
  const { words } = useLibrary();
  const { data: voice, error, refetch } = useVoice(id);
  useTitle(voice?.name ?? words.product);
  if (error && !voice) {
    const gone = error instanceof ApiError && (error.status === 404 || !VOICE_ID.test(id));
    if (!gone) return <Failure error={error} onRetry={() => void refetch()} />;
    return (
      <Blank whole icon="search" title={words.trouble.gone} text={words.trouble.goneRemedy}>
        <Link href="/voices" className="button">
          {words.trouble.toDiscover}
        </Link>
      </Blank>
    );
  }
  return (
    <>
      <Link href="/voices" className="back">
        <Icon name="back" />
        {words.voice.back}
      </Link>
      {voice ? <Known voice={voice} onStale={() => void refetch()} /> : <Skeletons number={2} className="panel" />}
    </>
  );
}

function Known({ voice, onStale }: { voice: VoiceInfo; onStale(): void }) {
  const { words } = useLibrary();
  return (
    <>
      <Hero voice={voice} />
      <section className="panel sample" aria-labelledby="preview">
        <h2 id="preview">{words.voice.preview}</h2>
        {voice.sample_url === "" ? (
          <p className="faint">{words.voice.noPreview}</p>
        ) : (
          <Waveform source={voice.sample_url} name={voice.name} saved onFailed={onStale} />
        )}
        {voice.sample_text !== "" && <p className="faint">{words.voice.says(voice.sample_text)}</p>}
      </section>
      <div className="columns">
        <KnownFacts voice={voice} />
        <UsageFacts voice={voice} />
      </div>
      <OwnersFacts voice={voice} />
      <Similar id={voice.voiceId} />
    </>
  );
}

function Hero({ voice }: { voice: VoiceInfo }) {
  const { words, deck } = useLibrary();
  const [, navigate] = useLocation();
  const [open, setOpen] = useState<"edit" | "remove">();
  return (
    <div className="hero">
      <Orb id={voice.voiceId} size="large" />
      <div className="hero-text">
        <h1>{voice.name}</h1>
        <p className="hero-badges">
          <KindBadge voice={voice} />
          {voice.mine ? <span className="badge">{voice.public ? words.badge.public : words.badge.private}</span> : <span className="faint">{words.by(voice.owner)}</span>}
          {voice.tags.map((tag) => (
            <Link key={tag} href={`/voices?q=${encodeURIComponent(tag)}`} className="badge tag">
              #{tag}
            </Link>
          ))}
        </p>
        {voice.description !== "" && <p>{voice.description}</p>}
        <p className="faint">{words.about[kindOf(voice)]}</p>
        <div className="drop-actions">
          <a href={`./?voice=${encodeURIComponent(voice.speak_as)}`} className="button" onClick={() => deck.stop()}>
            <Icon name="clip" />
            {words.voice.speakLive}
          </a>
          <Link href={`/voices/generate?voice=${voice.voiceId}`} className="small-button">
            <Icon name="text" />
            {words.voice.generate}
          </Link>
          {voice.mine && (
            <>
              <button type="button" className="small-button" onClick={() => setOpen("edit")}>
                <Icon name="pencil" />
                {words.voice.edit}
              </button>
              <button type="button" className="small-button" data-tone="bad" onClick={() => setOpen("remove")}>
                <Icon name="trash" />
                {words.voice.delete}
              </button>
            </>
          )}
        </div>
      </div>
      {open === "edit" && <EditWindow voice={voice} onClose={() => setOpen(undefined)} />}
      {open === "remove" && <RemoveWindow voice={voice} onClose={() => setOpen(undefined)} onRemoved={() => navigate("/voices/mine")} />}
    </div>
  );
}

function Similar({ id }: { id: string }) {
  const { words } = useLibrary();
  const { data } = useSimilar(id);
  if (data === undefined || data.voices.length === 0) return null;
  return (
    <section aria-labelledby="similar">
      <h2 id="similar" className="section-head">
        {words.voice.similar}
      </h2>
      <ul className="tiles tiles-row">
        {data.voices.map((voice) => (
          <VoiceTile key={voice.voiceId} voice={voice} />
        ))}
      </ul>
    </section>
  );
}
