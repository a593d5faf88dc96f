/** Voices to be found: popular ones, and all by search and filter. */

import { useEffect, useEffectEvent, useState } from "react";
import { Link, useSearchParams } from "wouter";

import { Icon } from "../../components/Icon";
import { IconButton } from "../../components/IconButton";
import { GENDERS, LANGUAGES } from "../choices";
import { LanguageOptions, SelectField } from "../components/Fields";
import { Blank, Failure, More, Skeletons } from "../components/States";
import { VoiceTile } from "../components/VoiceTile";
import { useLibrary } from "../context";
import { usePopular, useVoices } from "../queries";
import type { Gender, VoiceQuery } from "../shapes";
import { useTitle } from "../use-title";

const SCOPES = ["all", "public", "mine", "builtin"] as const;
const SORTS = ["newest", "popular", "name"] as const;
const POPULAR = 4;
/** So many are seen at a glance: popular ones among them need no row of their own. */
const FEW = 8;
const SKELETONS = 8;

/** What the address asks for; what it does not know counts as not asked. */
export function queryOf(parameters: URLSearchParams): VoiceQuery {
  const one = <T extends string>(name: string, known: readonly T[], usual: T): T => known.find((value) => value === parameters.get(name)) ?? usual;
  return {
    scope: one("scope", SCOPES, "all"),
    q: parameters.get("q") ?? "",
    language: one<string>("language", LANGUAGES, ""),
    gender: one<Gender>("gender", GENDERS, ""),
    sort: one("sort", SORTS, "newest"),
  };
}

export function Discover() {
  const { words } = useLibrary();
  const [parameters, setParameters] = useSearchParams();
  const query = queryOf(parameters);
  const found = useVoices(query);
  useTitle(words.pages.discover);
  const ask = (change: Partial<VoiceQuery>) => {
    const wanted = Object.entries({ ...query, ...change }).filter(([name, value]) => value !== "" && !(name === "scope" && value === "all") && !(name === "sort" && value === "newest"));
    setParameters(wanted, { replace: true });
  };
  const plain = query.q === "" && query.language === "" && query.gender === "";
  return (
    <>
      <div className="page-head">
        <h1>{words.discover.heading}</h1>
        <p>{words.discover.intro}</p>
      </div>
      <Filters query={query} onAsk={ask} />
      {plain && query.scope === "all" && query.sort === "newest" && (found.data?.pages[0]?.total ?? 0) > FEW && <Popular />}
      <Found found={found} query={query} plain={plain} onAsk={ask} />
    </>
  );
}

interface AskProps {
  query: VoiceQuery;
  onAsk(change: Partial<VoiceQuery>): void;
}

function Filters({ query, onAsk }: AskProps) {
  const { words } = useLibrary();
  const { discover } = words;
  return (
    <search className="filters">
      <Search value={query.q} onChange={(q) => onAsk({ q })} />
      <fieldset className="segmented" aria-label={discover.scope}>
        {SCOPES.map((scope) => (
          <label key={scope}>
            <input type="radio" name="scope" checked={query.scope === scope} onChange={() => onAsk({ scope })} />
            <span>{discover.scopes[scope]}</span>
          </label>
        ))}
      </fieldset>
      <div className="filter-selects">
        <SelectField label={discover.language} quiet value={query.language} onChange={(tag) => onAsk({ language: tag })}>
          <option value="">{discover.anyLanguage}</option>
          <LanguageOptions />
        </SelectField>
        <SelectField label={discover.gender} quiet value={query.gender} onChange={(gender) => onAsk({ gender: gender as Gender })}>
          <option value="">{discover.anyGender}</option>
          {GENDERS.map((gender) => (
            <option key={gender} value={gender}>
              {words.gender[gender]}
            </option>
          ))}
        </SelectField>
        <SelectField label={discover.sort} quiet value={query.sort} onChange={(sort) => onAsk({ sort: sort as VoiceQuery["sort"] })}>
          {SORTS.map((sort) => (
            <option key={sort} value={sort}>
              {discover.sorts[sort]}
            </option>
          ))}
        </SelectField>
      </div>
    </search>
  );
}

const QUERY_CHARACTERS_MAX = 100;

const TYPING_MS = 250;

/** Asks once the typing pauses. */
function Search({ value, onChange }: { value: string; onChange(value: string): void }) {
  const { words } = useLibrary();
  const [text, setText] = useState(value);
  const [asked, setAsked] = useState(value);
  if (asked !== value) {
    setAsked(value);
    setText(value);
  }
  const ask = useEffectEvent((wanted: string) => {
    setAsked(wanted);
    onChange(wanted);
  });
  useEffect(() => {
    if (text === asked) return;
    const timer = setTimeout(() => ask(text), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, asked]);
  return (
    <div className="search-box">
      <Icon name="search" />
      <input
        type="search"
        className="field"
        aria-label={words.discover.search}
        placeholder={words.discover.search}
        maxLength={QUERY_CHARACTERS_MAX}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      {text !== "" && <IconButton icon="close" label={words.discover.clear} onClick={() => setText("")} />}
    </div>
  );
}

function Popular() {
  const { words } = useLibrary();
  const { data } = usePopular(POPULAR);
  const used = data?.filter((voice) => voice.uses > 0) ?? [];
  if (used.length === 0) return null;
  return (
    <section aria-labelledby="popular">
      <h2 id="popular" className="section-head">
        {words.discover.popular}
      </h2>
      <ul className="tiles tiles-row">
        {used.map((voice) => (
          <VoiceTile key={voice.voiceId} voice={voice} />
        ))}
      </ul>
    </section>
  );
}

function Found({ found, query, plain, onAsk }: AskProps & { found: ReturnType<typeof useVoices>; plain: boolean }) {
  const { words } = useLibrary();
  const { data, error, isPending, isPlaceholderData, refetch } = found;
  if (error && !data) return <Failure error={error} onRetry={() => void refetch()} />;
  const voices = data?.pages.flatMap((page) => page.voices) ?? [];
  const total = data?.pages[0]?.total ?? 0;
  if (!isPending && total === 0) return <NoVoices query={query} plain={plain} onAsk={onAsk} />;
  return (
    <section aria-labelledby="found" aria-busy={isPending || isPlaceholderData}>
      <div className="section-head">
        <h2 id="found">{plain ? words.discover.all : words.pages.discover}</h2>
        <span role="status" className="faint">
          {isPending ? "" : words.discover.found(total)}
        </span>
      </div>
      {isPending ? (
        <div className="tiles">
          <Skeletons number={SKELETONS} className="tile" />
        </div>
      ) : (
        <ul className="tiles" data-stale={isPlaceholderData}>
          {voices.map((voice) => (
            <VoiceTile key={voice.voiceId} voice={voice} />
          ))}
        </ul>
      )}
      <More query={found} shown={voices.length} total={total} />
    </section>
  );
}

function NoVoices({ query, plain, onAsk }: AskProps & { plain: boolean }) {
  const { discover } = useLibrary().words;
  if (!plain || query.scope === "builtin")
    return (
      <Blank icon="search" title={discover.none} text={discover.noneRemedy}>
        <button type="button" className="button" onClick={() => onAsk({ q: "", language: "", gender: "", scope: "all" })}>
          {discover.reset}
        </button>
      </Blank>
    );
  return (
    <Blank icon="microphone" title={discover.empty} text={discover.emptyRemedy}>
      <Link href="/voices/create" className="button">
        {discover.first}
      </Link>
      <button type="button" className="small-button" onClick={() => onAsk({ scope: "builtin" })}>
        {discover.hearBuiltin}
      </button>
    </Blank>
  );
}
