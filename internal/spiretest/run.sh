#!/bin/sh
# run.sh COMMAND ARGUMENT...: run it until it ends, or stdin does. That comes however
# the test ends, a SIGKILL included.
exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
{ cat <&3 >/dev/null; kill -9 $pid; } 2>/dev/null &
watcher=$!
wait $pid
code=$?
kill $watcher 2>/dev/null
exit $code
