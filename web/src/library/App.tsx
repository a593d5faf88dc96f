/** The voice library: its pages, and what they share. */

import { QueryClientProvider } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useState } from "react";
import { Route, Router, Switch } from "wouter";

import { useLook } from "../hooks/use-look";
import { recall, remember } from "../preferences";
import type { LibraryApi } from "./api";
import { KeyGate } from "./components/KeyGate";
import { Shell } from "./components/Shell";
import { LibraryContext, type Surroundings } from "./context";
import type { Deck } from "./deck";
import { Create } from "./pages/Create";
import { Discover } from "./pages/Discover";
import { Generate } from "./pages/Generate";
import { Mine } from "./pages/Mine";
import { Nowhere } from "./pages/Nowhere";
import { VoicePage } from "./pages/Voice";
import { makeQueryClient } from "./queries";
import { WORDS } from "./words";

interface Props {
  api: LibraryApi;
  deck: Deck;
  /** Path under which the server's own begin; empty or `/prefix`. */
  base: string;
}

export function App({ api, deck, base }: Props) {
  const look = useLook();
  const { language, theme } = look;
  const [locked, setLocked] = useState(false);
  const [client] = useState(() => makeQueryClient(() => setLocked(true)));
  const [notice, setNotice] = useState("");
  useEffect(() => api.setLanguage(language), [api, language]);
  const around = useMemo<Surroundings>(
    () => ({ api, deck, language, theme, words: WORDS[language], tell: setNotice }),
    [api, deck, language, theme],
  );
  const takeKey = useCallback(
    (key: string) => {
      api.setKey(key);
      remember("key", key);
      setLocked(false);
      void client.resetQueries();
    },
    [api, client],
  );
  return (
    <QueryClientProvider client={client}>
      <LibraryContext value={around}>
        <Router base={base}>
          <Shell look={look} notice={notice} onNotice={setNotice}>
            {locked ? <KeyGate wrong={recall("key") !== undefined} onKey={takeKey} /> : <Pages />}
          </Shell>
        </Router>
      </LibraryContext>
    </QueryClientProvider>
  );
}

function Pages() {
  return (
    <Switch>
      <Route path="/voices" component={Discover} />
      <Route path="/voices/create" component={Create} />
      <Route path="/voices/generate" component={Generate} />
      <Route path="/voices/mine" component={Mine} />
      <Route path="/voices/:id">{({ id }) => <VoicePage key={id} id={id} />}</Route>
      <Route component={Nowhere} />
    </Switch>
  );
}
