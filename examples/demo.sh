#!/bin/sh
# Install two experts from the embedded index into a new project and ask them. Argument: the xpm command.
set -eu
xpm=$1
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cd "$project"
XPM_HOME=${XPM_HOME:-$project/home}
export XPM_HOME

say() { printf '\n$ %s\n' "$1"; }

say 'xpm init'
"$xpm" init
say 'xpm install expert-sql expert-json'
"$xpm" install expert-sql expert-json
say 'xpm verify'
"$xpm" verify
ask() {
    say "xpm run --verbose \"$1\""
    "$xpm" run --verbose "$1"
}
ask 'List the names of users with age over 25. Schema: users(id, name, age)'
ask 'How many orders are there with status open? Schema: orders(id, total, status)'
ask 'Convert to JSON: city is Oslo, population is 709037, capital is yes'
