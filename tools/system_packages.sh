#!/usr/bin/env bash
# Install the named Debian packages that are missing: through apt when we are root, else say how. Never fails the setup:
# what needs them says so itself when it starts.
set -euo pipefail

missing=()
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Optional system packages are missing: ${missing[*]} (install them with your system's package manager)"
elif [ "$(id -u)" -ne 0 ]; then
    echo "Optional system packages are missing: sudo apt-get install ${missing[*]}"
else
    printf '\033[1m==> System packages: %s\033[0m\n' "${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
        echo "Could not install ${missing[*]}; going on without"
fi
