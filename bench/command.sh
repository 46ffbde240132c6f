#!/bin/sh
# command.sh: an MCP server that is a command and answers a constant. A shell starts in a
# millisecond, so that what is measured is not the start of an interpreter.
while IFS= read -r line; do
  id=${line#*'"id":'}
  id=${id%%[,\}]*}
  case $line in
  *'"method":"initialize"'*)
    result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"command","version":"1"}}' ;;
  *'"method":"tools/list"'*) result='{"tools":['$1']}' ;;
  *'"method":"tools/call"'*) result=$2 ;;
  *) continue ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
