import { Link } from "wouter";

import { Blank } from "../components/States";
import { useLibrary } from "../context";
import { useTitle } from "../use-title";

export function Nowhere() {
  const { words } = useLibrary();
  useTitle(words.trouble.nowhere);
  return (
    <Blank whole icon="search" title={words.trouble.nowhere} text={words.trouble.goneRemedy}>
      <Link href="/voices" className="button">
        {words.trouble.toDiscover}
      </Link>
    </Blank>
  );
}
