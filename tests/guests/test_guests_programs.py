"""Programs that people already have, unchanged: C and Rust on WASI, AssemblyScript, with their whole libraries."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_programs import c_program, everywhere, own_wasi, rust_program, script_programs

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.advice import advise
from icn_lite.wasm.prepare import prepare

C_TOUR = r"""
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static int order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
int main(int argc, char **argv) {
    char line[256], **words = NULL;
    size_t count = 0, room = 0;
    while (fgets(line, sizeof line, stdin))
        for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
            if (count == room && !(words = realloc(words, (room = room ? 2 * room : 4) * sizeof *words))) return 1;
            words[count++] = strdup(word);
        }
    qsort(words, count, sizeof *words, order);
    for (size_t i = 0; i < count; i++) printf("%zu %-8s %c\n", i, words[i], toupper((unsigned char)words[i][0]));
    double sum = 0;
    for (int i = 1; i <= 50; i++) sum += sin(i) * pow(i, 0.25) + fmod(i, 0.7) - cbrt(i) + lgamma(i) * exp(-i);
    printf("%.17g %a %e %g %.3f\n", sum, sum, sum * 1e300, sqrt(-1.0) == sqrt(-1.0) ? 1.0 : -1.0, floorf(2.7f));
    printf("%" PRIu64 " %#x %o %5d|%-5d|%+d %s\n", UINT64_MAX, 255u, 8u, 42, 42, 42, strerror(ENOENT));
    printf("%ld %d %s\n", strtol("-7fZ", NULL, 16), atoi("99"), getenv("HOME") ? "home" : "none");
    struct timespec pause = {1000, 0}, now;
    printf("%d %d", nanosleep(&pause, NULL), clock_gettime(CLOCK_MONOTONIC, &now));
    printf(" %lld %d\n", (long long)time(NULL), isatty(0));
    srand(7);
    printf("%d %s %d\n", rand(), argc > 1 ? argv[1] : "-", fopen("file", "r") == NULL);
    fprintf(stderr, "%zu words\n", count);
    return (int)count;
}
"""

RUST_TOUR = r"""
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant, SystemTime};

