#!/bin/sh
# Make a clean clone ready: programs, a virtual environment with exactly the locked packages, Kafka's jars.
# Every step looks first whether it is done, so that a second run is quick and a broken-off one goes on.
set -eu

cd "$(dirname "$0")/../.."
here=$(pwd -P)
venv="$here/.venv"
cache="$here/.cache"
log="$cache/setup.log"
stamp="$venv/.complete"
# What others set for their own Pythons and pips must not reach this one.
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_REQUIREMENT PIP_CONSTRAINT PIP_NO_DEPS 2>/dev/null || true
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

python_here() {
  for python in python3.11 python3.12 python3.13 python3.14 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$python"
      return
    fi
  done
}

java_here() {
  java=java
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then java="$JAVA_HOME/bin/java"; fi
  major=$("$java" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1)
  [ "${major:-0}" -ge 17 ]
}

# What must be installed with the system's packages; empty when nothing is missing.
missing() {
  [ -x "$venv/bin/python" ] || [ -n "$(python_here)" ] || printf 'python3.11 python3-venv '
  if [ -z "${KAFKA_BOOTSTRAP_SERVERS:-}${AYBIZA_KAFKA_BOOTSTRAP_SERVERS:-}" ]; then
    java_here || printf 'openjdk-17-jre-headless '
    have mvn || printf 'maven '
  fi
  have flite || printf 'flite '
}

install_programs() {
  wanted=$(missing)
  [ -n "$wanted" ] || return 0
  if [ "$(id -u)" != 0 ] || ! have apt-get; then
    say "Missing here. Type: sudo apt-get install -y ${wanted% }"
    exit 1
  fi
  say "Installing ${wanted% } with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # a list of words
  if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $wanted; } >>"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    say "apt-get could not install ${wanted% }. Its words are in $log"
    exit 1
  fi
  wanted=$(missing)
  if [ -n "$wanted" ]; then
    say "Still missing after apt-get: ${wanted% }. Type: sudo apt-get install -y ${wanted% }"
    exit 1
  fi
}

# One line per package to the log, a count to the eye.
counted() {
  total=$(grep -c '^[A-Za-z0-9._-]*==' requirements.lock)
  terminal=no
  if [ -t 2 ]; then terminal=yes; fi
  awk -v total="$total" -v terminal="$terminal" -v log_file="$log" '
    { print >> log_file }
    /^Collecting / {
      count++
      if (terminal == "yes") printf "\r  fetching packages: %d of at most %d ", count, total > "/dev/stderr"
      else if (count % 25 == 0) printf "  fetching packages: %d of at most %d\n", count, total > "/dev/stderr"
    }
    /^Installing collected/ { printf "%s  installing %d packages (about half a minute)\n", (terminal == "yes" ? "\n" : ""), count > "/dev/stderr" }
  '
}

install_packages() {
  fingerprint=$(cat requirements.lock pyproject.toml | sha256sum | cut -d ' ' -f 1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint $here" ] && "$venv/bin/python" -c '' 2>/dev/null; then return 0; fi
  # A clone that was moved or copied has an environment whose programs point elsewhere.
  if ! grep -qsF -e "-m venv $venv" "$venv/pyvenv.cfg" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "Making .venv with $(python_here)"
    rm -rf "$venv"
    "$(python_here)" -m venv "$venv" >>"$log" 2>&1
  fi
  rm -f "$stamp"
  say "Installing the locked packages into .venv"
  { "$venv/bin/python" -m pip install --no-deps --require-hashes -r requirements.lock 2>>"$log" || : > "$cache/pip-failed"; } | counted
  if [ -e "$cache/pip-failed" ]; then
    rm -f "$cache/pip-failed"
    grep -i '^error' "$log" | tail -n 3 >&2 || true
    say "pip could not install the packages. Its words are in $log; make setup goes on from here"
    exit 1
  fi
  if ! "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e . >>"$log" 2>&1; then
    tail -n 5 "$log" >&2
    say "The project itself could not be installed into .venv. The words are in $log"
    exit 1
  fi
  printf '%s %s\n' "$fingerprint" "$here" >"$stamp"
}

mkdir -p "$cache"
install_programs
install_packages
"$venv/bin/aybiza" fetch
