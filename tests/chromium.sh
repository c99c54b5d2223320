#!/bin/sh
# A Chromium for the browser tests: the one that is there, else Debian's package (as root), else Playwright's own.
set -e
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || [ -n "$CHROMIUM" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing Chromium (Debian package) ..."
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
else
  echo "Installing Chromium (Playwright) ..."
  .venv/bin/python -m playwright install chromium
fi
