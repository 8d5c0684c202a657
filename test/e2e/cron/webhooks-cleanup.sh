#!/bin/sh
# Removes webhook history that ended more than so many days ago: 30, or the first argument. One call works for 20 s at most,
# so the call is made again until everything is done, but no more than 180 times (an hour).
#
# Cron runs its jobs without the environment of the container, which is why the key is read from the first process.
#   POSTHORN_ENVIRON  where AGENTA_AUTH_KEY stands (/proc/1/environ)
#   POSTHORN_URL      where the gateway answers (http://gateway:4000)
set -u

environ=${POSTHORN_ENVIRON:-/proc/1/environ}
days=${1:-30}
url="${POSTHORN_URL:-http://gateway:4000}/admin/webhooks/cleanup?days=$days"

fail() {
  echo "webhooks-cleanup: $1" >&2
  exit 1
}

key=$(tr '\0' '\n' 2>/dev/null < "$environ" | sed -n 's/^AGENTA_AUTH_KEY=//p')
[ -n "$key" ] || fail "no AGENTA_AUTH_KEY in $environ"

call=1
while [ "$call" -le 180 ]; do
  # On standard input, since everybody on the machine can read the arguments of a command.
  answer=$(printf 'Authorization: Access %s\n' "$key" |
    curl --silent --show-error --fail-with-body --max-time 60 --request POST --header @- "$url" 2>&1) ||
    fail "$url: $answer"
  echo "webhooks-cleanup: $answer"
  case $answer in
    *'"finished":true'*) exit 0 ;;
  esac
  call=$((call + 1))
done
fail "not finished after an hour; the next run goes on"
