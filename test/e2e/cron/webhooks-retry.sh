#!/bin/sh
# Gives deliveries that a worker took and never recorded to the workers again.
#
# Cron runs its jobs without the environment of the container, which is why the key is read from the first process.
#   POSTHORN_ENVIRON  where AGENTA_AUTH_KEY stands (/proc/1/environ)
#   POSTHORN_URL      where the gateway answers (http://gateway:4000)
set -u

environ=${POSTHORN_ENVIRON:-/proc/1/environ}
url="${POSTHORN_URL:-http://gateway:4000}/admin/webhooks/retry-stuck"

fail() {
  echo "webhooks-retry: $1" >&2
  exit 1
}

key=$(tr '\0' '\n' 2>/dev/null < "$environ" | sed -n 's/^AGENTA_AUTH_KEY=//p')
[ -n "$key" ] || fail "no AGENTA_AUTH_KEY in $environ"

# On standard input, since everybody on the machine can read the arguments of a command.
answer=$(printf 'Authorization: Access %s\n' "$key" |
  curl --silent --show-error --fail-with-body --max-time 60 --request POST --header @- "$url" 2>&1) ||
  fail "$url: $answer"
echo "webhooks-retry: $answer"