fn main() {
    let mut counts = HashMap::new(); // its hasher asks for chance
    for line in io::stdin().lock().lines() {
        for word in line.unwrap().split_whitespace() {
            *counts.entry(word.to_owned()).or_insert(0u32) += 1;
        }
    }
    let unordered: Vec<String> = counts.keys().cloned().collect();
    let ordered: BTreeMap<_, _> = counts.iter().collect();
    println!("{:?} {}", ordered, unordered.join(" "));
    println!("{:.3} {:e} {:?}", (2.0f64).powf(0.5), 1.0f32 / 3.0, f64::NAN.max(1.5));
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(3600));
    println!("{:?} {:?}", begun.elapsed(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    println!("{:?} {:?}", std::fs::read("/etc/passwd").is_err(), std::env::vars().count());
    println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
    let parsed: Result<i32, _> = "12x".parse::<i32>();
    println!("{}", parsed.unwrap_err());
    eprintln!("{} words", ordered.len());
    io::stdout().flush().unwrap();
    if ordered.contains_key(&"panic".to_owned()) { panic!("as asked"); }
    std::process::exit(ordered.len() as i32)
}
"""

SCRIPT = r"""
@external("icn", "put_output") declare function put_output(bytes: usize, len: u32): i32;
class Animal { constructor(public name: string, public legs: i32) {} }
export function run(): i32 {
  const animals = new Map<string, Animal>();
  const names = "ant bee cat dog".split(" ");
  for (let i = 0; i < names.length; i++) animals.set(names[i], new Animal(names[i].toUpperCase(), i < 2 ? 6 : 4));
  let text = "", legs = 0;
  for (let round = 0; round < 200; round++) // enough garbage for the collector
    for (let i = 0; i < names.length; i++) {
      const animal = animals.get(names[i]);
      legs += animal.legs;
      if (round == 0) text += `${animal.name}:${animal.legs} `;
    }
  const sorted = [3.5, -1.25, 2.0, 1e21, Math.sqrt(2.25), Math.sin(0.5)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  text += `${legs} ${sorted.join(",")}\n`;
  const bytes = String.UTF8.encode(text);
  return put_output(changetype<usize>(bytes), bytes.byteLength);
}
"""
SCRIPT_SAYS = b"ANT:6 BEE:6 CAT:4 DOG:4 4000 -1.25,0.479425538604203,1.5,2.0,3.5,1e+21\n"


@pytest.mark.parametrize("flags", [(), ("-O0",), ("-Oz", "-flto", "-Wl,--strip-all")], ids=["O2", "O0", "Oz-lto"])
def test_c_with_its_whole_library(flags: tuple[str, ...], tmp_path: Path) -> None:
    code = c_program(C_TOUR, *flags)
    data = b"the quick brown fox\njumps over the lazy dog\n"
    outcome = everywhere(code, data, ("one",))
    assert (outcome.status, outcome.exit_code, outcome.log) == ("completed", 9, b"9 words\n")
    timeless = C_TOUR.replace("time(NULL)", "0").replace("{1000, 0}", "{0, 1000}")  # there a sleep is a sleep
    theirs = own_wasi(c_program(timeless, *flags), data, tmp_path, ("one",))
    assert theirs == (9, outcome.output, outcome.log)


@pytest.fixture(scope="module")
def rust_tour(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return rust_program(tmp_path_factory.mktemp("rust"), RUST_TOUR)


def test_rust_with_its_whole_library(rust_tour: bytes) -> None:
    outcome = everywhere(rust_tour, b"b a c a\n", ("x", "ü"))
    assert (outcome.status, outcome.exit_code, outcome.log) == ("completed", 3, b"3 words\n")
    first, *rest = outcome.output.decode().splitlines()
    assert first.startswith('{"a": 2, "b": 1, "c": 1} ')
    assert sorted(first.split("} ")[1].split()) == ["a", "b", "c"]
    assert rest == ["1.414 3.3333334e-1 1.5", "0ns 0ns", "true 0", '["x", "ü"]', "invalid digit found in string"]


def test_a_rust_panic_is_a_trap_with_its_words_in_the_log(rust_tour: bytes) -> None:
    outcome = everywhere(rust_tour, b"panic\n")
    assert (outcome.status, outcome.trap) == ("trapped", "unreachable")
    assert b"panicked at" in outcome.log
    assert b"as asked" in outcome.log


FAILING = 'export function run(): i32 { throw new Error("héllo " + ["a", "b"].join("+")); }'
SEEDED = """export function mySeed(): f64 { return 42.0; }
export function run(): i32 { return <i32>(Math.random() * 1000000); }"""
SCRIPTS = {
    "optimised": (SCRIPT, ("-O",)),
    "debug": (SCRIPT, ("--debug",)),
    "without-runtime": (SCRIPT, ("-O3", "--runtime", "stub", "--noAssert", "--importMemory")),
    "failing": (FAILING, ("--debug",)),
    "unseeded": (SEEDED, ("-O",)),
    "seeded": (SEEDED, ("-O", "--use", "seed=seeded/mySeed")),
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return script_programs(tmp_path_factory.mktemp("scripts"), SCRIPTS)


@pytest.mark.parametrize("name", ["optimised", "debug", "without-runtime"])
def test_assemblyscript_with_its_collector(name: str, scripts: dict[str, bytes]) -> None:
    outcome = everywhere(scripts[name], entry="run")
    assert (outcome.status, outcome.output, outcome.log) == ("completed", SCRIPT_SAYS, b"")
    assert outcome.results[0].bits == 0


def test_an_error_of_assemblyscript_leaves_its_words_and_place_in_the_log(scripts: dict[str, bytes]) -> None:
    outcome = everywhere(scripts["failing"], entry="run")
    assert (outcome.status, outcome.trap) == ("trapped", "unreachable")
    assert outcome.log == "abort: héllo a+b at failing.ts:1:30\n".encode()


def test_a_seed_of_the_programs_own_does_what_the_advice_says(scripts: dict[str, bytes]) -> None:
    """A refusal that asks for a flag, and the flag."""
    with pytest.raises(ModuleError) as refused:
        prepare(scripts["unseeded"])
    advice = advise(scripts["unseeded"], refused.value)
    assert dict(advice.flags) == {"asc": "--use seed=FILE/mySeed"}
    assert "mySeed(): f64" in advice.text
    assert everywhere(scripts["seeded"], entry="run").status == "completed"
